"""How the process of a daemon ends: in order, and without what its tasks left behind and does not end."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import uvloop

from quotaflow.log import Event, get_logger
from quotaflow.timing import SystemClock

log = get_logger(room="daemon")

T = TypeVar("T")

# Runs had their grace, and 5 s to clean up; this is for what they started beside themselves. asyncio.run() would wait
# for ever, both for asyncio tasks that swallow cancellations and for functions in threads.
LEFT_S = 2.0

_left: list[str] = []


def lead(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, then end what it left; what does not is named, and abandoned by `leave`."""
    threads = ThreadPoolExecutor(thread_name_prefix="quotaflow thread")

    def make_loop() -> asyncio.AbstractEventLoop:
        loop = uvloop.new_event_loop()
        loop.set_default_executor(threads)
        return loop

    runner = asyncio.Runner(loop_factory=make_loop)
    try:
        return runner.run(main)
    finally:
        _left.extend([*runner.run(_end_tasks()), *_end_threads(threads)])
        if _left:
            log.warning(Event.DAEMON_ABANDONED, left=list(_left))
        else:
            runner.close()


async def _end_tasks() -> list[str]:
    """Cancel all tasks and end all async generators; return the names of those that do not end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    generators = asyncio.create_task(asyncio.get_running_loop().shutdown_asyncgens(), name="async generators")
    _, left = await asyncio.wait([*tasks, generators], timeout=LEFT_S)
    return sorted(task.get_name() for task in left)


def _end_threads(threads: ThreadPoolExecutor) -> list[str]:
    """Wait for all that Python waits for at its exit; return the names of those that do not end."""
    threads.shutdown(wait=False, cancel_futures=True)
    clock = SystemClock()
    end_s = clock.mono_s() + LEFT_S
    others = [
        each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()
    ]
    for other in others:
        other.join(max(0.0, end_s - clock.mono_s()))
    return [other.name for other in others if other.is_alive()]


def leave(code: object) -> None:
    """End the process with this exit code if it would wait for something that does not end; return otherwise."""
    if not _left:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
