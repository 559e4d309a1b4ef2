"""The few facts about the installation: who it is, which life of Redis it is in, what it has counted."""

import secrets

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Conflict, Recovering
from quotaflow.store.locks import Lock, lock
from quotaflow.store.statements import insert_new, insert_or_replace
from quotaflow.store.tables import meta

STORE_ID = "store_id"
INCARNATION = "incarnation"
REDIS_RUN_ID = "redis_run_id"
ADMIN_TOKEN_HASH = "admin_token_hash"  # noqa: S105  a name
DOUBLE_CLAIMS = "double_claims"


async def get(connection: AsyncConnection, key: str) -> str | None:
    """Return a value, None when it was never put."""
    value: str | None = await connection.scalar(select(meta.c.value).where(meta.c.key == key))
    return value


async def put(connection: AsyncConnection, key: str, value: str) -> None:
    """Set a value."""
    await insert_or_replace(connection, meta, [(key, value)])


async def keep(connection: AsyncConnection, key: str, value: str) -> str:
    """Set a value that nobody has set yet; return the one that is kept."""
    await insert_new(connection, meta, [(key, value)])
    return str(await get(connection, key))


async def get_count(connection: AsyncConnection, key: str) -> int:
    """Return a counter; 0 before the first count."""
    return int(await get(connection, key) or 0)


async def increase(connection: AsyncConnection, key: str, by: int) -> None:
    """Add to a counter. The caller holds the lock under which it is counted."""
    if by:
        await put(connection, key, str(await get_count(connection, key) + by))


async def store_id(connection: AsyncConnection) -> str:
    """Return the random name of this installation; the first caller makes it."""
    return await keep(connection, STORE_ID, secrets.token_hex(16))


async def read_incarnation(connection: AsyncConnection) -> tuple[int, str | None]:
    """Return the number of Redis's current life, 0 before the first, and its server's run id."""
    return await get_count(connection, INCARNATION), await get(connection, REDIS_RUN_ID)


async def check_incarnation(connection: AsyncConnection, number: int) -> None:
    """Let nobody write what was read from a Redis that is not the one any more: recovery has counted without it.

    :raises Recovering: the current life of Redis has another number.
    """
    if number != await get_count(connection, INCARNATION):
        raise Recovering("another life of Redis has begun; the journal is read again from there")


async def write_incarnation(connection: AsyncConnection, number: int, run_id: str) -> None:
    """Begin a new life.

    :raises Conflict: the number is not above the current one: this process lost the fence while it recovered.
    """
    await lock(connection, Lock.DEFINITIONS)
    current, _ = await read_incarnation(connection)
    if number <= current:
        raise Conflict(f"incarnation {number} is not above {current}; another process has recovered since")
    await put(connection, INCARNATION, str(number))
    await put(connection, REDIS_RUN_ID, run_id)
