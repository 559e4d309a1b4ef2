"""The ticker: one heap of schedules; due ticks go out in batches, in the order of their moments.

Duties:
1. Know the next two moments of every schedule before it is due; compute them when it is quiet.
2. Claim what is due, never more than the runner has room for, and take the cursor's word over its own.
3. Decide by policy what becomes of moments that passed while nobody could claim them.
4. Follow Redis time: an answer that carries it corrects the local clock.
5. Share the work: of several daemons one claims a tick at its moment, the others look a little later whether it did.
   The cursor decides who gets it; sharing only saves everybody the claims that would be lost.
"""

import asyncio
import heapq
import itertools
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from quotaflow.errors import Backlog, QuotaflowError
from quotaflow.ids import Ids
from quotaflow.log import Event, get_logger
from quotaflow.runs import Answer, Tick, Word
from quotaflow.schedule.schedule import BATCH, Schedule
from quotaflow.timing import Clock, to_the_end

log = get_logger(room="schedule")

LONGEST_REST_S = 1.0  # a wall clock that is set cannot tell us; looking again each second finds out
LEISURE_US = 300_000  # after this long without a claim, moments further ahead are computed
AT_A_TIME = 16  # moments per turn of the loop; one takes up to 0.1 ms
RETRY_S = 0.1  # after a claim that failed
DRIFT_US = 20_000  # a smaller difference to Redis time is not worth following

Claimer = Callable[[Sequence[Tick]], Awaitable[list[Answer]]]
Looker = Callable[[Sequence[str]], Awaitable[list[int]]]  # task ids -> their cursors in Redis


class Slots(Protocol):
    """Room in the runner."""

    def free(self) -> int:
        """How many runs it would take now."""
        ...

    async def wait_free(self) -> None:
        """Return when it would take one."""
        ...


