"""Where a task's database session is made. It is never the store's own file: a task that holds a transaction must not
stall the journal."""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator


from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

_SYNC_DRIVERS = {"sqlite+aiosqlite": "sqlite+pysqlite", "postgresql+asyncpg": "postgresql+psycopg"}


class Sessions:
    """Makes sessions on `tasks.database_url`; the engines are made when the first task asks for one."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._async: AsyncEngine | None = None
        self._sync: Engine | None = None
        self._making = threading.Lock()

    @contextlib.asynccontextmanager
    async def open_async(self, kind: type[AsyncSession]) -> AsyncIterator[AsyncSession]:
        """One transaction: committed on return, rolled back on any exception."""
        if self._async is None:
            self._async = create_async_engine(self._url, pool_pre_ping=True)
        async with kind(self._async, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def open_sync(self, kind: type[Session], abandoned: threading.Event) -> Iterator[Session]:
        """Do the same in a worker thread; rolled back too when the run was given up meanwhile."""
        with kind(self._engine(), expire_on_commit=False) as session:
            yield session
            if abandoned.is_set():
                session.rollback()
            else:
                session.commit()

    def _engine(self) -> Engine:
        with self._making:
            if self._sync is None:
                driver = _SYNC_DRIVERS.get(self._url.drivername, self._url.drivername)
                self._sync = create_engine(self._url.set(drivername=driver), pool_pre_ping=True)
            return self._sync

    async def close(self) -> None:
        """Close every connection."""
        if self._async is not None:
            await self._async.dispose()
        if self._sync is not None:
            self._sync.dispose()


