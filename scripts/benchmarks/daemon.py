"""Child: one quotaflow daemon whose tasks note when they were due and when they started."""

import contextlib
import logging
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from benchmarks.children import listen, params, save
from quotaflow import LimitTask, Quotaflow, SchedulerTask, TaskContext
from quotaflow.edges.cli.process import collect_seldom
from quotaflow.log import configure
from quotaflow.model import make_quota
from quotaflow.settings import load

rows = array("q")  # per run: task number, due, started


def note(number: int) -> Callable[[TaskContext], Awaitable[None]]:
    """Make the function of one task."""

    async def body(context: TaskContext) -> None:
        started_us = time.time_ns() // 1_000
        assert context.scheduled_for is not None
        rows.extend((number, round(context.scheduled_for.timestamp() * 1e6), started_us))

    return body


def register(crons: list[str], tasks: int, limited_every: int) -> None:
    """Register the tasks; every `limited_every`th draws on a quota, 0 is none."""
    for number in range(tasks):
        cron, name = crons[number % len(crons)], f"task {number}"
        if limited_every and number % limited_every == 0:
            LimitTask(id=f"t{number:05}", name=name, cron=cron, quota_name="bench")(note(number))
        else:
            SchedulerTask(id=f"t{number:05}", name=name, cron=cron)(note(number))


async def main(given: dict[str, Any]) -> None:
    """Work until the parent says stop."""
    configure("json", "warning")
    register(given["crons"], given["tasks"], given["limited_every"])
    collect_seldom()  # as `quotaflow run` does
    quota = make_quota(id="bench", capacity=1_000_000, refill_rate=1_000_000)
    settings = load(None, environ={}, **given["settings"]).model_copy(update={"quotas": (quota,)})
    async with Quotaflow.open(settings, role="daemon") as flow, flow.working():
        await listen(lambda: {"fired": len(rows) // 3, "work": flow.work_statistics()})
    save(rows, given["rows"])


if __name__ == "__main__":
    logging.raiseExceptions = False
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(params()))
