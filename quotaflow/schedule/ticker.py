"""The ticker: one heap of schedules; due ticks go out in batches, in the order of their moments.

Duties:
1. Know the next moment of every schedule before it is due; compute the one after only when grants are on their way.
2. Claim what is due, never more than the runner has room for, and take the cursor's word over its own.
3. Decide by policy what becomes of moments that passed while nobody could claim them.
4. Follow Redis time: an answer that carries it corrects the local clock.
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from zoneinfo import ZoneInfo

from quotaflow.errors import Backlog, QuotaflowError
from quotaflow.ids import Ids
from quotaflow.log import Event, get_logger
from quotaflow.model import Answer, Tick, Word
from quotaflow.schedule.cron import Cron, next_after
from quotaflow.schedule.misfire import Misfire, decide
from quotaflow.timing import Clock

log = get_logger(room="schedule")

BATCH = 256
LONGEST_REST_S = 1.0  # a wall clock that is set cannot tell us; looking again each second finds out
RETRY_S = 0.1  # after a claim that failed
DRIFT_US = 20_000  # a smaller difference to Redis time is not worth following

Claimer = Callable[[Sequence[Tick]], Awaitable[list[Answer]]]


class Slots(Protocol):
    """Room in the runner."""

    def free(self) -> int:
        """How many runs it would take now."""
        ...

    async def wait_free(self) -> None:
        """Return when it would take one."""
        ...


@dataclass(slots=True)
class Schedule:
    """When one task is due, and how far it has come. Owned by the ticker."""

    task_id: str
    cron: Cron
    zone: ZoneInfo
    misfire: Misfire
    cursor_us: int
    next_us: int = 0
    following_us: int = 0
    run_ids: dict[int, str] = field(default_factory=dict)  # moment -> run id, kept until answered

    def restart(self, cursor_us: int) -> None:
        """Go on from a cursor."""
        self.cursor_us = cursor_us
        self.next_us = next_after(self.cron, self.zone, cursor_us)
        self.following_us = next_after(self.cron, self.zone, self.next_us)
        self.run_ids.clear()

    def advance(self, cursor_us: int) -> None:
        """Go on after an answer; on the usual way this computes one moment, the one after the next."""
        if cursor_us != self.next_us:
            self.restart(cursor_us)
            return
        self.cursor_us, self.next_us = cursor_us, self.following_us
        self.following_us = next_after(self.cron, self.zone, self.next_us)
        self.run_ids.clear()

    def moments(self, now_us: int, most: int) -> list[int]:
        """Return the unclaimed moments up to now, oldest first, at most `most`."""
        moments = [self.next_us]
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


class Ticker:
    """Turns schedules into claims."""

    def __init__(self, clock: Clock, ids: Ids, claim: Claimer, slots: Slots, *, grace_s: float) -> None:
        self._clock = clock
        self._ids = ids
        self._claim = claim
        self._slots = slots
        self._grace_us = round(grace_s * 1e6)
        self._heap: list[tuple[int, int, int, Schedule]] = []  # moment, order of tasks, order of pushes
        self._pushes = itertools.count()  # a replaced schedule may leave an entry with the same moment
        self._schedules: dict[str, Schedule] = {}
        self._order: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._offset_us = 0
        self.claimed = 0
        self.waits_for_room = 0

    def now_us(self) -> int:
        """Redis time as well as we know it."""
        return self._clock.wall_us() + self._offset_us

    def put(self, schedule: Schedule) -> None:
        """Add a schedule, or replace the task's earlier one."""
        schedule.restart(schedule.cursor_us)
        self._schedules[schedule.task_id] = schedule
        self._order.setdefault(schedule.task_id, len(self._order))
        self._push(schedule)
        self._changed.set()

    def drop(self, task_id: str) -> None:
        """Stop ticking a task."""
        self._schedules.pop(task_id, None)

    def next_us(self, task_id: str) -> int | None:
        """Return when the task is due next."""
        schedule = self._schedules.get(task_id)
        return schedule.next_us if schedule else None

    def statistics(self) -> dict[str, int]:
        """Return how many schedules there are, how many wait past their moment, and what was done so far."""
        now_us = self.now_us()
        late = sum(1 for schedule in self._schedules.values() if schedule.next_us < now_us - 1_000_000)
        return {
            "schedules": len(self._schedules),
            "late": late,
            "claimed": self.claimed,
            "waits_for_room": self.waits_for_room,
            "clock_offset_us": self._offset_us,
        }

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            due = self._pop_due()
            if due:
                await self._fire(due)
            else:
                await self._rest()

    def _push(self, schedule: Schedule) -> None:
        order = self._order[schedule.task_id]
        heapq.heappush(self._heap, (schedule.next_us, order, next(self._pushes), schedule))

    def _pop_due(self) -> list[Schedule]:
        due, now_us = [], self.now_us()
        while self._heap and self._heap[0][0] <= now_us:
            moment, _, _, schedule = heapq.heappop(self._heap)
            # A replaced, dropped or re-queued schedule leaves its old entry behind.
            if self._schedules.get(schedule.task_id) is schedule and schedule.next_us == moment:
                due.append(schedule)
        return due

    async def _rest(self) -> None:
        wait_s = LONGEST_REST_S
        if self._heap:
            wait_s = min(wait_s, (self._heap[0][0] - self.now_us()) / 1e6)
        self._changed.clear()
        waiters = [
            asyncio.ensure_future(self._clock.sleep(wait_s)),
            asyncio.ensure_future(self._changed.wait()),
        ]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _fire(self, due: list[Schedule]) -> None:
        waiting = due[::-1]
        try:
            while waiting:
                await self._fire_some(waiting)
        except QuotaflowError as error:  # whatever it is, these ticks are kept and tried again
            log.warning(Event.REDIS_AWAY, error=str(error), due=len(waiting))
            await self._clock.sleep(RETRY_S)
        finally:
            for schedule in waiting:  # also when cancelled: a stopped ticker can be looked at
                self._push(schedule)

    async def _fire_some(self, waiting: list[Schedule]) -> None:
        """Claim one batch off the end of `waiting`; what is not claimed stays there."""
        if self._slots.free() == 0:
            self.waits_for_room += 1
            await self._slots.wait_free()
        batch, ticks = self._batch(waiting, self._slots.free())
        answers = await self._to_the_end(self._claim(ticks))
        del waiting[len(waiting) - len(batch) :]
        self.claimed += len(ticks)
        full = self._settle(ticks, answers)
        for schedule in batch:
            if self._schedules.get(schedule.task_id) is schedule:
                self._push(schedule)
        if full:
            raise Backlog("SQL is too far behind; nothing new begins")

    async def _to_the_end(self, claim: Awaitable[list[Answer]]) -> list[Answer]:
        """Wait for a claim also when stopped meanwhile: what it grants must reach the runner."""
        claiming = asyncio.ensure_future(claim)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.wait([claiming])  # it has a deadline of its own
            raise

    def _batch(self, waiting: Sequence[Schedule], room: int) -> tuple[list[Schedule], list[Tick]]:
        batch: list[Schedule] = []
        ticks: list[Tick] = []
        now_us = self.now_us()
        for schedule in reversed(waiting[-BATCH:]):
            more = schedule.ticks(now_us, self._grace_us, self._ids)
            fitting = _fitting(more, room, BATCH - len(ticks))
            if fitting:
                batch.append(schedule)
                ticks += fitting
                room -= sum(tick.runs for tick in fitting)
            if len(fitting) < len(more):
                break
        return batch, ticks

    def _settle(self, ticks: Sequence[Tick], answers: Sequence[Answer]) -> bool:
        """Move every schedule to where its cursor is now; returns whether the backlog turned ticks away."""
        wall_us = self._clock.wall_us()
        full = False
        for tick, answer in zip(ticks, answers, strict=True):
            schedule = self._schedules.get(tick.task_id)
            if answer.word is Word.EARLY:
                self._offset_us = tick.scheduled_for_us - answer.number - wall_us
            elif answer.word is Word.BACKLOG:
                full = True
            elif schedule is not None:
                # The way of the answer makes Redis look late, never early: only a clock behind it shows here.
                if answer.word is Word.GRANTED and answer.number - wall_us - self._offset_us > DRIFT_US:
                    self._offset_us = answer.number - wall_us
                schedule.advance(answer.number if answer.word is Word.TAKEN else tick.scheduled_for_us)
        return full


def _fitting(ticks: Sequence[Tick], room: int, most: int) -> list[Tick]:
    """Return the first ticks: at most `most`, of which at most `room` run. One that only records always fits."""
    fitting = []
    for tick in ticks[:most]:
        room -= tick.runs
        if room < 0:
            break
        fitting.append(tick)
    return fitting
