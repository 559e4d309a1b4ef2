"""Locks that every process on one PostgreSQL sees. SQLite needs none: it admits one writer."""

from enum import IntEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_QUOTAFLOW = 0x7166 << 32  # "qf": keeps our numbers apart from other programs' in a shared database


class Lock(IntEnum):
    """What only one transaction does at a time."""

    MIGRATE = 1
    FENCE = 2
    JOURNAL = 3  # traces, snapshots and metrics: read, decide, write
    DEFINITIONS = 4  # quotas, tasks, upstream keys, operators, meta
    RETENTION = 5  # removing what is old


async def lock(connection: AsyncConnection, which: Lock) -> None:
    """Wait for the lock and keep it until the transaction ends, however it ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _QUOTAFLOW + which})
