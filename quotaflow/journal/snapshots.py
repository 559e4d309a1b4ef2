"""Snapshots: what each quota holds and has decided, copied to SQL every `flush_every_s` where it changed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from quotaflow.errors import Unavailable
from quotaflow.log import Event, get_logger
from quotaflow.model import Level
from quotaflow.timing import Clock

log = get_logger(room="journal")

MINUTE_US = 60_000_000

ReadLevels = Callable[[], Awaitable[Mapping[str, Level]]]
WriteSnapshots = Callable[[Sequence[Level], int], Awaitable[None]]


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
            minute_us = self._clock.wall_us() // MINUTE_US * MINUTE_US
            await self._write(changed, minute_us)
            self._written.update({level.quota_id: level for level in changed})
        self.waiting = 0
        return len(changed)
