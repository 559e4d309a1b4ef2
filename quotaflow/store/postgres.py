"""PostgreSQL: one pool; the server itself gives up when we do, and a commit means that it is on disk."""

from typing import Any

from sqlalchemy import URL, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from quotaflow.errors import ConfigError

CONNECTIONS = 8
SILENT = 0.4  # of the deadline: how long a transaction may wait for its client
WHOLE = 1.2  # of the deadline: how long it may take in all; by then we have given it up ourselves
ENDS_FROM = 17  # the first PostgreSQL that ends a transaction in whatever state its client is frozen

_DURABLE = ("on", "remote_apply")


def engine(url: URL, deadline_s: float) -> AsyncEngine:
    """Return the engine, not yet connected.

    :raises ConfigError: asyncpg is not installed.
    """
    settings = {
        "application_name": "quotaflow",
        "synchronous_commit": "on",
        "statement_timeout": f"{int(deadline_s * 1000)}",
        # Who is frozen in a transaction must not hold up all others by its locks; the holder of the fence beats.
        "idle_in_transaction_session_timeout": f"{int(deadline_s * SILENT * 1000)}",
    }
    try:
        made = create_async_engine(
            url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,  # after a restart of the server the first call already works
            hide_parameters=True,
            connect_args={"server_settings": settings, "timeout": deadline_s},
        )
    except ModuleNotFoundError as error:
        raise ConfigError("store.url names PostgreSQL; install quotaflow[postgres]") from error

    @event.listens_for(made.sync_engine, "connect")
    def limit(connection: Any, _record: object) -> None:
        # Who is frozen between two messages of one statement counts as active: the timeouts above do not see it.
        if connection.driver_connection.get_server_version().major >= ENDS_FROM:
            setting = f"SET transaction_timeout = {round(deadline_s * WHOLE * 1000)}"
            connection.run_async(lambda driver: driver.execute(setting))

    return made


def broken() -> tuple[type[Exception], ...]:
    """Return the driver's errors that SQLAlchemy lets through while it makes a connection."""
    import asyncpg  # noqa: PLC0415  SQLite does without

    return asyncpg.PostgresError, asyncpg.InterfaceError


async def check_durable(connection: AsyncConnection) -> None:
    """Make sure that our setting arrived; a connection pooler in between may drop it.

    :raises ConfigError: a commit would not wait for the disk.
    """
    value = await connection.scalar(text("SHOW synchronous_commit"))
    if value not in _DURABLE:
        raise ConfigError(f"PostgreSQL answers synchronous_commit = {value}; the journal needs it on")


async def allow(connection: AsyncConnection, seconds: float) -> None:
    """Give this transaction and its statements another time than the pool's."""
    await connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
    await stir(connection, seconds)


async def stir(connection: AsyncConnection, seconds: float) -> None:
    """Show the server that we live, and let it end this transaction when that is not shown again in time.

    Before PostgreSQL 17 that is `idle_in_transaction_session_timeout` alone.
    """
    if (connection.dialect.server_version_info or ()) >= (ENDS_FROM,):
        stop, anew = (f"set_config('transaction_timeout', {value}, true)" for value in ("'0'", ":ms"))
        await connection.execute(text(f"SELECT {stop}, {anew}"), {"ms": str(round(seconds * 1000))})
    else:
        await connection.execute(text("SELECT 1"))
