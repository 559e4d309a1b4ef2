"""Who removes old rows, and what is remembered of it.

The lease for it is in SQL: whoever reaches the store may clean it, with or without a Redis, and two never do at once.
"""

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Conflict
from quotaflow.store import meta
from quotaflow.store.locks import Lock, lock
from quotaflow.store.retention import REMOVERS, Part, Portion

LEASE_US = 30_000_000  # a portion has 5 s, and half a second lies between two

LAST_US = "last_cleanup_us"
LAST_COUNT = "last_cleanup_count"
TOTAL_COUNT = "total_cleaned_count"
_LEASE = "cleanup_lease"  # "<until, microseconds> <owner>"


class Cut(NamedTuple):
    """What a cleaning removes: rows of before `cutoff_us`, about `limit` in one transaction; `owner` has the lease."""

    owner: str
    cutoff_us: int
    limit: int


class CleanupRecord(NamedTuple):
    """What is remembered. `last_us` is None before the first; `lease_until_us` lies in the past while nobody cleans."""

    last_us: int | None
    last_count: int
    total_count: int
    lease_until_us: int


async def begin(connection: AsyncConnection, owner: str, now_us: int) -> bool:
    """Take the lease; False while a cleaning goes on, also our own."""
    await lock(connection, Lock.RETENTION)
    until_us, _ = await _lease(connection)
    if until_us > now_us:
        return False
    await meta.put(connection, _LEASE, f"{now_us + LEASE_US} {owner}")
    return True


async def remove(connection: AsyncConnection, part: Part, cut: Cut, after: str, now_us: int) -> Portion:
    """Remove a portion of the oldest rows, beginning after `after` ("": with the very oldest).

    :raises Conflict: the lease has run out, and another process cleans.
    """
    await lock(connection, Lock.RETENTION)
    await _renew(connection, cut.owner, now_us)
    portion = await REMOVERS[part](connection, cut.cutoff_us, cut.limit, after)
    await meta.increase(connection, TOTAL_COUNT, portion.removed)
    return portion


async def end(connection: AsyncConnection, owner: str, count: int, now_us: int) -> None:
    """Remember what was done, and give the lease back.

    :raises Conflict: as `remove` does.
    """
    await lock(connection, Lock.RETENTION)
    await _renew(connection, owner, now_us)
    for key, value in ((LAST_US, str(now_us)), (LAST_COUNT, str(count)), (_LEASE, f"0 {owner}")):
        await meta.put(connection, key, value)


async def read_record(connection: AsyncConnection) -> CleanupRecord:
    """Return what is remembered."""
    return CleanupRecord(
        last_us=await meta.get_count(connection, LAST_US) or None,
        last_count=await meta.get_count(connection, LAST_COUNT),
        total_count=await meta.get_count(connection, TOTAL_COUNT),
        lease_until_us=(await _lease(connection))[0],
    )


async def _lease(connection: AsyncConnection) -> tuple[int, str]:
    until_us, _, owner = (await meta.get(connection, _LEASE) or "0 ").partition(" ")
    return int(until_us), owner


async def _renew(connection: AsyncConnection, owner: str, now_us: int) -> None:
    _, holder = await _lease(connection)
    if holder != owner:
        raise Conflict(f"{holder or 'nobody'} has the lease for cleaning; it is not ours any more")
    await meta.put(connection, _LEASE, f"{now_us + LEASE_US} {owner}")
