"""Removing what is older than the time it is kept for: every so often, and when somebody asks."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from quotaflow.control.duty import Duty
from quotaflow.errors import CleanupDisabled, QuotaflowError
from quotaflow.ledger import DAY_US
from quotaflow.log import Event, get_logger
from quotaflow.settings import Retention
from quotaflow.store import CleanupRecord, Cut, Part, Store
from quotaflow.timing import Clock

log = get_logger(room="cleanup")

FIRST_S = 60.0  # a daemon that starts has better things to do
LOOK_EVERY_S = 60.0  # whether it is time: another daemon may have done it
PAUSE_S = 0.5  # between two portions, for those who wait to write
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class CleanupState:
    """How cleaning stands. `next_us` is None when it only happens on demand."""

    record: CleanupRecord
    is_running: bool
    next_us: int | None


def cutoff_us(now_us: int, days: int, request_ttl_s: float) -> int:
    """Return before when rows are too old; request ids are looked up in the ledger, so their time counts too."""
    return max(0, now_us - max(days * DAY_US, round(request_ttl_s * 1e6)))


def next_due_us(last_us: int | None, tried_us: int | None, started_us: int, every_hours: float) -> int:
    """Return when to clean next: restarts put it off by a minute at most, a failure by a whole interval."""
    every_us = round(every_hours * HOUR_US)
    moments = [moment + every_us for moment in (last_us, tried_us) if moment is not None]
    return max([started_us + round(FIRST_S * 1e6), *moments])


async def sweep(store: Store, clock: Clock, cut: Cut) -> int:
    """Remove everything older, portion by portion; the caller has the lease. Returns the number of rows.

    :raises Unavailable: SQL is away; what was removed stays removed. :raises Conflict: somebody else cleans now.
    """
    removed = 0
    for part in Part:
        reached: str | None = ""
        while reached is not None:
            portion = await store.remove_old(part, cut, reached)
            removed += portion.removed
            reached = portion.reached
            if portion.removed and reached is not None:
                await clock.sleep(PAUSE_S)
    await store.end_cleanup(cut.owner, removed)
    return removed


class Cleanup:
    """Cleans one store. `owner` names this process among those that could."""

    def __init__(
        self, settings: Retention, request_ttl_s: float, store: Store, duty: Duty, clock: Clock, owner: str
    ) -> None:
        self.settings = settings
        self._request_ttl_s = request_ttl_s
        self._store = store
        self._duty = duty
        self._clock = clock
        self._owner = owner
        self._started_us = clock.wall_us()
        self._tried_us: int | None = None
        self._asked: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        self._is_busy = False

    async def run(self) -> None:
        """Clean when it is time and when asked, until cancelled; then it stops at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._on_demand())
            if self.settings.enabled:
                group.create_task(self._duty.run())
                group.create_task(self._regularly(self._duty.is_held))

    async def start(self, days: int | None = None, *, force: bool = False) -> bool:
        """Begin to clean; False when that goes on already, here or elsewhere.

        :param days: how long rows are kept, instead of `retention.days`.
        :param force: also when `retention.enabled` is false.
        :raises CleanupDisabled: it is, and nobody insists. :raises Unavailable: SQL is away.
        """
        if not (self.settings.enabled or force):
            raise CleanupDisabled("retention.enabled is false; to clean once all the same, ask with force")
        if not await self._begin():
            return False
        self._asked.put_nowait(days or self.settings.days)
        return True

    async def state(self) -> CleanupState:
        """Return how cleaning stands.

        :raises Unavailable: SQL is away.
        """
        record = await self._store.cleanup_record()
        return CleanupState(
            record,
            is_running=self._is_busy or record.lease_until_us > self._clock.wall_us(),
            next_us=self._next_us(record.last_us) if self.settings.enabled else None,
        )

    def _next_us(self, last_us: int | None) -> int:
        return next_due_us(last_us, self._tried_us, self._started_us, self.settings.every_hours)

    async def _regularly(self, is_held: Callable[[], bool]) -> None:
        await self._clock.sleep(FIRST_S)
        while True:
            if is_held():
                await self._if_due()
            await self._clock.sleep(min(LOOK_EVERY_S, self.settings.every_hours * 3600))

    async def _if_due(self) -> None:
        now_us = self._clock.wall_us()
        if now_us < self._next_us(None):  # what SQL knows can only put it off
            return
        try:
            last_us = (await self._store.cleanup_record()).last_us
            if now_us < self._next_us(last_us) or not await self._begin():
                return
        except QuotaflowError as error:
            self._tried_us = now_us
            log.warning(Event.CLEANUP_FAILED, error=str(error))
        else:
            await self._clean(self.settings.days)

    async def _on_demand(self) -> None:
        while True:
            await self._clean(await self._asked.get())

    async def _begin(self) -> bool:
        if self._is_busy:
            return False
        self._is_busy = True
        begun = False
        try:
            begun = await self._store.begin_cleanup(self._owner)
        finally:
            self._is_busy = begun
        return begun

    async def _clean(self, days: int) -> None:
        self._tried_us = self._clock.wall_us()
        cut = Cut(self._owner, cutoff_us(self._tried_us, days, self._request_ttl_s), self.settings.batch)
        try:
            removed = await sweep(self._store, self._clock, cut)
        except QuotaflowError as error:
            log.warning(Event.CLEANUP_FAILED, error=str(error))
        else:
            log.info(Event.CLEANUP_DONE, removed=removed, days=days)
        finally:
            self._is_busy = False
