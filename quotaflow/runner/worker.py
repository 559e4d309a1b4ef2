"""The process of one run: hears from its parent what to do, does it as the daemon would, and says how it ended."""

import asyncio
import importlib
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from typing import Any, TypeVar

from quotaflow.errors import RegistrationError
from quotaflow.log import configure
from quotaflow.model import Trigger
from quotaflow.runner.endings import Ending, ending_of
from quotaflow.runner.execute import Executor
from quotaflow.runner.injection import TaskContext
from quotaflow.runner.limits import SoftTimeLimitExceeded
from quotaflow.runner.options import Isolation, TimeLimits
from quotaflow.runner.pipes import CHUNK
from quotaflow.runner.processes import MARK, Job, kill_marked
from quotaflow.runner.registry import REGISTRY, Task
from quotaflow.runner.sessions import Sessions
from quotaflow.runs import Plan, Run
from quotaflow.timing import SystemClock

R = TypeVar("R")

Tell = Callable[[Ending], None]


class Alarm:
    """A soft limit for a plain `def` in the main thread: a signal interrupts it wherever Python code runs."""

    def __init__(self, function: Callable[..., Any], seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self.told = False
        self._is_over = False

    def __call__(self, **given: Any) -> Any:
        """Call the function; what comes after it, like the commit, is not interrupted."""
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        try:
            result = self._function(**given)
            self._is_over = True  # an alarm from here on is too late: the work is done
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return result

    def _ring(self, _signal: int, _frame: object) -> None:
        if self._is_over:
            return
        self.told = True
        raise SoftTimeLimitExceeded(f"soft time limit of {self._seconds:g} s exceeded")


class Alone(Executor):
    """Runs one function in a process that is its own: a plain `def` in the main thread, with no loop around it."""

    def run(self, task: Task, run: Run, tell: Tell) -> None:
        """Run it and tell how it ended, then clean up; the parent waits for that, but not for ever."""
        if inspect.iscoroutinefunction(task.function):
            asyncio.run(self._on_a_loop(task, run, tell))
            return
        limits = TimeLimits(run.plan.time_limit, run.plan.soft_time_limit)
        tell(_at_once(self._body(task, run, limits, threading.Event())))
        asyncio.run(self._sessions.close())

    async def _on_a_loop(self, task: Task, run: Run, tell: Tell) -> None:
        outcome = await self.execute(task, run)
        delay_s = None if outcome.again is None else outcome.again.after_s
        tell(Ending(outcome.status, outcome.reason, outcome.error_type, outcome.error, delay_s))
        await self._sessions.close()

    async def _call(
        self, task: Task, context: TaskContext, args: dict[str, Any], given_up: threading.Event
    ) -> bool:
        if inspect.iscoroutinefunction(task.function):
            return await super()._call(task, context, args, given_up)
        _, soft_time_limit = context.timelimit
        if soft_time_limit is None:
            self._call_plain(task, context, args, given_up)
            return False
        alarm = Alarm(task.function, soft_time_limit)
        self._call_plain(replace(task, function=alarm), context, args, given_up)
        return alarm.told


def main() -> None:
    """Run what the parent orders on standard input."""
    me, orders = os.getpid(), _hear()
    sys.path[:] = orders["path"]
    configure("console", orders["log_level"])  # to standard error, as all that the function prints
    os.set_inheritable(orders["answer_fd"], False)

    def tell(ending: Ending) -> None:
        if os.getpid() != me:  # a fork that the function made and that went on as if it were us
            os._exit(1)
        os.write(orders["answer_fd"], json.dumps(asdict(ending)).encode() + b"\n")

    job = Job(**orders["job"])
    try:
        task = _imported(job, orders["task_id"])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a module may raise anything
        tell(ending_of(error))
        return
    Alone(SystemClock(), Sessions(orders["database_url"])).run(task, _run_of(job, task.id), tell)


def _hear() -> dict[str, Any]:
    """Read the orders, and watch the pipe they came through: it ends when the parent is gone, and so do we then.

    The function gets an empty standard input instead, and output that leaves with every line.
    """
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    heard = b""
    while not heard.endswith(b"\n"):
        data = os.read(lifeline, CHUNK)
        if not data:
            sys.exit("the parent has gone before it gave orders")
        heard += data
    threading.Thread(target=_watch, args=(lifeline, os.environ[MARK]), name="lifeline", daemon=True).start()
    return dict(json.loads(heard))


def _watch(lifeline: int, mark: str) -> None:
    os.read(lifeline, 1)
    try:
        kill_marked(mark)
    finally:
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _imported(job: Job, task_id: str) -> Task:
    """Import the module and find what was decorated in it. A function may be several tasks, an id change by import."""
    importlib.import_module(job.module)
    found = [task for task in REGISTRY if task.path == f"{job.module}:{job.qualname}"]
    if not found:
        raise RegistrationError(f"importing {job.module} does not make a task of {job.qualname}")
    task = max(found, key=lambda task: task.id == task_id)
    return replace(task, isolation=Isolation.THREAD)


def _run_of(job: Job, task_id: str) -> Run:
    """What the executor asks a run for; the rest stays with the parent."""
    plan = Plan(job.args, job.time_limit, job.soft_time_limit)
    return Run(
        run_id=job.run_id,
        task_id=task_id,
        trigger=Trigger.CRON,
        scheduled_for_us=job.scheduled_for_us,
        claimed_us=0,
        quota_id=None,
        cost_micro=0,
        attempt=job.attempt,
        plan=plan,
    )


def _at_once(coroutine: Coroutine[Any, Any, R]) -> R:
    """Take a coroutine that waits for nothing to its end, without a loop: the function may want to run one."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("it waits")


if __name__ == "__main__":
    main()
