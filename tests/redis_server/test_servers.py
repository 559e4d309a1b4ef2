"""The servers that all tests stand on do what they say."""

import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.servers import PostgresProcess, ValkeyProcess, alive, wait_until

ROOT = Path(__file__).parents[2]
ORPHANS = """
import sys
from tests.servers import PostgresProcess, ValkeyProcess
valkey = ValkeyProcess()
valkey.start()
postgres = PostgresProcess().__enter__()
print(valkey.pid, postgres._server.get_pid(), valkey.directory, postgres._home.path, flush=True)
sys.stdin.read()
"""


def test_a_killed_valkey_comes_back_with_its_data_and_its_file() -> None:
    with ValkeyProcess() as server:
        with server.client() as client:
            client.set("a", "1")
        server.kill()
        assert not server.running
        server.start()
        with server.client() as client:
            assert client.get("a") == "1"
        server.stop()
        assert [file.name for file in server.aof_files()] == [
            "appendonly.aof.1.base.rdb",
            "appendonly.aof.1.incr.aof",
        ]
    assert not server.directory.exists()


def test_a_valkey_without_persistence_forgets_and_takes_settings() -> None:
    with ValkeyProcess(appendonly=False, appendfsync="always", maxmemory="50mb") as server:
        with server.client() as client:
            client.set("a", "1")
            found = client.config_get("appendonly", "appendfsync", "maxmemory")
        assert found == {"appendonly": "no", "appendfsync": "always", "maxmemory": "52428800"}
        server.kill()
        server.start()
        with server.client() as client:
            assert client.get("a") is None
        assert server.aof_files() == []


@pytest.mark.parametrize("_time", [1, 2])
def test_the_shared_valkey_is_empty_for_each_test(valkey: ValkeyProcess, _time: int) -> None:
    with valkey.client() as client:
        assert client.dbsize() == 0
        sha = client.script_load("return 1")
        client.set("left", "over")
        assert client.script_exists(sha) == [True]
    valkey.kill()  # the next test gets it running all the same


async def test_each_postgres_database_is_empty_and_gone_afterwards(postgres_server: PostgresProcess) -> None:
    async with postgres_server.database() as one, postgres_server.database() as other:
        engine = create_async_engine(one)
        async with engine.begin() as connection:
            assert "PostgreSQL 18" in (await connection.execute(text("select version()"))).scalar_one()
            await connection.execute(text("create table t (a int)"))
        await engine.dispose()
        engine = create_async_engine(other)
        async with engine.begin() as connection:
            assert (await connection.execute(text("select to_regclass('t')"))).scalar_one() is None
        await engine.dispose()
        plain = one.replace("+asyncpg", "")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(plain)


async def test_the_postgres_fixture_gives_a_url(postgres: str) -> None:
    assert postgres.startswith("postgresql+asyncpg://postgres:@/test_")


def test_an_aborted_test_run_leaves_no_server_behind() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ORPHANS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    valkey, postgres, *directories = process.stdout.readline().split()
    assert alive(int(valkey))
    assert alive(int(postgres))
    assert [Path(each).is_dir() for each in directories] == [True, True]
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not alive(int(valkey)))
    wait_until(lambda: not alive(int(postgres)))
    wait_until(lambda: not any(Path(each).exists() for each in directories))
