"""A store opens on what it can use, says plainly what it cannot, and leaves nothing behind."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from quotaflow.errors import ConfigError, Unavailable
from quotaflow.ledger import DAY_US
from quotaflow.store import MinuteFigures, Store, migrate
from quotaflow.store.engine import Database
from quotaflow.store.metrics import minute_of
from quotaflow.store.postgres import check_durable
from quotaflow.store.tables import metadata, quota_metrics
from quotaflow.timing import SystemClock
from tests.servers import PATIENCE_S
from tests.stores import empty_tables, sqlite_url


async def test_the_tables_are_what_the_migrations_make(store: Store) -> None:
    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    async with store._database.read() as connection:
        assert await connection.run_sync(differences) == []


def test_the_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrate._SCRIPTS)).get_heads() == [migrate.HEAD]


async def test_two_daemons_may_start_on_an_empty_database_at_once(empty_url: str) -> None:
    stores = await asyncio.gather(
        Store.open(empty_url, deadline_s=PATIENCE_S), Store.open(empty_url, deadline_s=PATIENCE_S)
    )
    ids = [await store.store_id() for store in stores]
    for store in stores:
        await store.close()
    assert ids[0] == ids[1]


async def test_the_sums_of_the_last_two_days_are_there_after_an_upgrade(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of quotas that are gone too; what is older no page shows."""
    now_us = SystemClock().wall_us()
    minutes_us = [minute_of(now_us - days * DAY_US) for days in (3, 1)]
    with monkeypatch.context() as older:
        older.setattr(migrate, "HEAD", "0006")
        store = await Store.open(empty_url, deadline_s=PATIENCE_S)
        counts = {"ok": 3, "err": 4, "latency": "[]", "remaining": None}
        rows = [
            {"quota_id": quota_id, "minute_us": minute_us, "allowed": allowed, "r429": 2, **counts}
            for quota_id, allowed in (("a", 1), ("b", 10), ("获取", 100))
            for minute_us in minutes_us
        ]
        async with store._database.write() as connection:
            await connection.execute(quota_metrics.insert(), rows)
        await store.close()
    store = await Store.open(empty_url, deadline_s=PATIENCE_S)
    assert await store.minutes(0, now_us) == [MinuteFigures(minutes_us[1], 111, 6, 9, 12, None)]
    await store.close()


async def test_a_newer_schema_is_refused_and_left_alone(empty_url: str) -> None:
    store = await Store.open(empty_url, deadline_s=PATIENCE_S)
    async with store._database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=f"schema 9999, this program knows {migrate.HEAD}"):
        await Store.open(empty_url, deadline_s=PATIENCE_S)
    async with store._database.read() as connection:
        assert await connection.run_sync(migrate._version) == "9999"
    await store.close()


async def test_a_migration_that_fails_leaves_an_empty_database(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_run", _fail_after_all_tables)
    with pytest.raises(RuntimeError):
        await Store.open(empty_url, deadline_s=PATIENCE_S)
    monkeypatch.undo()
    store = await Store.open(empty_url, deadline_s=PATIENCE_S)
    assert (await store.counts()).traces == {}
    await store.close()


def _fail_after_all_tables(connection: Connection) -> None:
    metadata.create_all(connection)
    raise RuntimeError


def test_a_current_schema_opens_without_alembic(tmp_path: Path) -> None:
    """Importing it takes longer than everything else at start."""
    (tmp_path / "store.db").write_bytes(empty_tables())
    program = (
        "import asyncio, sys\nfrom quotaflow.store import Store\n"
        "async def main():\n    store = await Store.open(sys.argv[1], deadline_s=60)\n    await store.close()\n"
        "asyncio.run(main())\nprint('alembic' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program, sqlite_url(tmp_path)]) == b"False\n"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "cannot be read"),
        ("postgresql+asyncpg://u:hunter2:@x@h:port/db", "cannot be read"),
        ("mysql+aiomysql://h/db", "must begin with"),
        ("sqlite:///file.db", "must begin with"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("sqlite+aiosqlite:///:memory:", "must name a file"),
        ("sqlite+aiosqlite:///file.db?mode=ro", "must name a file"),
    ],
)
async def test_a_url_that_cannot_work_is_refused_without_being_shown(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        await Store.open(url, deadline_s=PATIENCE_S)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"install quotaflow\[postgres\]"):
        await Store.open("postgresql+asyncpg://h/db", deadline_s=PATIENCE_S)


@pytest.mark.parametrize("place", ["u:hunter2@127.0.0.1:9/db", "u@127.0.0.1:9/db?password=hunter2"])
async def test_nobody_there_is_one_clear_line_without_the_password(place: str) -> None:
    with pytest.raises(
        Unavailable, match=r"^cannot reach postgresql\+asyncpg://u(:\*+)?@127\.0\.0\.1:9/db: "
    ) as caught:
        await Store.open(f"postgresql+asyncpg://{place}", deadline_s=PATIENCE_S)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_refused_login_is_one_clear_line_without_the_password(postgres: str) -> None:
    url = postgres.replace("postgres:@", "nobody:hunter2@")
    with pytest.raises(Unavailable, match=r'failed: role "nobody" does not exist$') as caught:
        await Store.open(url, deadline_s=PATIENCE_S)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, but longer than a header" * 100)
    with pytest.raises(Unavailable, match=r"failed: file is not a database$"):
        await Store.open(sqlite_url(tmp_path), deadline_s=PATIENCE_S)
    assert _sqlite_threads() == []


async def test_a_new_file_that_another_process_holds_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="did not answer within"):
        await Store.open(sqlite_url(tmp_path), deadline_s=0.2)
    holder.close()
    await (await Store.open(sqlite_url(tmp_path), deadline_s=PATIENCE_S)).close()
    assert _sqlite_threads() == []


