"""The only place that reads a clock. Wall time schedules; monotonic time measures. They never mix."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def iso(us: int) -> str:
    """Write microseconds since 1970 as `2025-06-15T15:06:40.000000Z`."""
    return f"{(_EPOCH + us * _MICROSECOND).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def iso_or_none(us: int | None) -> str | None:
    """Write a moment that may not have come."""
    return None if us is None else iso(us)


def us_of(text: str) -> int:
    """Read what `iso` wrote."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


class Clock(Protocol):
    """Time as the rooms see it. Wall time is whole microseconds since 1970 in UTC."""

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z; may jump."""
        ...

    def mono_s(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this long; zero or less only yields."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z."""
        return time.time_ns() // 1_000

    def mono_s(self) -> float:
        """Seconds since some moment in the past."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that moves only when told to: `await clock.advance(5)` wakes the sleepers due by then, in order."""

    def __init__(self, start_us: int = 1_750_000_000_000_000) -> None:
        self._now_us = start_us
        self._start_us = start_us
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = 0

    def wall_us(self) -> int:
        """Return the moment it was last moved to."""
        return self._now_us

    def mono_s(self) -> float:
        """Seconds since the clock was made."""
        return (self._now_us - self._start_us) / 1e6

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed the moment."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._order += 1
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_us + round(seconds * 1e6), self._order, wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Move forward, waking each sleeper at its own moment and letting it run before the next."""
        end_us = self._now_us + round(seconds * 1e6)
        await _settle()
        while due := [entry for entry in self._sleepers if entry[0] <= end_us]:
            first = min(due)
            self._sleepers.remove(first)
            self._now_us = max(self._now_us, first[0])
            if not first[2].done():
                first[2].set_result(None)
            await _settle()
        self._now_us = end_us


def raise_if_cancelled() -> None:
    """Give effect to a cancellation that a library swallowed, as redis-py can when a server hangs up during connect.

    :raises asyncio.CancelledError: the current task was asked to stop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _settle() -> None:
    """Let everybody who can go on do so: thirty rounds of the loop reach the next await of any chain we have."""
    for _ in range(30):
        await asyncio.sleep(0)


async def to_the_end(doing: Awaitable[T]) -> T:
    """Wait for something that has a deadline of its own, also when cancelled meanwhile: what it does must be known."""
    going = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(going)
    except asyncio.CancelledError:
        await asyncio.wait([going])
        raise
