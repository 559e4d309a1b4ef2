"""What somebody must do about prepaid units from time to time: one process does, by duty.

Reservations whose time is up go back, quotas with a `reset_cron` begin their next period, and what a charge took in a
life of Redis that is over is taken again.
"""

import contextlib
from collections.abc import Callable, Iterable

from quotaflow.control.charges import Charges
from quotaflow.errors import InvalidInput, NotFound, QuotaflowError
from quotaflow.ledger import Change, LedgerEntry
from quotaflow.limiter.allowances import PERIOD, Allowances
from quotaflow.log import Event, get_logger
from quotaflow.model import Quota, QuotaKind
from quotaflow.schedule.cron import load_zone, next_after, parse
from quotaflow.store import Store
from quotaflow.timing import Clock

log = get_logger(room="keeping")

EVERY_S = 1.0
LOOK_EVERY_S = 5.0  # how often definitions are read again


class Keeper:
    """Keeps prepaid units in order."""

    def __init__(
        self, store: Store, charges: Charges, allowances: Allowances, clock: Clock, zone: str
    ) -> None:
        self._store = store
        self._charges = charges
        self._allowances = allowances
        self._clock = clock
        self._zone = zone
        self._quotas: list[Quota] = []
        self._looked_s = -LOOK_EVERY_S
        self._orphans: list[LedgerEntry] = []

    async def run(self, is_held: Callable[[], bool]) -> None:
        """Look every second while this process holds the duty, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            if not is_held():
                continue
            try:
                await self._charges.sweep()
                await self.begin_periods()
                await self.take_again((), now=True)
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error))

    async def begin_periods(self) -> None:
        """Give quotas whose `reset_cron` has come due their total again; several missed moments count once."""
        if self._clock.mono_s() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock.mono_s()
            self._quotas = [quota for quota in await self._store.all_quotas() if is_periodic(quota)]
        holdings = await self._allowances.holdings([quota.id for quota in self._quotas])
        now_us = self._clock.wall_us()
        for quota in self._quotas:
            held = holdings.get(quota.id)
            due_us = None if held is None else period_end(quota, held.period_us, self._zone)
            if due_us is not None and due_us <= now_us:
                await self._begin(quota, due_us, now_us)

    async def _begin(self, quota: Quota, due_us: int, now_us: int) -> None:
        begun = await self._allowances.change(
            quota.id,
            PERIOD,
            quota.capacity_micro,
            act_id=f"period-{due_us:014x}",  # two that hold the duty for a moment do it once
            actor="reset_cron",
            moment_us=now_us,
        )
        if begun:
            log.info(Event.QUOTA_CHANGED, quota_id=quota.id, due_us=due_us)

    async def take_again(self, orphans: Iterable[LedgerEntry], *, now: bool) -> None:
        """Take what orphans took, each once; while Redis is away, later."""
        self._orphans += orphans
        while now and self._orphans:
            orphan = self._orphans[0]
            log.warning(Event.ORPHAN_FOUND, subject=orphan.subject, event_id=orphan.event_id)
            if (taken := -orphan.change_micro) > 0:
                act_id = f"orphan-{orphan.event_id}"
                with contextlib.suppress(NotFound, InvalidInput):  # removed, or not metered any more
                    await self._allowances.change(
                        orphan.subject, Change.ADJUST, taken, act_id=act_id, actor="orphan"
                    )
            self._orphans.pop(0)


def is_periodic(quota: Quota) -> bool:
    """Say whether it begins again by itself."""
    return quota.kind is QuotaKind.ALLOWANCE and quota.reset_cron is not None and quota.enabled


def period_end(quota: Quota, since_us: int, zone: str) -> int:
    """Return when the period that began at `since_us` is over; `zone` is for quotas without one."""
    return next_after(parse(quota.reset_cron), load_zone(quota.timezone or zone), since_us)
