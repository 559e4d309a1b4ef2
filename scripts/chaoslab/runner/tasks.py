"""The tasks, as a daemon imports them. With CHAOS_DRAIN set nothing is due any more, but what waits goes on."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from typing import Any

from tenacity import wait_exponential

from chaoslab.runner.contract import CRASHES, DRAIN, KINDS, RETRY_S, Kind, task_ids
from chaoslab.runner.notes import note
from quotaflow import LimitTask, Retry, SchedulerTask, TaskContext
from quotaflow.runner.options import RunOptions

NEVER = "0 0 0 29 2 *"


class Noted:
    """A body between its two lines."""

    def __init__(self, task_id: str, context: TaskContext, word: str) -> None:
        self.run, self.attempt = context.run_id, context.attempt
        self.chance = random.Random(f"{context.run_id} {context.attempt}")
        at = "-" if context.scheduled_for is None else context.scheduled_for.timestamp()
        note("begin", task_id, self.run, self.attempt, at, word)

    def __enter__(self) -> random.Random:
        return self.chance

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        note("end", self.run, self.attempt, kind.__name__ if kind else "ok")


def declare() -> None:
    """Declare all tasks."""
    for name, kind in KINDS.items():
        for task_id in task_ids(name):
            decorated(task_id, kind)(body_of(task_id, kind))


def decorated(task_id: str, kind: Kind) -> Callable[[Callable[..., Any]], object]:
    """Return the decorator of a task."""
    cron = None
    if kind.step:
        cron = NEVER if DRAIN in os.environ else f"*/{kind.step} * * * * *"
    options = options_of(kind)
    if kind.quota is None:
        assert cron is not None
        return SchedulerTask(id=task_id, name=task_id, cron=cron, misfire=kind.misfire, **options)
    return LimitTask(
        id=task_id,
        name=task_id,
        cron=cron,
        quota_name=kind.quota,
        on_limit=kind.on_limit,
        misfire=kind.misfire,
        **options,
    )


def options_of(kind: Kind) -> RunOptions:
    """Turn the promise into options."""
    options = RunOptions(
        jitter=kind.jitter, spread=kind.spread, time_limit=kind.hard, soft_time_limit=kind.soft
    )
    if kind.rate:
        options["rate_limit"], options["rate_burst"] = f"{kind.rate[0]:g}/s", kind.rate[1]
    if kind.attempts > 1:
        options["retry"] = Retry(attempts=kind.attempts, wait=wait_exponential(multiplier=RETRY_S, max=5))
    if kind.reruns:
        options["rerun_lost"], options["max_crashes"] = True, CRASHES
    if kind.overlap == "skip":
        options["max_running"], options["overlap"] = 1, "skip"
    elif kind.overlap:
        options["max_running"], options["overlap"] = 1, "queue(1)"
    return options


def body_of(task_id: str, kind: Kind) -> Callable[..., Any]:
    """Make the function: it sleeps, and fails by chance."""

    def decide(chance: random.Random) -> float:
        return chance.uniform(*kind.body_s)

    async def work(context: TaskContext) -> None:
        with Noted(task_id, context, "-") as chance:
            await asyncio.sleep(decide(chance))
            if chance.random() < kind.fails:
                raise ConnectionError

    async def asked(context: TaskContext, word: str) -> None:
        with Noted(task_id, context, word) as chance:
            await asyncio.sleep(decide(chance))

    def threaded(context: TaskContext) -> None:
        with Noted(task_id, context, "-") as chance:
            time.sleep(decide(chance))

    if kind.in_thread:
        return threaded
    return work if kind.step else asked


declare()
