"""The world of a chaos run: servers, daemons, customers, and a hand on each of them."""

import asyncio
import contextlib
import functools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from chaoslab.daemon import settings_for
from quotaflow import Quotaflow
from quotaflow.ledger import QuotaType, Validity
from quotaflow.redis_server.locks import FileLock
from tests.proxy import LossyProxy, lossy
from tests.servers import PostgresProcess, ValkeyProcess, wait_until

TOKENS = 12
UNITS = 100_000
LOST = 0.02  # of the replies of scripts to customers, each with its connection
JOURNAL = "qf:{p0}:journal"


class Sql:
    """The SQL store as a stranger sees it."""

    def __init__(self, directory: Path, postgres: PostgresProcess | None) -> None:
        self.path = directory / "store.db"
        self._postgres = postgres
        self._database = contextlib.AsyncExitStack()
        self.url = f"sqlite+aiosqlite:///{self.path}"
        self.customers_url = f"sqlite+aiosqlite:///{directory}/nobodys.db"
        if postgres is not None:
            asyncio.run(self._make(postgres))
            self.customers_url = self.url
        else:
            # A customer must not become the one process that writes the store while the daemon is dead: it is shown
            # a store that somebody has.
            FileLock(directory / "nobodys.db.lock").try_acquire()

    async def _make(self, postgres: PostgresProcess) -> None:
        self.url = postgres._server.get_uri(database="chaos", driver="asyncpg")
        await postgres._execute("CREATE DATABASE chaos")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read."""
        if self._postgres is None:
            with contextlib.closing(
                sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
            ) as found:
                return found.execute(query).fetchall()
        return asyncio.run(self._fetch(query))

    async def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""), timeout=10)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    def sessions(self) -> list[str]:
        """Say what everybody does there; SQLite does not know."""
        if self._postgres is None:
            return []
        query = (
            "SELECT pid, state, wait_event_type, wait_event, now() - xact_start AS since, left(query, 80),"
            " pg_blocking_pids(pid) FROM pg_stat_activity WHERE datname = 'chaos' AND xact_start IS NOT NULL"
        )
        return [str(row) for row in self.rows(query)]

    def lock(self, seconds: float) -> None:
        """Let nobody write for a while."""
        if self._postgres is None:
            with contextlib.closing(
                sqlite3.connect(self.path, timeout=5, isolation_level=None)
            ) as connection:
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)
                connection.execute("ROLLBACK")
        else:
            asyncio.run(self._lock(seconds))

    async def _lock(self, seconds: float) -> None:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""), timeout=10)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE token_quota_logs IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(seconds)
        finally:
            await connection.close()

    def crash(self) -> None:
        """Let PostgreSQL die and come back; SQLite has no process that could."""
        if self._postgres is not None:
            server = self._postgres._server
            os.kill(server.get_pid() or 0, signal.SIGQUIT)  # an immediate shutdown: the next start recovers
            wait_until(lambda: not (server.pgdata / "postmaster.pid").exists(), deadline_s=20)
            server.ensure_postgres_running()


class World:
    """Everything that can be hurt."""

    def __init__(
        self, directory: Path, redis: ValkeyProcess, sql: Sql, *, daemons: int, customers: int, seed: int
    ) -> None:
        self.directory = directory
        self.redis = redis
        self.sql = sql
        self.seed = seed
        self.secrets = directory / "secrets"
        self.logs: list[Path] = []
        self.daemons: list[subprocess.Popen[bytes] | None] = [None] * daemons
        self.customers: list[subprocess.Popen[bytes] | None] = [None] * customers
        self.lives = 0
        self.proxy = LossyProxy(redis.socket, redis.directory / "proxy.sock", LOST, seed)

    def begin(self) -> None:
        """Make the tokens, then start everybody."""
        asyncio.run(self._make_tokens())
        self._forwarding.start()
        wait_until(self.proxy.here.exists)
        for number in range(len(self.daemons)):
            self.start_daemon(number)
        for number in range(len(self.customers)):
            self.start_customer(number)

    @functools.cached_property
    def _forwarding(self) -> threading.Thread:
        async def forward() -> None:
            async with lossy(self.proxy):
                await asyncio.Event().wait()

        return threading.Thread(target=lambda: asyncio.run(forward()), daemon=True)

    async def _make_tokens(self) -> None:
        settings = settings_for(self.redis.url, self.sql.url, str(self.directory / "maker"))
        secrets = []
        async with Quotaflow.open(settings) as qf:
            for number in range(TOKENS):
                _, secret = await qf.tokens.create(
                    ws_id=f"ws{number % 3}",
                    email=f"c{number}@example.com",
                    validity=Validity("unlimited"),
                    quota_type=QuotaType.COUNT,
                    total_quota=UNITS if number else 200,  # one runs out
                )
                secrets.append(secret)
        self.secrets.write_text("\n".join(secrets))

    def start_daemon(self, number: int) -> None:
        """Start one daemon; it has a data directory of its own."""
        home = str(self.directory / f"daemon{number}")
        self.daemons[number] = self._start("chaoslab.daemon", self.redis.url, self.sql.url, home)

    def start_customer(self, number: int) -> None:
        """Start one customer's process; each life has a name and a log of its own."""
        self.lives += 1
        log = self.directory / f"customer{self.lives}.log"
        self.logs.append(log)
        home = str(self.directory / f"customer{number}")
        words = (f"c{self.lives}", self.proxy.url, self.sql.customers_url, home, str(self.secrets), str(log))
        self.customers[number] = self._start("chaoslab.client", *words, str(self.seed + 1000 * self.lives))

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.directory / "output.log").open("ab") as output:
            return subprocess.Popen([sys.executable, "-m", module, *words], stdout=output, stderr=output)

    def everybody(self) -> list[subprocess.Popen[bytes]]:
        """Return the processes of ours that live."""
        return [each for each in (*self.daemons, *self.customers) if each is not None and each.poll() is None]

    def mend(self) -> None:
        """Start again whoever ended."""
        for number, daemon in enumerate(self.daemons):
            if daemon is None or daemon.poll() is not None:
                self.start_daemon(number)
        for number, customer in enumerate(self.customers):
            if customer is None or customer.poll() is not None:
                self.start_customer(number)

    def backlog(self) -> int:
        """Return how many journal entries are not in SQL yet."""
        with self.redis.client() as client:
            return int(client.xlen(JOURNAL))

    @contextlib.contextmanager
    def quiet(self, deadline_s: float = 60.0) -> Iterator[None]:
        """Freeze the customers, and wait until SQL has everything: after faults in a row, on a busy machine, for long."""
        frozen = [each for each in self.customers if each is not None and each.poll() is None]
        for each in frozen:
            each.send_signal(signal.SIGSTOP)
        try:
            self.drained(deadline_s)
            yield
        finally:
            for each in frozen:
                each.send_signal(signal.SIGCONT)

    def wait_for_progress(self, lines: int, deadline_s: float) -> None:
        """Wait until customers have written so many lines, but not for ever."""
        wanted = self.written() + lines
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.written() >= wanted, deadline_s=deadline_s)

    def written(self) -> int:
        """Return how many lines the customers have written, roughly: none is shorter than 16 characters."""
        return sum(log.stat().st_size for log in self.logs if log.exists()) // 24

    def recovered(self) -> bool:
        """Say whether somebody has looked at this life of Redis, and SQL agrees that it is the one."""
        with self.redis.client() as client:
            marked = client.hmget("qf:{p0}:meta", ["incarnation", "run_id"])
            alive = client.info("server")["run_id"]
        number = self.sql.rows("SELECT value FROM meta WHERE key = 'incarnation'")
        return bool(marked == [number[0][0], alive])

    def drained(self, deadline_s: float) -> None:
        """Wait until nothing is in the journal, twice in a row: what is on its way may still arrive."""

        def empty() -> bool:
            if self.backlog() or not self.recovered():
                return False
            time.sleep(0.3)
            return self.backlog() == 0

        wait_until(empty, deadline_s=deadline_s)

    def stop_customers(self) -> None:
        """End the load."""
        for each in self.customers:
            if each is not None:
                each.send_signal(signal.SIGCONT)
                each.kill()
                each.wait()
        self.customers = []

    def end(self) -> None:
        """End everybody."""
        for each in self.everybody():
            each.send_signal(signal.SIGCONT)
            each.kill()
            each.wait()


def thaw_later(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Let a frozen process go on after a while."""

    def thaw() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)

    threading.Timer(seconds, thaw).start()
