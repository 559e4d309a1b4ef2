"""Plain and async functions in a process of their own, which can be killed with all that it has started."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import secrets
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from quotaflow.errors import RegistrationError
from quotaflow.log import Event, get_logger
from quotaflow.model import Reason, Status
from quotaflow.runner.endings import Ending
from quotaflow.runner.pipes import Lines, Pipe, flowing_in, flowing_out, made
from quotaflow.runner.registry import Task
from quotaflow.runner.threads import in_thread

log = get_logger(room="runner")

LEAVE_S = 5.0  # how long a process may take to end once it has said how its function did
MAX_ANSWER = 65_536  # bytes; our own answers stay below 30,000

MARK = "QF_PROCESS"  # in the environment of all that a run starts; QUOTAFLOW_... would be taken for a setting
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
# Secrets, and what lets a process speak to systemd in our name.
_OURS = ("QUOTAFLOW_", "NOTIFY_SOCKET", "WATCHDOG_")
# -P: a json.py in the current directory is none of the worker's; its path comes with the orders.
WORKER = ("-P", "-m", "quotaflow.runner.worker")


class Job(NamedTuple):
    """What the process is told, beside the database's URL. Limits in seconds; `args` is JSON."""

    module: str
    qualname: str
    run_id: str
    attempt: int
    scheduled_for_us: int | None
    time_limit: float | None
    soft_time_limit: float | None
    args: str | None


class ProcessDied(Exception):
    """The process of a run ended before its function did."""


class Processes:
    """Starts a process for each run: `worker.py`, in a session and so in a process group of its own.

    Whatever a run leaves behind is killed when it ends, also when it ends well: its group, and on Linux all else that
    carries its mark in the environment, such as daemons that made a session of their own. Out of reach are those that
    changed their environment or their user as well, and elsewhere than on Linux all that left the group.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._node = secrets.token_hex(8)
        self._counter = itertools.count()

    async def run(self, task: Task, job: Job) -> Ending:
        """Run the job in a new process and say how it ended. Cancelled, it kills the process and what it started.

        The hard limit covers the start of the process, the soft one the function alone.

        :raises ProcessDied: it ended, or was killed, before the function did.
        :raises RegistrationError: the function is in the program that was started; nobody else can import that.
        :raises OSError: no process can be started.
        """
        if job.module == "__main__":
            raise RegistrationError(
                f'{task.where}: "{task.id}": isolation="process" needs a function in a module that can be imported'
            )
        mark = f"{self._node}.{next(self._counter)}"
        answer = _Answer()
        with contextlib.ExitStack() as stack:
            orders, answers, out, err = (stack.enter_context(made()) for _ in range(4))
            process = await _start(orders, answers, out, err, mark)
            told = {"answer_fd": answers.writing.fileno(), **self._orders(task, job)}
            for theirs in (orders.reading, answers.writing, out.writing, err.writing):
                theirs.close()
            stack.enter_context(flowing_out(orders.writing, json.dumps(told).encode() + b"\n"))
            stack.enter_context(flowing_in(answers.reading, answer.take))
            for pipe, stream in ((out, "stdout"), (err, "stderr")):
                lines = Lines(partial(_log_line, task.id, job.run_id, stream))
                stack.callback(lines.end)
                stack.enter_context(flowing_in(pipe.reading, lines.take))
            exited = asyncio.ensure_future(process.wait())
            exited.add_done_callback(lambda _: answer.is_over.set())
            try:
                await answer.is_over.wait()
                await asyncio.wait([exited], timeout=LEAVE_S)
            finally:
                await _sweep(process.pid, exited, mark)
        return answer.ending(process.returncode)

    def _orders(self, task: Task, job: Job) -> dict[str, object]:
        log_level = logging.getLogger().level
        return {
            "job": job._asdict(),
            "task_id": task.id,
            "database_url": self._database_url,
            "path": [str(place) for place in sys.path],
            "log_level": next((name for name in _LEVELS if _LEVELS[name] >= log_level), "error"),
        }


class _Answer:
    """What the process says about its end: one line of JSON."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()  # it has answered, or it is dead
        self._said = b""

    def take(self, data: bytes) -> None:
        self._said += data[: MAX_ANSWER - len(self._said)]
        if b"\n" in data:
            self.is_over.set()

    def ending(self, code: int | None) -> Ending:
        if not self._said:
            raise ProcessDied(_death(code))
        try:
            said = json.loads(self._said)
            reason = said["reason"] and Reason(said["reason"])
            return Ending(Status(said["status"]), reason, said["error_type"], said["error"], said["delay_s"])
        except (ValueError, TypeError, KeyError) as error:
            raise ProcessDied(f"what it said about its end cannot be read; {_death(code)}") from error


def kill_marked(mark: str) -> None:
    """Kill every process that carries the mark in its environment, except this one; where there is no /proc, none."""
    for _ in range(100):  # one that we have not seen yet may start others
        found = [pid for pid in _marked(f"{MARK}={mark}\0".encode()) if pid != os.getpid()]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _marked(mark: bytes) -> Iterator[int]:
    for place in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to somebody else
                if mark in (place / "environ").read_bytes():
                    yield int(place.name)


async def _start(orders: Pipe, answers: Pipe, out: Pipe, err: Pipe, mark: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *WORKER,
        stdin=orders.reading.fileno(),
        stdout=out.writing.fileno(),
        stderr=err.writing.fileno(),
        pass_fds=[answers.writing.fileno()],
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {MARK: mark},
    )


async def _sweep(pid: int, exited: "asyncio.Future[int]", mark: str) -> None:
    """Kill what is left, and reap the process. Cancelled again, it leaves the reaping to the event loop."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # also if it was just reaped: no number is given again so soon
    try:
        await asyncio.wait([exited], timeout=LEAVE_S)
    finally:
        exited.cancel()
    with contextlib.suppress(RuntimeError):  # no thread can be started; what was committed stays committed
        await in_thread(partial(kill_marked, mark))


def _log_line(task_id: str, run_id: str, stream: str, line: str, cut: int) -> None:
    more = {"cut_bytes": cut} if cut else {}
    log.info(Event.TASK_OUTPUT, task_id=task_id, run_id=run_id, stream=stream, line=line, **more)


def _death(code: int | None) -> str:
    if code is None:
        return "it cannot be killed"
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name if -code in [*signal.Signals] else f"signal {-code}"
    return f"it was killed by {name}"
