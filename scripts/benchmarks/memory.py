"""Child: what a schedule takes in memory, by tracemalloc and by resident size, with and without its Task."""

import gc
import tracemalloc
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.children import params, say
from benchmarks.daemon import register
from benchmarks.expressions import EVERY_SECOND
from quotaflow.ids import Ids
from quotaflow.runner.registry import REGISTRY
from quotaflow.runs import Answer
from quotaflow.schedule.cron import parse
from quotaflow.schedule.misfire import SKIP
from quotaflow.schedule.schedule import Schedule
from quotaflow.schedule.ticker import Ticker
from quotaflow.timing import SystemClock


class _Nowhere:
    def free(self) -> int:
        return 0

    async def wait_free(self) -> None:
        return


async def _claim(_ticks: object) -> list[Answer]:
    return []


async def _look(_task_ids: object) -> list[int]:
    return []


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def traced() -> int:
    """Return the bytes that Python has given out."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main(count: int, *, with_tasks: bool, trace: bool) -> None:
    """Put `count` schedules with 250 expressions on a ticker and say what one took."""
    size = traced if trace else resident
    crons = EVERY_SECOND[:250]
    clock = SystemClock()
    ticker = Ticker(clock, Ids(clock), _claim, _look, _Nowhere(), grace_s=60)
    if trace:
        tracemalloc.start()
    now_us = clock.wall_us()
    before = size()
    if with_tasks:
        register(crons, count, limited_every=2)
    task_ids = [task.id for task in REGISTRY] if with_tasks else [f"t{number:05}" for number in range(count)]
    for number, task_id in enumerate(task_ids):
        cron = parse(crons[number % len(crons)])
        ticker.put(Schedule(task_id, cron, ZoneInfo("UTC"), SKIP, now_us))
    del task_ids
    say(bytes_each=(size() - before) / count)


if __name__ == "__main__":
    main(**params())
