"""Upstream keys: definitions by people, and what the last check of each brought. Secrets come here sealed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.balances import KeyStatus, UpstreamKey
from quotaflow.errors import Conflict, NotFound
from quotaflow.store.locks import Lock, lock
from quotaflow.store.paging import Page, place_of
from quotaflow.store.statements import ALWAYS, among, fetch_in, insert_new, update
from quotaflow.store.tables import upstream_keys

_c = upstream_keys.c
_values = attrgetter(*_c.keys())
_CHECKED = (
    "fingerprint",
    "plan_limit_micro",
    "used_micro",
    "remaining_micro",
    "status",
    "cooldown_until_us",
    "checked_us",
    "error",
    "failures",
)
_checked_values = attrgetter(*_CHECKED)


@dataclass(frozen=True, slots=True)
class UpstreamFilter:
    """Which keys to list; None does not filter."""

    provider: str | None = None
    status: KeyStatus | None = None
    enabled: bool | None = None


async def insert_key(connection: AsyncConnection, key: UpstreamKey) -> None:
    """Add a key.

    :raises Conflict: its secret, its id, or its name at its provider is another key's too.
    """
    refused = await insert_keys(connection, [key])
    if refused:
        raise Conflict(refused[key.id])


async def insert_keys(connection: AsyncConnection, keys: Sequence[UpstreamKey]) -> dict[str, str]:
    """Add the keys that collide with none; return why the others were left out, by their ids.

    :raises Conflict: an id is taken; nothing was added.
    """
    await lock(connection, Lock.DEFINITIONS)  # what is free here stays free until the rows are in
    fresh, refused = decide(keys, await _alike(connection, keys))
    if await insert_new(connection, upstream_keys, [_values(key) for key in fresh]) < len(fresh):
        raise Conflict("an upstream key with this id exists")
    return refused


def decide(
    keys: Sequence[UpstreamKey], stored: Sequence[Row[*tuple[Any, ...]]]
) -> tuple[list[UpstreamKey], dict[str, str]]:
    """Tell keys that collide with nothing stored and with none before them; and of the others, by id, why they do."""
    secrets = {row.fingerprint for row in stored}
    names = {(row.provider, row.name) for row in stored}
    fresh: list[UpstreamKey] = []
    refused: dict[str, str] = {}
    for key in keys:
        if key.fingerprint in secrets:
            refused[key.id] = "this secret is stored already"
        elif (key.provider, key.name) in names:
            refused[key.id] = f"a key of {key.provider} has the name {key.name!r}"
        else:
            fresh.append(key)
            secrets.add(key.fingerprint)
            names.add((key.provider, key.name))
    return fresh, refused


async def _alike(connection: AsyncConnection, keys: Sequence[UpstreamKey]) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return whatever may collide with these keys."""
    is_alike = or_(
        among(connection, _c.fingerprint, [key.fingerprint for key in keys]),
        among(connection, _c.name, [key.name for key in keys]),
    )
    query = select(_c.id, _c.provider, _c.name, _c.fingerprint).where(is_alike)
    return (await connection.execute(query)).all()


async def update_key(
    connection: AsyncConnection, key_id: str, changes: dict[str, Any], now_us: int
) -> UpstreamKey:
    """Change columns and return the key.

    :raises NotFound: no such key. :raises Conflict: the new secret or name is another key's.
    """
    await lock(connection, Lock.DEFINITIONS)
    before = await get_key(connection, key_id)
    wanted = replace(before, **changes)
    others = [row for row in await _alike(connection, [wanted]) if row.id != key_id]
    _, refused = decide([wanted], others)
    if refused:
        raise Conflict(refused[wanted.id])
    statement = upstream_keys.update().where(_c.id == key_id).returning(*_c)
    later_us = max(now_us, before.updated_us + 1)  # it orders changes, whoever's clock is ahead
    row = (await connection.execute(statement.values(**changes, updated_us=later_us))).one()
    return UpstreamKey(*row)


async def delete_key(connection: AsyncConnection, key_id: str) -> None:
    """Remove a key.

    :raises NotFound: no such key.
    """
    await lock(connection, Lock.DEFINITIONS)  # not while somebody changes it
    if not (await connection.execute(upstream_keys.delete().where(_c.id == key_id))).rowcount:
        raise _missing(key_id)


async def get_key(connection: AsyncConnection, key_id: str) -> UpstreamKey:
    """Return a key.

    :raises NotFound: no such key.
    """
    row = (await connection.execute(select(upstream_keys).where(_c.id == key_id))).one_or_none()
    if row is None:
        raise _missing(key_id)
    return UpstreamKey(*row)


async def list_keys(
    connection: AsyncConnection, wanted: UpstreamFilter, cursor: str | None, limit: int
) -> Page[UpstreamKey]:
    """Return keys newest first, those older than the cursor.

    :raises InvalidInput: a cursor that is none of ours.
    """
    statement = select(upstream_keys).where(*_conditions(wanted))
    statement = statement.order_by(_c.created_us.desc(), _c.id.desc()).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(tuple_(_c.created_us, _c.id) < place_of(cursor, of="upstream keys"))
    found = [UpstreamKey(*row) for row in await connection.execute(statement)]
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], f"{last.created_us}.{last.id}" if last else None)


def _conditions(wanted: UpstreamFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("provider", "status", "enabled"):
        value = getattr(wanted, name)
        if value is not None:
            yield _c[name] == value


async def all_keys(connection: AsyncConnection, provider: str | None) -> list[UpstreamKey]:
    """Return the keys of one provider, or of all, disabled ones too, ordered by provider and name."""
    statement = select(upstream_keys).where(*_conditions(UpstreamFilter(provider)))
    return [UpstreamKey(*row) for row in await connection.execute(statement.order_by(_c.provider, _c.name))]


async def write_checked(connection: AsyncConnection, keys: Sequence[UpstreamKey]) -> int:
    """Write what checks brought to the rows that still have the secret that was checked; return how many.

    Nothing of the definition changes, `updated_us` neither.
    """
    # Two statements that take many rows, each in its own order, would wait for each other in a circle.
    await lock(connection, Lock.DEFINITIONS)
    return await update(connection, upstream_keys, _CHECKED, ALWAYS, [_checked_values(key) for key in keys])


async def reseal_keys(connection: AsyncConnection, resealed: Sequence[tuple[str, str, str]]) -> list[str]:
    """Replace sealed texts, (id, old, new), where the old one still stands; return the ids of these keys."""
    await lock(connection, Lock.DEFINITIONS)  # nobody else changes a sealed text until we end
    query = select(_c.id, _c.sealed)
    found = await fetch_in(connection, query, _c.id, [key_id for key_id, _, _ in resealed])
    stored = dict(found)
    rows = [(key_id, new) for key_id, old, new in resealed if stored.get(key_id) == old]
    await update(connection, upstream_keys, ("id", "sealed"), ALWAYS, rows)
    return [key_id for key_id, _ in rows]


def _missing(key_id: str) -> NotFound:
    return NotFound(f"no upstream key has the id {key_id!r}")
