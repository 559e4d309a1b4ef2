"""A plain function has a thread of its own. One that was given up keeps nobody waiting, not even the exit."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from quotaflow.runner.threads import in_thread


async def test_the_loop_goes_on_meanwhile() -> None:
    turned = threading.Event()
    asyncio.get_running_loop().call_later(0.01, turned.set)

    def work() -> None:
        assert turned.wait(5)

    await in_thread(work)


async def test_an_error_is_raised_where_it_was_asked_for() -> None:
    error = LookupError("x")

    def work() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await in_thread(work)
    assert caught.value is error


async def test_a_cancelled_wait_ends_at_once_and_leaves_the_thread_alone() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait(10)
        ended.set()

    waiting = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.01)
    waiting.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - began < 5
    may_end.set()
    assert await asyncio.to_thread(ended.wait, 10)


GIVEN_UP = """\
import asyncio, time
from quotaflow import SchedulerTask
from quotaflow.model import Status, Trigger
from quotaflow.runs import Run
from quotaflow.runner.execute import Executor
from quotaflow.runner.registry import REGISTRY
from quotaflow.runner.sessions import Sessions
from quotaflow.timing import SystemClock

@SchedulerTask(id="t", name="T", cron="@daily", time_limit=0.05)
def hangs():
    time.sleep(60)

async def main():
    executor = Executor(SystemClock(), Sessions("sqlite+aiosqlite://"))
    outcome = await executor.execute(REGISTRY.get("t"), Run("r", "t", Trigger.MANUAL, None, 0, None, 0))
    print(outcome.status)

asyncio.run(main())
"""


def test_a_function_that_was_given_up_does_not_keep_the_process_alive() -> None:
    """
    It sleeps for a minute, and the process ends before that: its thread is not waited for. The session, if it has one,
    is rolled back by the database when the connection goes.
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", GIVEN_UP],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hard_timeout\n", "")


AFTER_THE_LOOP = """\
import asyncio, threading, time
from quotaflow.runner.threads import in_thread

closed = threading.Event()
thread = []

def work():
    thread.append(threading.current_thread())
    closed.wait(10)

async def main():
    waiting = asyncio.ensure_future(in_thread(work))
    await asyncio.sleep(0.02)

asyncio.run(main())
closed.set()
thread[0].join(10)
print("quiet")
"""


def test_a_function_that_returns_after_the_loop_has_closed_is_quiet() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", AFTER_THE_LOOP], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "quiet\n", "")
