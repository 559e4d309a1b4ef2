"""Who owns the embedded server: nobody but itself."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from quotaflow.errors import Unavailable
from quotaflow.redis_server.embedded import open_embedded, server_guard
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.place import Place
from tests.redis_server.conftest import Opener
from tests.redis_server.opener import look
from tests.servers import alive, wait_until


def write(url: str, value: str) -> None:
    with Redis.from_url(url) as client:
        client.set("kept", value)


def read(url: str) -> str | None:
    with Redis.from_url(url, decode_responses=True) as client:
        found = client.get("kept")
    assert found is None or isinstance(found, str)
    return found


def listeners(url: str) -> list[dict[str, object]]:
    """Tell where a server listens."""
    with Redis.from_url(url) as client:
        return [value for name, value in client.info("server").items() if name.startswith("listener")]


async def test_a_killed_opener_leaves_the_server_and_its_data_to_the_next(
    home: Path, opener: Callable[..., Opener]
) -> None:
    first = opener()
    theirs = first.open(home)
    write(theirs.url, "before")
    first.kill()
    ours = await open_embedded(home)
    assert theirs.started
    assert not ours.started
    assert look(ours.url) == (theirs.run_id, theirs.pid)
    assert read(ours.url) == "before"


def test_an_opener_that_ends_warns_of_nothing_and_stops_nothing(
    home: Path, opener: Callable[..., Opener]
) -> None:
    first, second = opener(), opener()
    started, joined = first.open(home), second.open(home)
    assert (first.leave(), second.leave()) == ("", "")
    assert (started.started, joined.started) == (True, False)
    assert look(started.url)[0] == joined.run_id


def test_two_processes_that_open_at_the_same_moment_get_one_server(
    new_home: Callable[[], Path], opener: Callable[..., Opener]
) -> None:
    openers = [opener(), opener()]
    warm = new_home()
    for each in openers:
        each.open(warm)
    for _ in range(10):
        home = new_home()
        for each in openers:
            each.send(home)
        got = [each.receive() for each in openers]
        assert len({one.run_id for one in got}) == 1
        assert sorted(one.started for one in got) == [False, True]


async def test_tasks_that_open_at_the_same_moment_get_one_server(home: Path) -> None:
    servers = await asyncio.gather(*(open_embedded(home) for _ in range(8)))
    assert sum(server.started for server in servers) == 1
    assert len({look(server.url) for server in servers}) == 1


async def test_the_server_process_holds_the_lock_in_a_session_of_its_own(home: Path) -> None:
    server = await open_embedded(home)
    lock = FileLock(Place.at(home).lock)
    pid = look(server.url)[1]
    assert not lock.try_acquire()
    assert lock.holder() == pid
    assert os.getsid(pid) == pid


async def test_shutdown_frees_the_lock_and_the_next_server_has_the_data(home: Path) -> None:
    first = await open_embedded(home)
    before = look(first.url)[0]
    write(first.url, "kept")
    await first.shutdown()
    with FileLock(Place.at(home).lock):
        assert not Place.at(home).link.exists()
    second = await open_embedded(home)
    assert second.started
    assert look(second.url)[0] != before
    assert read(second.url) == "kept"


async def test_a_joiner_may_shut_down_and_twice_is_harmless(
    home: Path, opener: Callable[..., Opener]
) -> None:
    theirs = opener().open(home)
    joined = await open_embedded(home)
    await joined.shutdown()
    await joined.shutdown()
    wait_until(lambda: not alive(theirs.pid))  # reaped by the process that started it


async def test_a_killed_server_starts_again_with_its_data(home: Path) -> None:
    first = await open_embedded(home)
    run_id, pid = look(first.url)
    write(first.url, "survived")
    os.kill(pid, signal.SIGKILL)
    second = await open_embedded(home)
    assert second.started
    assert look(second.url)[0] != run_id
    assert read(second.url) == "survived"
    wait_until(lambda: not alive(pid))


async def test_nobody_else_can_read_the_files_or_reach_the_socket(home: Path) -> None:
    server = await open_embedded(home)
    write(server.url, "private")
    place = Place.at(home)
    aof = list(place.files.glob("*/*"))
    assert aof
    modes = {path: path.stat().st_mode & 0o777 for path in (home, place.files, server.socket, *aof)}
    assert {modes.pop(path) for path in aof} == {0o600}
    assert set(modes.values()) == {0o700}


async def test_there_is_no_port_unless_asked(home: Path) -> None:
    server = await open_embedded(home)
    assert [each["name"] for each in listeners(server.url)] == ["unix"]


async def test_a_port_on_request_is_on_the_loopback_only(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = await open_embedded(home, port=port)
    assert look(f"redis://127.0.0.1:{port}") == look(server.url)
    tcp = [each for each in listeners(server.url) if each["name"] == "tcp"]
    assert tcp == [{"name": "tcp", "bind": "127.0.0.1", "port": port}]


async def test_the_settings_that_keep_data_are_on(home: Path) -> None:
    server = await open_embedded(home)
    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    with Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get(*wanted) == wanted


async def test_a_directory_with_odd_characters_works(home: Path) -> None:
    server = await open_embedded(home / "é #1 100% ?\"quoted'")
    try:
        write(server.url, "odd")
        assert read(server.url) == "odd"
    finally:
        await server.shutdown()


async def test_stopping_and_joining_under_the_guard_never_leaves_a_joiner_without_a_server(
    home: Path,
) -> None:
    async def stop() -> None:
        async with server_guard(home):
            await (await open_embedded(home)).shutdown()

    async def join() -> None:
        async with server_guard(home):
            write((await open_embedded(home)).url, "mine")

    for _ in range(5):
        await asyncio.gather(stop(), join(), stop(), join())


async def test_the_guard_names_who_holds_it_and_does_not_block_the_loop(home: Path) -> None:
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        async with server_guard(home):
            pass

    async with server_guard(home):
        waiter = asyncio.create_task(wait())
        await waiting.wait()
        await asyncio.sleep(0)
        assert not waiter.done()
        with pytest.raises(
            Unavailable, match=rf"process {os.getpid()} has been opening or closing .* 0.05 s"
        ):
            async with server_guard(home, deadline_s=0.05):
                pytest.fail("two hold the guard")
    await waiter