class Ticker:
    """Turns schedules into claims."""

    def __init__(
        self, clock: Clock, ids: Ids, claim: Claimer, look: Looker, slots: Slots, *, grace_s: float
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._claim = claim
        self._look = look
        self._slots = slots
        self._grace_us = round(grace_s * 1e6)
        self._heap: list[tuple[int, int, int, Schedule]] = []  # moment, order of tasks, order of pushes
        self._pushes = itertools.count()  # a replaced schedule may leave an entry with the same moment
        self._schedules: dict[str, Schedule] = {}
        self._order: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._short_sighted: dict[str, Schedule] = {}  # they know one moment only
        self._quiet_us = 0
        self._offset_us = 0
        self.daemons: tuple[str, ...] = (ids.node,)
        self.is_claiming = False
        self.claimed = 0
        self.waits_for_room = 0

    def now_us(self) -> int:
        """Redis time as well as we know it."""
        return self._clock.wall_us() + self._offset_us

    def put(self, schedule: Schedule) -> None:
        """Add a schedule, or replace the task's earlier one."""
        schedule.restart(schedule.cursor_us)
        schedule.is_standby = not self._leads(schedule.task_id)
        self._schedules[schedule.task_id] = schedule
        self._order.setdefault(schedule.task_id, len(self._order))
        self._push(schedule)
        self._changed.set()

    def drop(self, task_id: str) -> None:
        """Stop ticking a task."""
        self._schedules.pop(task_id, None)

    def fingerprint(self) -> str:
        """Return a short text that is the same in daemons with the same tasks; empty without any."""
        task_ids = "\n".join(sorted(self._schedules))
        return f"{len(self._schedules)}-{zlib.crc32(task_ids.encode()):08x}" if task_ids else ""

    def share(self, daemons: Sequence[str]) -> None:
        """Divide the schedules among the daemons that are alive and have the same ones. Cheap while those stay."""
        present = tuple(sorted({*daemons, self._ids.node}))
        if present == self.daemons:
            return
        self.daemons = present
        for schedule in self._schedules.values():
            schedule.is_standby = not self._leads(schedule.task_id)
        # What is being claimed right now is not in the heap and comes back with its new turn.
        queued = {schedule.task_id for *_, schedule in self._heap if self._is_current(schedule)}
        self._heap.clear()
        for task_id in queued:
            self._push(self._schedules[task_id])
        self._changed.set()

    def _leads(self, task_id: str) -> bool:
        return self.daemons[zlib.crc32(task_id.encode()) % len(self.daemons)] == self._ids.node

    def _is_current(self, schedule: Schedule) -> bool:
        return self._schedules.get(schedule.task_id) is schedule

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
                self._quiet_us = self.now_us() + LEISURE_US
            elif self._short_sighted and self.now_us() >= self._quiet_us:
                await self._look_ahead()
            else:
                await self._rest()

    async def _look_ahead(self) -> None:
        for task_id in list(itertools.islice(self._short_sighted, AT_A_TIME)):
            self._short_sighted.pop(task_id).look_ahead()
        await self._clock.sleep(0)

    def _push(self, schedule: Schedule) -> None:
        order = self._order[schedule.task_id]
        heapq.heappush(self._heap, (schedule.wake_us, order, next(self._pushes), schedule))

    def _requeue(self, schedule: Schedule) -> None:
        if self._is_current(schedule):
            self._push(schedule)
            self._short_sighted[schedule.task_id] = schedule

    def _pop_due(self) -> list[Schedule]:
        due, now_us = [], self.now_us()
        while self._heap and self._heap[0][0] <= now_us:
            moment, _, _, schedule = heapq.heappop(self._heap)
            # A replaced, dropped or re-queued schedule leaves its old entry behind.
            if self._is_current(schedule) and schedule.wake_us == moment:
                due.append(schedule)
        return due

    async def _rest(self) -> None:
        now_us = self.now_us()
        wait_s = LONGEST_REST_S
        if self._heap:
            wait_s = min(wait_s, (self._heap[0][0] - now_us) / 1e6)
        if self._short_sighted:
            wait_s = min(wait_s, (self._quiet_us - now_us) / 1e6)
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
        self.is_claiming = True
        try:
            await self._let_go(waiting)
            while waiting:
                await self._fire_some(waiting)
        except QuotaflowError as error:  # whatever it is, these ticks are kept and tried again
            log.warning(Event.REDIS_AWAY, error=str(error), due=len(waiting))
            await self._clock.sleep(RETRY_S)
        finally:
            self.is_claiming = False
            for schedule in waiting:  # also when cancelled: a stopped ticker can be looked at
                self._push(schedule)

    async def _let_go(self, waiting: list[Schedule]) -> None:
        """Take out of `waiting` what another daemon has claimed, as it usually does."""
        standbys = [schedule for schedule in waiting if schedule.is_standby]
        if not standbys:
            return
        cursors = await self._look([schedule.task_id for schedule in standbys])
        taken = {
            schedule.task_id: cursor_us
            for schedule, cursor_us in zip(standbys, cursors, strict=True)
            if cursor_us >= schedule.next_us
        }
        waiting[:] = [schedule for schedule in waiting if schedule.task_id not in taken]
        for schedule in standbys:
            if schedule.task_id in taken:
                schedule.advance(taken[schedule.task_id])
                self._requeue(schedule)

    async def _fire_some(self, waiting: list[Schedule]) -> None:
        """Claim one batch off the end of `waiting`; what is not claimed stays there."""
        if self._slots.free() == 0:
            self.waits_for_room += 1
            await self._slots.wait_free()
        batch, ticks = self._batch(waiting, self._slots.free())
        answers = await to_the_end(self._claim(ticks))  # what it grants must reach the runner
        del waiting[len(waiting) - len(batch) :]
        self.claimed += len(ticks)
        full = self._settle(ticks, answers)
        for schedule in batch:
            self._requeue(schedule)
        if full:
            raise Backlog("SQL is too far behind; nothing new begins")

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
