"""A ticker under a clock that only moves when told, and what it claims from."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

from quotaflow.ids import Ids
from quotaflow.runs import Answer, Tick, Word
from quotaflow.schedule.cron import parse
from quotaflow.schedule.misfire import parse_misfire
from quotaflow.schedule.schedule import Schedule
from quotaflow.schedule.ticker import Ticker
from quotaflow.timing import ManualClock

START_US = 1_750_000_000_000_000  # a whole second: 2025-06-15T15:06:40Z
SECOND = 1_000_000


class Cursors:
    """A Redis of one Python dict: claims move cursors, and everything claimed is remembered in order."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.at: dict[str, int] = {}
        self.ran: list[tuple[str, int]] = []
        self.missed: list[tuple[str, int]] = []
        self.calls: list[int] = []
        self.failing: BaseException | None = None
        self.ahead_us = 0  # how far the server's clock leads ours
        self.sent: list[Tick] = []
        self.looks: list[list[str]] = []

    async def claim(self, ticks: Sequence[Tick]) -> list[Answer]:
        self.calls.append(len(ticks))
        self.sent += ticks
        if self.failing is not None:
            raise self.failing
        return [self._one(tick) for tick in ticks]

    async def look(self, task_ids: Sequence[str]) -> list[int]:
        self.looks.append(list(task_ids))
        if self.failing is not None:
            raise self.failing
        return [self.at[task_id] for task_id in task_ids]

    def _one(self, tick: Tick) -> Answer:
        now_us = self.clock.wall_us() + self.ahead_us
        at = self.at.setdefault(tick.task_id, tick.cursor_us)
        if tick.scheduled_for_us > now_us + 50_000:
            return Answer(Word.EARLY, tick.scheduled_for_us - now_us)
        if at != tick.cursor_us or tick.scheduled_for_us <= at:
            return Answer(Word.TAKEN, at)
        self.at[tick.task_id] = tick.scheduled_for_us
        (self.ran if tick.runs else self.missed).append((tick.task_id, tick.scheduled_for_us))
        return Answer(Word.GRANTED, now_us) if tick.runs else Answer(Word.MISSED, 0)


class Room:
    """Room in the runner, set by hand."""

    def __init__(self, free: int = 10_000) -> None:
        self.left = free
        self.changed = asyncio.Event()

    def free(self) -> int:
        return self.left

    async def wait_free(self) -> None:
        while self.left == 0:
            self.changed.clear()
            await self.changed.wait()

    def set(self, free: int) -> None:
        self.left = free
        self.changed.set()


def schedule(task_id: str, cron: str, cursor_us: int = START_US, misfire: str = "skip") -> Schedule:
    return Schedule(task_id, parse(cron), ZoneInfo("UTC"), parse_misfire(misfire), cursor_us)


@asynccontextmanager
async def ticking(
    *schedules: Schedule,
    room: Room | None = None,
    grace_s: float = 60,
    first: Callable[[ManualClock], None] | None = None,
) -> AsyncIterator[tuple[ManualClock, Cursors, Ticker]]:
    clock = ManualClock(START_US)
    cursors = Cursors(clock)
    ticker = Ticker(clock, Ids(clock, "node"), cursors.claim, cursors.look, room or Room(), grace_s=grace_s)
    for each in schedules:
        cursors.at[each.task_id] = each.cursor_us
        ticker.put(each)
    if first:
        first(clock)
    running = asyncio.create_task(ticker.run())
    await asyncio.sleep(0)
    try:
        yield clock, cursors, ticker
    finally:
        running.cancel()
        await asyncio.wait([running])


def seconds(entries: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(task_id, (moment - START_US) // SECOND) for task_id, moment in entries]
