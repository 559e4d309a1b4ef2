"""The servers on real sockets: where they listen, whom they wait for, and how they end."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from quotaflow.edges.http.auth import admin_token
from quotaflow.edges.http.place import bound_socket, find_socket
from quotaflow.edges.http.server import base_url, listen, serve
from quotaflow.errors import ConfigError, NotFound
from quotaflow.operators import Role
from quotaflow.redis_server.place import SOCKET_PATH_MAX, short_socket
from quotaflow.settings import Http, Settings
from tests.http.house import PROBLEM, House, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW = "/api/traces/slow"
CONNECTION = "quotaflow.edges.http.connection"


@dataclass(frozen=True)
class Served:
    """A server that listens."""

    url: str
    settings: Settings
    task: asyncio.Task[None]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def client(self) -> httpx.AsyncClient:
        """Ask over TCP, without a token."""
        return httpx.AsyncClient(base_url=self.url)

    def owner(self) -> httpx.AsyncClient:
        """Ask over the socket in the data directory."""
        transport = httpx.AsyncHTTPTransport(uds=str(find_socket(self.settings.data_dir)))
        return httpx.AsyncClient(transport=transport, base_url="http://quotaflow")

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a bare connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def serving(house: House, data_dir: Path, http: Http | None = None) -> AsyncIterator[Served]:
    """Serve while the block runs, in a directory of the test's own."""
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = house.qf.settings.model_copy(update={"data_dir": data_dir, "http": http or Http(port=0)})
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(house.qf, settings, started=url.set_result))
    try:
        ended: set[asyncio.Future[Any]] = {task, url}
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield Served(url.result(), settings, task)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_it_answers_on_a_free_port_with_the_token(fresh: House, tmp_path: Path) -> None:
    _, token = await admin_token(fresh.qf.store, fresh.qf.settings)
    async with serving(fresh, tmp_path) as served, served.client() as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/api/quotas")).status_code == 401
        answer = await client.get("/api/quotas", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert "server" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_owner_needs_no_token(house: House, tmp_path: Path) -> None:
    async with serving(house, tmp_path) as served, served.owner() as owner:
        assert (await owner.get("/api/quotas")).status_code == 200
        made = await owner.post("/api/quotas", json={"id": "a/b", "capacity": 1, "refill_rate": 0})
        assert made.status_code == 201
        assert (await owner.get("/api/quotas/a%2Fb")).json() == made.json()


async def test_the_socket_is_the_owners_alone_and_goes_with_the_server(house: House, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    path.write_text("left behind by a daemon that was killed")
    async with serving(house, tmp_path):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_long_path_leads_to_a_short_private_one(house: House, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    async with serving(house, deep) as served, served.owner() as owner:
        assert (await owner.get("/api/quotas")).status_code == 200
        short = find_socket(deep)
        assert len(os.fsencode(short)) <= SOCKET_PATH_MAX
        assert (deep / "http.sock").readlink() == short
        assert stat.S_IMODE(short.parent.stat().st_mode) == 0o700
    assert not short.exists()
    assert not (deep / "http.sock").is_symlink()
    short.parent.rmdir()


async def test_a_short_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    shared = tmp_path.parent / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (deep / "http.sock").symlink_to(shared / "http.sock")
    with pytest.raises(ConfigError, match="mode 0700"):
        find_socket(deep)


async def test_a_short_directory_that_somebody_else_prepared_is_not_used(tmp_path: Path) -> None:
    deep, run = tmp_path / ("x" * 60) / ("y" * 60), tmp_path.parent / "run"
    deep.mkdir(parents=True)
    run.mkdir()
    prepared = short_socket(deep.resolve(), {"XDG_RUNTIME_DIR": str(run)}).parent
    prepared.mkdir()
    prepared.chmod(0o777)
    refused = pytest.raises(ConfigError, match="mode 0700")
    with refused, bound_socket(deep, {"XDG_RUNTIME_DIR": str(run)}):
        pass
    assert list(prepared.iterdir()) == []


async def test_a_data_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"cannot make the socket .*/http\.sock")
    with refused as caught, bound_socket(tmp_path / "missing"):
        pass
    assert "\n" not in str(caught.value)


async def test_a_port_that_is_taken_is_one_line_with_the_setting(house: House, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^127\.0\.0\.1:{port} is taken .*http\.port") as caught:
            async with serving(house, tmp_path, Http(port=port)):
                pass
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "http.sock").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_one_line(host: str) -> None:
    with pytest.raises(ConfigError, match=rf"^cannot listen on {host}:8000: .*http\.host") as caught:
        await listen(Http(host=host))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1")],  # noqa: S104
)
async def test_the_url_is_one_that_this_machine_can_open(host: str, url: str) -> None:
    with await listen(Http(host=host, port=0)) as listener:
        assert base_url(listener) == f"http://{url}:{listener.getsockname()[1]}"


async def test_signals_stay_with_the_daemon(house: House, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(house, tmp_path) as served, served.client() as client:
        assert (await client.get("/livez")).status_code == 200
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_it_ends_at_once_with_idle_and_half_open_connections(house: House, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with serving(house, tmp_path) as served, served.client() as client:
        await client.get("/livez")
        idle, half = await served.raw(), await served.raw()
        half[1].write(b"POST /api/quotas HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        await half[1].drain()
        began = loop.time()
        served.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await served.task
        assert loop.time() - began < 2.5
        for reader, writer in (idle, half):
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
        with pytest.raises(OSError, match="Connect call failed"):
            await served.raw()


async def test_an_answer_under_way_may_be_finished(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = slow_traces(house, monkeypatch)
    async with serving(house, tmp_path) as served, served.owner() as owner:
        answer = asyncio.create_task(owner.get(SLOW))
        await asked.acquire()
        served.task.cancel()
        go_on.set()
        assert (await answer).json()["code"] == "not_found"


async def test_requests_leave_no_line_in_the_log(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        async with serving(house, tmp_path) as served, served.client() as client:
            await client.get("/livez")
            reader, writer = await served.raw()
            writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            assert b"400 Bad Request" in await reader.read()
            writer.close()
    assert not [record for record in caplog.records if record.name.startswith(("uvicorn", "quotaflow"))]


# Clients that take their time


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /li",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /api/quotas HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li",
    ],
)
async def test_a_request_that_never_ends_is_hung_up_on(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.READ_S", 0.05)
    async with serving(house, tmp_path) as served, served.owner() as client:
        reader, writer = await asyncio.open_unix_connection(find_socket(tmp_path))
        writer.write(sent)
        assert (await all_of(reader)).count(b"HTTP/1.1") == sent.count(b"\r\n\r\nGET"), (
            "the whole request is answered"
        )
        writer.close()
        assert (await client.get("/livez")).status_code == 200


async def test_the_clock_of_a_request_stops_when_it_is_complete(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.READ_S", 0.05)
    asked, go_on = slow_traces(house, monkeypatch)
    async with serving(house, tmp_path) as served, served.owner() as owner:
        answer = asyncio.create_task(owner.get(SLOW))
        await asked.acquire()
        reader, writer = await served.raw()
        assert await all_of(reader) == b"", "one that came later was hung up on"
        writer.close()
        go_on.set()
        assert (await answer).status_code == 404


async def test_a_client_that_does_not_read_is_hung_up_on(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.WRITE_S", 0.05)
    async with serving(house, tmp_path) as served:
        reader, writer = await served.raw()
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):  # 1.5 MB each: more than the kernel buffers
                writer.write(
                    b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
                )
                await writer.drain()
                await asyncio.sleep(0)
                if writer.is_closing():
                    break

        async def hung_up() -> bool:
            writer.write(b"\r\n")  # its reader is full and stands still: only writing tells
            return reader.exception() is not None or reader.at_eof() or writer.is_closing()

        await until(hung_up)
        writer.close()


async def test_a_client_that_reads_again_is_kept(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.WRITE_S", 0.05)
    monkeypatch.setattr(f"{CONNECTION}.READ_S", 0.1)
    async with serving(house, tmp_path) as served:
        reader, writer = await served.raw()
        for _ in range(4):
            writer.write(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        other, silent = await served.raw()
        assert await all_of(other) == b"", "both deadlines have passed"
        silent.close()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in await all_of(reader)
        writer.close()


async def test_an_endless_head_is_refused(house: House, tmp_path: Path) -> None:
    async with serving(house, tmp_path) as served, served.client() as client:
        reader, writer = await served.raw()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(100):
                writer.write(f"X-{number}: {'x' * 1000}\r\n".encode())
                await writer.drain()
                await asyncio.sleep(0)
        assert (await all_of(reader))[:12] in (b"HTTP/1.1 431", b"")
        writer.close()
        long = await client.get("/livez", headers={"x-long": "x" * 20_000})
        assert long.status_code == 200
        with contextlib.suppress(httpx.TransportError):
            await client.get("/livez", headers={f"x-{number}": "x" * 9_000 for number in range(40)})
        assert (await client.get("/livez")).status_code == 200


async def test_idle_connections_make_room_for_a_probe(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.MAX_CONNECTIONS", 5)
    async with serving(house, tmp_path) as served:
        idle = [await served.raw() for _ in range(5)]
        for _, writer in idle[1:]:
            writer.write(b"GET /li")  # heard of later than the first
            await writer.drain()
        for _ in range(3):
            async with served.client() as client:
                assert (await client.get("/livez")).status_code == 200
        assert await all_of(idle[0][0]) == b"", "who was silent for longest had to go"
        for _, writer in idle:
            writer.close()


async def test_when_all_are_busy_a_newcomer_is_told_to_come_back(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.MAX_CONNECTIONS", 2)
    asked, go_on = slow_traces(house, monkeypatch)
    async with (
        serving(house, tmp_path) as served,
        served.owner() as one,
        served.owner() as two,
        served.owner() as late,
    ):
        busy = [asyncio.create_task(client.get(SLOW)) for client in (one, two)]
        for _ in busy:
            await asked.acquire()
        answer = await late.get("/livez")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        go_on.set()
        assert [(await task).status_code for task in busy] == [404, 404]


async def test_a_large_body_is_refused_before_it_is_sent(house: House, tmp_path: Path) -> None:
    async with serving(house, tmp_path) as served:
        reader, writer = await served.raw()
        writer.write(b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        answer = await all_of(reader)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert PROBLEM.encode() in answer
        writer.close()


async def test_a_request_without_one_host_is_refused(house: House, tmp_path: Path) -> None:
    async with serving(house, tmp_path) as served:
        for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
            reader, writer = await served.raw()
            writer.write(b"GET /livez HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
            assert (await all_of(reader)).startswith((b"HTTP/1.1 421 ", b"HTTP/1.1 400 "))
            writer.close()


async def test_an_upgrade_to_websocket_is_no_way_in(house: House, tmp_path: Path) -> None:
    async with serving(house, tmp_path) as served, served.client() as client:
        headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        answer = await client.get(
            "/api/quotas", headers={**headers, "sec-websocket-key": "eHh4eHh4eHh4eHh4eHh4eA=="}
        )
        assert answer.status_code == 401


def slow_traces(house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Semaphore, asyncio.Event]:
    """Make reading a trace wait: the first value counts who has asked, the second lets them all go on."""
    asked, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow(*_: object) -> None:
        asked.release()
        await go_on.wait()
        raise NotFound("no such trace")

    monkeypatch.setattr(house.qf.store, "get_trace", slow)
    return asked, go_on


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the server hangs up, however it does."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


# Pages


async def test_a_head_of_a_page_has_the_headers_of_its_get_and_no_body(house: House, tmp_path: Path) -> None:
    _, token = await house.qf.operators.create("heads", Role.VIEWER)
    async with serving(house, tmp_path) as served:
        for path, status in (("/", b"200"), ("/nothing-is-here", b"404"), ("/login", b"200")):
            heads = []
            for method in (b"GET", b"HEAD"):
                reader, writer = await served.raw()
                lines = [
                    method + b" " + path.encode() + b" HTTP/1.1",
                    b"Host: localhost",
                    b"Authorization: Bearer " + token.encode(),
                    b"Connection: close",
                ]
                writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
                names = sorted(line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:])
                heads.append((head.split(b" ")[1], names))
                assert bool(body) is (method == b"GET"), path
            assert heads[0] == heads[1]
            assert heads[0][0] == status
