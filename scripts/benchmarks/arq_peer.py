"""Child: one arq worker with cron jobs due every second, on Redis."""

import asyncio
import contextlib
import time
from array import array
from typing import Any, cast

import uvloop
from arq import cron
from arq.connections import ArqRedis
from arq.worker import Worker

from benchmarks.children import listen, params, save

POLL_S = 0.05  # arq's default of 0.5 s would decide the lateness alone
MAX_JOBS = 100  # its default is 10

rows = array("q")


async def body(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
    """Note one run; the job's id ends with the millisecond at which it was due."""
    started_us = time.time_ns() // 1_000
    name, due_ms = ctx["job_id"].rsplit(":", 1)
    rows.extend((int(name), int(due_ms) * 1_000, started_us))


async def main(given: dict[str, Any]) -> None:
    """Run until the parent says stop."""
    # It puts all due jobs into the queue at once, each on a connection of its own.
    redis = ArqRedis(unix_socket_path=given["socket"], max_connections=given["tasks"] + MAX_JOBS + 10)
    worker = Worker(
        cron_jobs=[
            cron(cast("Any", body), name=str(number), second=set(range(60)), microsecond=0)
            for number in range(given["tasks"])
        ],
        redis_pool=redis,
        poll_delay=POLL_S,
        max_jobs=MAX_JOBS,
        handle_signals=False,
        log_results=False,
    )
    working = asyncio.create_task(worker.async_run())
    await listen(lambda: {"fired": len(rows) // 3})
    save(rows, given["rows"])  # with a backlog its end can take longer than anybody waits
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # it cancels its jobs as it ends
        await working
        await worker.close()


if __name__ == "__main__":
    uvloop.run(main(params()))
