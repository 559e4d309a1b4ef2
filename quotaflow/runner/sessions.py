"""Where a task's session is made: `tasks.database_url`.

It is never the store's own file: a task that holds a transaction must not stall the journal.
"""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

_SYNC_DRIVERS = {"sqlite+aiosqlite": "sqlite+pysqlite", "postgresql+asyncpg": "postgresql+psycopg"}


class Sessions:
    """Makes sessions; the engines are made when the first task asks for one.

    A run has one transaction: committed on return, rolled back on any exception, and also when the run was given up
    before it returned. A task may commit and roll back in between; then this holds for what it did afterwards.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._url = make_url(url)
        self._async: AsyncEngine | None = None
        self._sync: Engine | None = None
        self._making = threading.Lock()

    @contextlib.asynccontextmanager
    async def open_async(
        self, kind: type[AsyncSession], given_up: threading.Event
    ) -> AsyncIterator[AsyncSession]:
        """Open a session for an `async def`."""
        if self._async is None:
            self._async = create_async_engine(self._url, **_pool(self._url))
            if self._url.drivername == "sqlite+aiosqlite":
                event.listen(self._async.sync_engine, "close", _let_go)
        async with kind(self._async, expire_on_commit=False) as session:
            yield session
            if not given_up.is_set():
                await session.commit()

    @contextlib.contextmanager
    def open_sync(self, kind: type[Session], given_up: threading.Event) -> Iterator[Session]:
        """Open a session in a worker thread."""
        with kind(self._engine(), expire_on_commit=False) as session:
            yield session
            if not given_up.is_set():
                session.commit()

    def _engine(self) -> Engine:
        with self._making:
            if self._sync is None:
                driver = _SYNC_DRIVERS.get(self._url.drivername, self._url.drivername)
                self._sync = create_engine(self._url.set(drivername=driver), **_pool(self._url))
            return self._sync

    async def close(self) -> None:
        """Close every connection."""
        if self._async is not None:
            await self._async.dispose()
        if self._sync is not None:
            self._sync.dispose()


def _pool(url: URL) -> dict[str, Any]:
    """Bound the connections by the runner's concurrency alone: a run would fail after 30 s of waiting for one."""
    in_memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    return {"pool_pre_ping": True} if in_memory else {"pool_pre_ping": True, "max_overflow": -1}


def _let_go(connection: Any, _record: object) -> None:
    """Before SQLite closes: stop and undo what a cancellation left behind.

    The statement goes on in the driver's thread; cut off, it outlives the close until it is collected, and so does
    the lock that its transaction holds. Not awaited: no further cancellation prevents it.
    """
    driver = connection.driver_connection
    driver._conn.interrupt()  # noqa: SLF001  aiosqlite's own is the same in a coroutine
    driver._tx.put_nowait((None, driver._conn.rollback))  # noqa: SLF001  the close is queued behind it
