"""Definitions of quotas. SQL holds them; what is set at run time stays until its declaration changes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Double, func, literal, or_, select, type_coerce
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Conflict, NotFound
from quotaflow.model import Quota
from quotaflow.store.locks import Lock, lock
from quotaflow.store.paging import Page
from quotaflow.store.statements import among
from quotaflow.store.tables import quota_overrides, quota_snapshots, quotas

_c = quotas.c
_QUOTA: list[Column[Any]] = [
    _c.id,
    _c.name,
    _c.capacity_micro,
    _c.refill_micro_s,
    _c.enabled,
    _c.version,
    _c.kind,
    _c.reset_cron,
    _c.timezone,
    _c.max_concurrent,
    _c.mirrors,
]  # in Quota's order


async def insert_quota(
    connection: AsyncConnection, quota: Quota, now_us: int, *, text: str | None = None
) -> Quota:
    """Add a quota.

    :raises Conflict: its id or its name is taken.
    """
    # Counters of an earlier quota with this id would make every snapshot of the new one look old.
    await connection.execute(quota_snapshots.delete().where(quota_snapshots.c.quota_id == quota.id))
    values = _values(quota) | {
        "id": quota.id,
        "version": quota.version,
        "kind": quota.kind,
        "applied_text": text,
    }
    statement = quotas.insert().values(**values, created_us=now_us, updated_us=now_us)
    try:
        await connection.execute(statement)
    except IntegrityError as error:
        raise Conflict(f"a quota with the id {quota.id!r} or the name {quota.name!r} exists") from error
    return quota


async def update_quota(
    connection: AsyncConnection, quota_id: str, changes: dict[str, Any], now_us: int
) -> Quota:
    """Change columns, raise the version by one and return the new quota.

    :raises NotFound: no such quota. :raises Conflict: the new name is taken.
    """
    statement = quotas.update().where(_c.id == quota_id).returning(*_QUOTA)
    statement = statement.values(**changes, version=_c.version + 1, updated_us=now_us)
    try:
        row = (await connection.execute(statement)).one_or_none()
    except IntegrityError as error:
        raise Conflict(f"another quota has the name {changes['name']!r}") from error
    if row is None:
        raise _missing(quota_id)
    return Quota(*row)


async def delete_quota(connection: AsyncConnection, quota_id: str) -> str | None:
    """Remove a quota; its traces and metrics stay as history. Returns the text of its declaration, if it had one.

    :raises NotFound: no such quota.
    """
    for table in (quota_snapshots, quota_overrides):
        await connection.execute(table.delete().where(table.c.quota_id == quota_id))
    statement = quotas.delete().where(_c.id == quota_id).returning(_c.applied_text)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise _missing(quota_id)
    text: str | None = row.applied_text
    return text


async def get_quota(connection: AsyncConnection, quota_id: str) -> Quota:
    """Return a quota.

    :raises NotFound: no such quota.
    """
    row = (await connection.execute(select(*_QUOTA).where(_c.id == quota_id))).one_or_none()
    if row is None:
        raise _missing(quota_id)
    return Quota(*row)


async def quota_ids(connection: AsyncConnection, names: Sequence[str]) -> dict[str, str]:
    """Return the ids of quotas by what tasks call them: the name, or else the id."""
    known = or_(among(connection, _c.name, names), among(connection, _c.id, names))
    rows = (await connection.execute(select(_c.id, _c.name).where(known))).all()
    return {found_id: found_id for found_id, _ in rows} | {name: found_id for found_id, name in rows}


async def list_quotas(
    connection: AsyncConnection, cursor: str | None, limit: int, text: str | None = None
) -> Page[Quota]:
    """Return quotas by id, those after the cursor; with `text` those that have it in their id or name."""
    statement = select(*_QUOTA).order_by(_c.id).limit(limit + 1)
    if text is not None:
        statement = statement.where(
            _c.id.icontains(text, autoescape=True) | _c.name.icontains(text, autoescape=True)
        )
    if cursor is not None:
        statement = statement.where(_c.id > cursor)
    found = [Quota(*row) for row in await connection.execute(statement)]
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


async def emptiest(connection: AsyncConnection, below: float, limit: int) -> list[Quota]:
    """Return the enabled quotas with less than this part left at their last snapshot, the lowest first."""
    whole = type_coerce(func.coalesce(_c.total_micro, _c.capacity_micro), Double)
    share = quota_snapshots.c.remaining / func.nullif(whole, literal(0.0))
    statement = (
        select(*_QUOTA)
        .join(quota_snapshots, quota_snapshots.c.quota_id == _c.id)
        .where(_c.enabled, share < below)
        .order_by(share, _c.id)
        .limit(limit)
    )
    return [Quota(*row) for row in await connection.execute(statement)]


async def apply_declared(connection: AsyncConnection, quota: Quota, text: str, now_us: int) -> Quota:
    """Make a declaration true when its text is new, and return what holds; else what was set stays.

    :raises Conflict: another quota has its name.
    """
    await lock(connection, Lock.DEFINITIONS)
    statement = select(*_QUOTA, _c.applied_text).where(_c.id == quota.id)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return await insert_quota(connection, quota, now_us, text=text)
    *stored, applied = row
    if applied == text:
        return Quota(*stored)
    if Quota(*stored).kind is not quota.kind:
        raise Conflict(
            f"the quota {quota.id!r} is of kind {Quota(*stored).kind}; delete it first, or take another id"
        )
    return await update_quota(connection, quota.id, _values(quota) | {"applied_text": text}, now_us)


def _values(quota: Quota) -> dict[str, Any]:
    return {
        "name": quota.name,
        "capacity_micro": quota.capacity_micro,
        "refill_micro_s": quota.refill_micro_s,
        "enabled": quota.enabled,
        "reset_cron": quota.reset_cron,
        "timezone": quota.timezone,
        "max_concurrent": quota.max_concurrent,
        "mirrors": quota.mirrors,
    }


def _missing(quota_id: str) -> NotFound:
    return NotFound(f"no quota has the id {quota_id!r}")
