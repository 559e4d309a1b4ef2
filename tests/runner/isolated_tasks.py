"""Tasks that run in processes of their own. Each is registered under its own name."""

import asyncio
import ctypes
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import tenacity
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow import Retry, SchedulerTask, SoftTimeLimitExceeded, TaskContext
from tests.runner.runs import note

F = TypeVar("F", bound=Callable[..., Any])

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
AGAIN = Retry(attempts=3, wait=tenacity.wait_fixed(7), on=LookupError)


def isolated(function: F, **options: Any) -> F:
    """Decorate a task."""
    options = {"id": function.__name__, "name": "T", "cron": "@daily", "isolation": "process"} | options
    SchedulerTask(**options)(function)
    return function


@isolated
def tells_what_it_sees(session: Session, context: TaskContext, path: str = "", greeting: str = "") -> None:
    """Run a loop of its own, too, which a plain `def` may."""
    seen = {
        "greeting": greeting,
        "context": [context.run_id, context.attempt, str(context.scheduled_for), *context.timelimit],
        "environment": dict(os.environ),
        "stdin": sys.stdin.read(),
        "command": sys.orig_argv,
        "is_main_thread": threading.current_thread() is threading.main_thread(),
        "is_leader": os.getpid() == os.getpgrp() == os.getsid(0),
    }
    asyncio.run(asyncio.sleep(0))
    Path(path).write_text(json.dumps(seen), encoding="utf-8")
    session.execute(note("plain"))


@isolated
async def writes(session: AsyncSession, said: str = "async") -> None:
    await session.execute(note(said))


@partial(isolated, retry=AGAIN)
def fails(session: Session) -> None:
    session.execute(note("lost"))
    raise LookupError("no such user")


@partial(isolated, retry=AGAIN)
async def fails_async(session: AsyncSession) -> None:
    await session.execute(note("lost"))
    raise LookupError("no such user")


@isolated
def busy_until_told(session: Session) -> None:
    """Compute, as nothing that waits does."""
    try:
        while True:
            sum(range(1_000))
    except SoftTimeLimitExceeded:
        session.execute(note("progress"))


@isolated
def sleeps(session: Session) -> None:
    session.execute(note("lost"))
    time.sleep(600)


@isolated
async def waits_until_told(session: AsyncSession) -> None:
    try:
        await asyncio.sleep(600)
    except SoftTimeLimitExceeded:
        await session.execute(note("progress"))


@isolated
async def waits(session: AsyncSession) -> None:
    await session.execute(note("lost"))
    await asyncio.sleep(600)


def _family(path: str) -> None:
    """Start processes that hold our output and outlive us: in our group, on Linux in one of its own, and a fork."""
    is_found = sys.platform == "linux"
    children = [subprocess.Popen(SLEEP), subprocess.Popen(SLEEP, start_new_session=is_found)]
    fork = os.fork()
    if fork == 0:
        time.sleep(600)
        os._exit(0)
    pids = [os.getpid(), *[child.pid for child in children], fork]
    Path(path + ".part").write_text(" ".join(map(str, pids)), encoding="utf-8")
    Path(path + ".part").rename(path)


@isolated
def founds_a_family(path: str = "") -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _family(path)
    time.sleep(600)


@isolated
def leaves_a_family(path: str = "") -> None:
    _family(path)


@isolated
def leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()


@isolated
def exits() -> None:
    sys.exit(3)


@isolated
def ends_at_once() -> None:
    os._exit(3)


@isolated
def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@isolated
def reads_address_zero() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


@isolated
def eats_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)


@isolated
def babbles_at_its_end() -> None:
    """Write to every pipe there is."""
    for fd in range(3, 32):
        try:
            os.write(fd, b"{nonsense\n")
        except OSError:
            continue
    os._exit(0)


@isolated
def forks_and_both_return() -> None:
    os.fork()


@isolated
def prints_much() -> None:
    logging.getLogger("shop").error("in the child's log")
    sys.stderr.write("x" * 10_000_000)
    for _ in range(100):
        sys.stdout.write("a line...\n" * 10_000)
