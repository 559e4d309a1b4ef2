"""The way to the database: transactions with a deadline, and an end that always comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, Self

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from quotaflow.errors import ConfigError
from quotaflow.store import postgres, sqlite
from quotaflow.store.failures import BROKEN, explain


class Database:
    """The connections to one SQL database. Whatever takes longer than `deadline_s` fails with Unavailable."""

    def __init__(self, url: URL, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.is_postgres = url.get_backend_name() == "postgresql"
        self.where = url.set(password=None, query={}).render_as_string()  # a query may carry a password too
        if self.is_postgres:
            self._writer = self._reader = postgres.engine(url, deadline_s)
            self._broken: tuple[type[Exception], ...] = (*BROKEN, *postgres.broken())
        else:
            self._writer, self._reader = sqlite.engines(url, deadline_s)
            self._broken = BROKEN
        self._engines = {self._writer, self._reader}
        self._made: set[Any] = set()
        for engine in self._engines:
            self._keep_track(engine)

    @classmethod
    async def open(cls, url: str, *, deadline_s: float) -> Self:
        """Connect once.

        :raises ConfigError: a URL that cannot work. :raises Unavailable: nobody answers there.
        """
        database = cls(_parse(url), deadline_s)
        try:
            async with database.write() as connection:
                if database.is_postgres:
                    await postgres.check_durable(connection)
        except BaseException:
            await database.close()
            raise
        return database

    def write(self, *, deadline_s: float | None = None) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that commits at the end and leaves nothing behind when the block raises.

        :raises Unavailable: no connection, no lock or no answer in time.
        :raises InvalidInput: a value that SQL cannot hold.
        """
        return self._transaction(self._writer, deadline_s)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction for reading; fails as `write` does."""
        return self._transaction(self._reader, None)

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, own_deadline_s: float | None
    ) -> AsyncIterator[AsyncConnection]:
        deadline_s = own_deadline_s or self.deadline_s
        try:
            async with asyncio.timeout(deadline_s), engine.begin() as connection:
                if self.is_postgres and own_deadline_s:
                    await postgres.allow(connection, own_deadline_s)
                with nullcontext() if self.is_postgres else sqlite.interrupted_after(connection, deadline_s):
                    yield connection
        except self._broken as error:
            explained = explain(error, where=self.where, deadline_s=deadline_s)
            if explained is None:
                raise
            raise explained from error

    async def close(self) -> None:
        """End every connection and its thread, also those that a cancelled call lost; may be called twice."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.deadline_s):
                    await self._reader.dispose()
                    await self._writer.dispose()  # last: it then folds SQLite's WAL into the file
        finally:
            while self._made:
                self._made.pop().terminate()

    def _keep_track(self, engine: AsyncEngine) -> None:
        """Remember every connection until the pool closes it: a cancellation while it is made loses it."""

        @event.listens_for(engine.sync_engine, "do_connect")
        def connect(dialect: Any, _record: object, args: Any, kwargs: Any) -> Any:
            connection = dialect.connect(*args, **kwargs)
            self._made.add(connection)
            return connection

        @event.listens_for(engine.sync_engine, "close")
        def forget(connection: Any, _record: object) -> None:
            self._made.discard(connection)


def _parse(text: str) -> URL:
    """Read the URL. What cannot be read is not shown: a password with an @ in it is the usual reason."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError("store.url cannot be read; write special characters of a password as %XX") from None
    if url.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise ConfigError("store.url must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://")
    return url
