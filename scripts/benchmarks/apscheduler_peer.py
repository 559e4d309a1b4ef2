"""Child: APScheduler 3 in one process: AsyncIOScheduler, cron triggers, jobs in memory."""

import logging
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from apscheduler.events import EVENT_JOB_EXECUTED, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from benchmarks.children import listen, params, save

rows = array("q")
started_us: dict[str, int] = {}  # a job of APScheduler is not told when it was due; the event after it is
turned_away = 0


def note(job_id: str) -> Callable[[], Awaitable[None]]:
    """Make the function of one job."""

    async def body() -> None:
        started_us[job_id] = time.time_ns() // 1_000

    return body


def executed(event: Any) -> None:
    """Note the run that has just ended."""
    due_us = round(event.scheduled_run_time.timestamp() * 1e6)
    rows.extend((int(event.job_id), due_us, started_us[event.job_id]))


def dropped(_event: JobEvent) -> None:
    """Count what it did not run."""
    global turned_away  # noqa: PLW0603  an event listener has nowhere else to count
    turned_away += 1


async def main(given: dict[str, Any]) -> None:
    """Run until the parent says stop."""
    logging.disable(logging.CRITICAL)
    scheduler = AsyncIOScheduler(timezone="UTC")
    for number in range(given["tasks"]):
        job_id = str(number)
        scheduler.add_job(note(job_id), "cron", second="*", id=job_id, name=job_id)
    scheduler.add_listener(executed, EVENT_JOB_EXECUTED)
    scheduler.add_listener(dropped, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    scheduler.start()
    await listen(lambda: {"fired": len(rows) // 3, "dropped": turned_away})
    scheduler.shutdown(wait=False)
    save(rows, given["rows"])


if __name__ == "__main__":
    uvloop.run(main(params()))