async def test_a_directory_where_a_file_belongs_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store.db-wal").mkdir()
    with pytest.raises(Unavailable, match=r"failed: disk I/O error$"):
        await Store.open(sqlite_url(tmp_path), deadline_s=PATIENCE_S)


async def test_a_commit_waits_for_the_disk(empty_url: str) -> None:
    database = await Database.open(await _forgetful(empty_url), deadline_s=5)
    async with database.write() as connection:
        if database.is_postgres:
            assert await connection.scalar(text("SHOW synchronous_commit")) == "on"
        else:
            assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert await connection.scalar(text("PRAGMA synchronous")) == 2
    await database.close()


async def _forgetful(url: str) -> str:
    """Let PostgreSQL's own default be the wrong one."""
    database = await Database.open(url, deadline_s=5)
    if database.is_postgres:
        async with database.write() as connection:
            name = await connection.scalar(text("SELECT current_database()"))
            await connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    await database.close()
    return url


async def test_a_pooler_that_drops_our_setting_is_refused(postgres: str) -> None:
    database = await Database.open(postgres, deadline_s=5)
    async with database.write() as connection:
        await connection.execute(text("SET LOCAL synchronous_commit = off"))
        with pytest.raises(ConfigError, match="synchronous_commit = off"):
            await check_durable(connection)
    await database.close()


async def test_sqlite_readers_cannot_write(tmp_path: Path) -> None:
    store = await Store.open(sqlite_url(tmp_path), deadline_s=PATIENCE_S)
    with pytest.raises(Unavailable, match="readonly"):
        async with store._database.read() as connection:
            await connection.execute(text("DELETE FROM meta"))
    await store.close()


async def test_closing_twice_is_harmless_and_leaves_no_thread(url: str) -> None:
    store = await Store.open(url, deadline_s=PATIENCE_S)
    await asyncio.gather(store.counts(), store.list_tasks(), store.store_id())
    await store.close()
    await store.close()
    assert _sqlite_threads() == []


async def test_an_open_that_is_cancelled_at_any_moment_leaves_nothing(url: str) -> None:
    for number in range(40):
        with suppress(TimeoutError):
            async with asyncio.timeout(number / 2000):
                await (await Store.open(url, deadline_s=PATIENCE_S)).close()
        assert _sqlite_threads() == []
    database = await Database.open(url, deadline_s=5)
    if database.is_postgres:
        async with asyncio.timeout(30), database.read() as connection:
            while await connection.scalar(_SESSIONS) != 1:  # a server takes a moment to see that we hung up
                await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    await database.close()
    assert _sqlite_threads() == []


_SESSIONS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")


def _sqlite_threads() -> list[str]:
    """Give threads that were told to end a moment to do so, and name those that did not."""
    end = time.monotonic() + 2
    while names := [t.name for t in threading.enumerate() if "_connection_worker" in t.name]:
        if time.monotonic() > end:
            break
        time.sleep(0.001)
    return names
