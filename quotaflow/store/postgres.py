"""PostgreSQL: one pool; the server itself gives up when we do, and a commit means that it is on disk."""

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from quotaflow.errors import ConfigError

CONNECTIONS = 8
SILENT = 0.4  # of the deadline: how long a transaction may wait for its client

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
        return create_async_engine(
            url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,  # after a restart of the server the first call already works
            hide_parameters=True,
            connect_args={"server_settings": settings, "timeout": deadline_s},
        )
    except ModuleNotFoundError as error:
        raise ConfigError("store.url names PostgreSQL; install quotaflow[postgres]") from error


async def check_durable(connection: AsyncConnection) -> None:
    """Make sure that our setting arrived; a connection pooler in between may drop it.

    :raises ConfigError: a commit would not wait for the disk.
    """
    value = await connection.scalar(text("SHOW synchronous_commit"))
    if value not in _DURABLE:
        raise ConfigError(f"PostgreSQL answers synchronous_commit = {value}; the journal needs it on")


async def allow(connection: AsyncConnection, seconds: float) -> None:
    """Give the statements of this transaction another time than the pool's."""
    await connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
