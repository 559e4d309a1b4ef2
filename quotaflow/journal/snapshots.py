"""Snapshots: what each quota holds and has decided, copied to SQL every `flush_every_s` where it changed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from quotaflow.errors import Unavailable
from quotaflow.log import Event, get_logger
from quotaflow.model import Level
from quotaflow.records import Snapshot
from quotaflow.timing import Clock

log = get_logger(room="journal")

MINUTE_US = 60_000_000

ReadLevels = Callable[[], Awaitable[Mapping[str, Level]]]
WriteSnapshots = Callable[[Sequence[Snapshot], int], Awaitable[None]]


class Snapshotter:
    """Copies levels and counters. The store turns differences of the counters into minutes."""

    def __init__(self, read: ReadLevels, write: WriteSnapshots, clock: Clock, *, every_s: float) -> None:
        self._read = read
        self._write = write
        self._clock = clock
        self._every_s = every_s
        self._written: dict[str, Level] = {}
        self.waiting = 0

    async def run(self, may_write: Callable[[], bool]) -> None:
        """Snapshot at every interval while this process holds the duty, until cancelled."""
        while True:
            await self._clock.sleep(self._every_s)
            try:
                if may_write():
                    await self.once()
                else:
                    self._written.clear()
            except Unavailable as error:
                log.warning(Event.STORE_AWAY, error=str(error), waiting=self.waiting)

    async def once(self) -> int:
        """Write what changed since the last time; returns how many quotas that were."""
        levels = await self._read()
        changed = [level for level in levels.values() if self._written.get(level.quota_id) != level]
        self.waiting = len(changed)
        if changed:
            now_us = self._clock.wall_us()
            await self._write(
                [_snapshot(level, now_us) for level in changed], now_us // MINUTE_US * MINUTE_US
            )
            self._written.update({level.quota_id: level for level in changed})
        self.waiting = 0
        return len(changed)


def _snapshot(level: Level, now_us: int) -> Snapshot:
    return Snapshot(
        quota_id=level.quota_id,
        remaining=level.remaining,
        allowed=level.allowed,
        limited=level.limited,
        clock_jumps=level.clock_jumps,
        version=level.version,
        synced_us=now_us,
    )
