"""When one task is due, and how far it has come."""

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from quotaflow.ids import Ids
from quotaflow.runs import Tick
from quotaflow.schedule.cron import Cron, next_after
from quotaflow.schedule.misfire import Misfire, decide

BATCH = 256  # ticks of one claim
SECOND_US = 1_000_000  # two moments of one expression are never closer
PATIENCE_US = 100_000  # how long a standby leaves a tick to the daemon that usually claims it


@dataclass(slots=True)
class Schedule:
    """When one task is due, and how far it has come. Owned by the ticker."""

    task_id: str
    cron: Cron
    zone: ZoneInfo
    misfire: Misfire
    cursor_us: int
    next_us: int = 0
    following_us: int = 0  # the moment after the next, computed at leisure; 0 is not yet
    is_standby: bool = False  # another daemon usually claims its ticks
    run_ids: dict[int, str] = field(default_factory=dict)  # moment -> run id, kept until answered

    @property
    def wake_us(self) -> int:
        """When to see to it."""
        return self.next_us + PATIENCE_US if self.is_standby else self.next_us

    def restart(self, cursor_us: int) -> None:
        """Go on from a cursor."""
        self.cursor_us = cursor_us
        self.next_us = next_after(self.cron, self.zone, cursor_us)
        self.following_us = 0
        self.run_ids.clear()

    def advance(self, cursor_us: int) -> None:
        """Go on after an answer; on the usual way everything has been computed before."""
        if cursor_us != self.next_us:
            self.restart(cursor_us)
            return
        self.look_ahead()
        self.cursor_us, self.next_us, self.following_us = cursor_us, self.following_us, 0
        self.run_ids.clear()

    def look_ahead(self) -> None:
        """Compute the moment after the next."""
        if not self.following_us:
            self.following_us = next_after(self.cron, self.zone, self.next_us)

    def moments(self, now_us: int, most: int) -> list[int]:
        """Return the unclaimed moments up to now, oldest first, at most `most`."""
        moments = [self.next_us]
        if now_us < self.next_us + SECOND_US:
            return moments
        self.look_ahead()
        moment = self.following_us
        while moment <= now_us and len(moments) < most:
            moments.append(moment)
            moment = next_after(self.cron, self.zone, moment)
        return moments

    def ticks(self, now_us: int, grace_us: int, ids: Ids) -> list[Tick]:
        """Decide what to claim now: usually one tick that runs; after an outage also those that were missed."""
        most = BATCH + self.misfire.keep
        moments = self.moments(now_us, most)
        verdicts = decide(moments, now_us, self.misfire, grace_us)
        if len(moments) == most:  # there may be more: only the oldest are surely missed
            verdicts = verdicts[:BATCH]
        ticks, cursor_us = [], self.cursor_us
        for verdict in verdicts:
            run_id = self.run_ids.get(verdict.scheduled_for_us) or ids.next()
            self.run_ids[verdict.scheduled_for_us] = run_id
            ticks.append(Tick(self.task_id, run_id, verdict.scheduled_for_us, cursor_us, verdict.runs))
            cursor_us = verdict.scheduled_for_us
        return ticks
