"""SQLite: one file, one connection that writes, a few that only read."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from quotaflow.errors import ConfigError

READERS = 4


def engines(url: URL, deadline_s: float) -> tuple[AsyncEngine, AsyncEngine]:
    """Return the engine that writes and the one that reads; neither has connected yet.

    :raises ConfigError: for a database that is not a file.
    """
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigError("store.url for SQLite must name a file and nothing else: sqlite+aiosqlite:///path")
    # Half: who waits for a foreign lock hears "locked" from SQLite before the deadline cuts the connection.
    patience = f"PRAGMA busy_timeout = {int(deadline_s * 500)}"
    return (
        _engine(url, size=1, begin="BEGIN IMMEDIATE", patience=patience, prepare=_prepare_writer),
        _engine(url, size=READERS, begin="BEGIN", patience=patience, prepare=_prepare_reader),
    )


def _prepare_writer(cursor: Any) -> None:
    _switch_to_wal(cursor)  # readers never wait for the writer
    cursor.execute("PRAGMA synchronous = FULL")  # a commit is on disk; the journal is trimmed after it
    cursor.execute("PRAGMA foreign_keys = ON")


def _switch_to_wal(cursor: Any) -> None:
    """Ask until the deadline cancels: SQLite does not wait for this lock, and two may open a new file."""
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        else:
            return


def _prepare_reader(cursor: Any) -> None:
    cursor.execute("PRAGMA query_only = ON")


def _engine(url: URL, *, size: int, begin: str, patience: str, prepare: Callable[[Any], None]) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=size, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # or the driver would begin by itself, late and deferred
        cursor = connection.cursor()
        cursor.execute(patience)
        prepare(cursor)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_at_once(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine.sync_engine, "close")
    def let_go(connection: Any, _record: object) -> None:
        # A statement that a cancellation cut off outlives close() until it is collected, and its lock too.
        # Not awaited, so that no further cancellation can prevent it; the close is queued behind it.
        driver = connection.driver_connection
        driver._tx.put_nowait((None, driver._conn.rollback))  # noqa: SLF001

    return engine


@contextmanager
def interrupted_after(connection: AsyncConnection, seconds: float) -> Iterator[None]:
    """Stop SQLite's work after this time: it runs in a thread, where cancelling the await does not reach."""
    assert connection.sync_connection is not None  # noqa: S101  it has begun
    driver = connection.sync_connection.connection.driver_connection
    assert driver is not None  # noqa: S101
    interrupt = driver._conn.interrupt  # noqa: SLF001  aiosqlite's own is the same in a coroutine

    def stop() -> None:
        with suppress(sqlite3.ProgrammingError):  # closed by now: the deadline's cancellation was quicker
            interrupt()

    timer = asyncio.get_running_loop().call_later(seconds, stop)
    try:
        yield
    finally:
        timer.cancel()
