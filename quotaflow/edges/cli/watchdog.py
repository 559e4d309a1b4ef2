"""Notices an event loop that is blocked, and says by what. A thread does: on the loop nothing runs then."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from quotaflow.edges.http.vitals import Vitals
from quotaflow.log import Event, get_logger
from quotaflow.timing import Clock

log = get_logger(room="daemon")

BEAT_EVERY_S = 0.25
BLOCKED_S = 1.0  # a beat that is later than this; leases, deadlines and probes begin to suffer
FRAMES = 12  # the innermost ones: what the task called, and the runner that called the task


class Watchdog:
    """Beats on the loop, and looks from a thread whether the next beat is overdue."""

    def __init__(self, vitals: Vitals, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        """To be made in the thread of the loop."""
        self._vitals = vitals
        self._clock = clock
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._due_s = clock.mono_s()
        self._told_s: float | None = None

    def beat(self) -> None:
        """Say that the loop moves. If it did not: how long."""
        late_s = self._late_s()
        if late_s > BLOCKED_S:
            self._vitals.blocked(late_s)
            log.warning(Event.LOOP_BACK, blocked_ms=round(late_s * 1e3))
        self._due_s = self._clock.mono_s() + BEAT_EVERY_S

    def look(self) -> None:
        """Tell of a block, once, while it goes on."""
        due_s, late_s = self._due_s, self._late_s()
        if late_s <= BLOCKED_S or due_s == self._told_s:
            return
        task = asyncio.current_task(self._loop)
        stack = stack_of(sys._current_frames().get(self._thread_id))  # noqa: SLF001  documented; the only way
        if due_s == self._due_s:  # else it went on meanwhile, and what we saw is not what blocked
            self._told_s = due_s
            name = None if task is None else task.get_name()
            log.warning(Event.LOOP_BLOCKED, blocked_ms=round(late_s * 1e3), task=name, stack=stack)

    def _late_s(self) -> float:
        return self._clock.mono_s() - self._due_s


@contextlib.contextmanager
def watching(vitals: Vitals, clock: Clock) -> Iterator[None]:
    """Watch the running loop while the block runs."""
    watchdog, ended = Watchdog(vitals, clock, asyncio.get_running_loop()), threading.Event()

    async def beat() -> None:
        while True:
            watchdog.beat()
            await clock.sleep(BEAT_EVERY_S)

    def look() -> None:
        while not ended.wait(BEAT_EVERY_S):
            watchdog.look()

    beating = asyncio.create_task(beat(), name="watchdog")
    threading.Thread(target=look, name="quotaflow watchdog", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        beating.cancel()


def stack_of(frame: FrameType | None) -> str:
    """Write the innermost calls in one line, the innermost first; below the loop it is always the same."""
    calls: list[str] = []
    # Code that was made at run time, such as that of a template, stands in no module.
    while frame is not None and frame.f_globals.get("__name__") != "asyncio.runners" and len(calls) < FRAMES:
        calls.append(f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(calls)
