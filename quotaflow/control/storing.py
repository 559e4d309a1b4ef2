"""What the journal folds, in the store's own values."""

from collections.abc import Sequence

from quotaflow.journal.fold import Folded
from quotaflow.model import Level
from quotaflow.store import Batch, DeadLetter, Snapshot, Store, TraceRow
from quotaflow.timing import Clock


class Writer:
    """Hands batches and snapshots to the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def batch(self, folded: Folded) -> None:
        """Write traces and dead letters in one transaction."""
        await self._store.write_batch(
            Batch(
                opened=[TraceRow(**row) for row in folded.opened],
                closed=[TraceRow(**row) for row in folded.closed],
                dead=[DeadLetter(dead.event_id, dead.payload, dead.error) for dead in folded.dead],
            )
        )

    async def snapshots(self, levels: Sequence[Level], minute_us: int) -> None:
        """Write what quotas hold; differences of their counters go to the minute."""
        now_us = self._clock.wall_us()
        rows = [
            Snapshot(
                quota_id=level.quota_id,
                remaining=level.remaining,
                allowed=level.allowed,
                limited=level.limited,
                clock_jumps=level.clock_jumps,
                version=level.version,
                synced_us=now_us,
            )
            for level in levels
        ]
        await self._store.write_snapshots(rows, minute_us)
