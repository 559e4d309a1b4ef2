"""Keys of a quota with a capacity and rate of their own."""

from dataclasses import astuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import NotFound
from quotaflow.model import Override
from quotaflow.store.locks import Lock, lock
from quotaflow.store.quotas import get_quota
from quotaflow.store.statements import insert_or_replace
from quotaflow.store.tables import quota_overrides

_c = quota_overrides.c


async def put(connection: AsyncConnection, override: Override) -> None:
    """Add an override or replace the key's earlier one.

    :raises NotFound: no such quota.
    """
    await lock(connection, Lock.DEFINITIONS)
    await get_quota(connection, override.quota_id)
    await insert_or_replace(connection, quota_overrides, [astuple(override)])


async def remove(connection: AsyncConnection, quota_id: str, key: str) -> None:
    """Give the key the quota's own capacity and rate again.

    :raises NotFound: it has them.
    """
    await lock(connection, Lock.DEFINITIONS)
    statement = quota_overrides.delete().where(_c.quota_id == quota_id, _c.key == key)
    if not (await connection.execute(statement)).rowcount:
        raise NotFound(f'quota "{quota_id}" has no override for the key "{key}"')


async def find(connection: AsyncConnection, quota_id: str, key: str) -> Override | None:
    """Return the override of a key, None when it has none."""
    statement = select(quota_overrides).where(_c.quota_id == quota_id, _c.key == key)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Override(*row)


async def read(connection: AsyncConnection, quota_id: str | None) -> list[Override]:
    """Return the overrides of one quota, or of all, ordered by key."""
    statement = select(quota_overrides).order_by(_c.quota_id, _c.key)
    if quota_id is not None:
        statement = statement.where(_c.quota_id == quota_id)
    return [Override(*row) for row in await connection.execute(statement)]
