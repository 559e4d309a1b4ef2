"""The last known level of each quota. What the counters grew by between two snapshots becomes metrics."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.records import Snapshot
from quotaflow.store import metrics
from quotaflow.store.locks import Lock, lock
from quotaflow.store.metrics import Minute
from quotaflow.store.statements import fetch_in, insert_or_replace
from quotaflow.store.tables import quota_snapshots

_values = attrgetter(*quota_snapshots.c.keys())


async def write_snapshots(connection: AsyncConnection, snapshots: Sequence[Snapshot], minute_us: int) -> None:
    """Store what is newer than the stored, and add the differences to the metrics of this minute.

    A snapshot whose counters lie behind the stored ones, or that is the stored one, changes nothing.
    """
    await lock(connection, Lock.JOURNAL)
    ids = list({snapshot.quota_id for snapshot in snapshots})
    stored = {
        row.quota_id: Snapshot(*row)
        for row in await fetch_in(connection, select(quota_snapshots), quota_snapshots.c.quota_id, ids)
    }
    newest = choose(snapshots, stored)
    minute = metrics.minute_of(minute_us)
    await metrics.grow(
        connection, {(new.quota_id, minute): difference(stored.get(new.quota_id), new) for new in newest}
    )
    await insert_or_replace(connection, quota_snapshots, [_values(new) for new in newest])


def choose(snapshots: Iterable[Snapshot], stored: Mapping[str, Snapshot]) -> list[Snapshot]:
    """Return the newest snapshot of each quota, where it is newer than the stored one."""
    newest = dict(stored)
    for snapshot in snapshots:
        known = newest.get(snapshot.quota_id)
        if known is None or _age(snapshot) > _age(known):
            newest[snapshot.quota_id] = snapshot
    return [snapshot for quota_id, snapshot in newest.items() if snapshot is not stored.get(quota_id)]


def _age(snapshot: Snapshot) -> tuple[int, int]:
    """Counters only grow; while they rest, the level refills and time decides."""
    return snapshot.allowed + snapshot.limited, snapshot.synced_us


def difference(old: Snapshot | None, new: Snapshot) -> Minute:
    """Return what was decided between two snapshots."""
    return Minute(
        allowed=max(0, new.allowed - (old.allowed if old else 0)),
        r429=max(0, new.limited - (old.limited if old else 0)),
        remaining=new.remaining,
    )


async def read_snapshots(connection: AsyncConnection) -> list[Snapshot]:
    """Return every snapshot, for recovery."""
    return [Snapshot(*row) for row in await connection.execute(select(quota_snapshots))]
