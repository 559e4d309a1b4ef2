"""Waiting for units: one line per bucket and process, in arrival order, sleeping by the server's own word.

Who comes while others wait goes to the end of the line, or is refused with the wait it would have had; Redis is asked
by the first in line only, and by nobody while the units cannot be there yet.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from quotaflow.amounts import MICRO
from quotaflow.errors import NotFound, QuotaDisabled, QuotaExceeded, Unavailable
from quotaflow.limiter.batcher import Batcher
from quotaflow.model import Decision, Reason
from quotaflow.timing import Clock

JITTER = 0.05  # of the wait: processes that wait for the same unit do not all come back at once
MOST_WAITERS = 10_000  # in one process


@dataclass(slots=True, eq=False)
class Waiter:
    """One caller in line. `turn` is done when it is the first."""

    arrival: int  # of later callers it is higher
    cost: int
    turn: asyncio.Future[None]


@dataclass(slots=True)
class Line:
    """The waiters on one bucket, and what the last answer told about it."""

    last: Decision
    rate: float  # units per second
    heard_s: float  # when the last answer came, on the monotonic clock
    waiters: deque[Waiter] = field(default_factory=deque)

    def hear(self, decision: Decision, cost: int, now_s: float) -> None:
        """Learn from an answer; a refusal tells how fast units come."""
        self.last, self.heard_s = decision, now_s
        if decision.retry_after:
            self.rate = max(cost / MICRO - decision.remaining, 1 / MICRO) / decision.retry_after

    def wait_s(self, cost: int, now_s: float) -> float:
        """Return how long it takes, as far as is known, until the bucket holds `cost`."""
        missing = cost / MICRO - self.last.remaining
        return max(0.0, missing / self.rate - (now_s - self.heard_s)) if missing > 0 else 0.0

    def expected_s(self, arrival: int, cost: int, now_s: float) -> float:
        """Return how long somebody waits who has come then."""
        ahead = itertools.islice(self.waiters, self.place(arrival))
        return self.wait_s(cost + sum(waiter.cost for waiter in ahead), now_s)

    def place(self, arrival: int) -> int:
        """Say how many stand before somebody: who came earlier, and the first in any case, who is being served.

        Others may have joined while his own first question was on its way.
        """
        place = len(self.waiters)
        while place > 1 and self.waiters[place - 1].arrival >= arrival:
            place -= 1
        return place


class Lines:
    """The waiting lines of this process."""

    def __init__(self, batcher: Batcher, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._batcher = batcher
        self._clock = clock
        self._jitter = jitter
        self._lines: dict[tuple[str, str], Line] = {}
        self._arrivals = itertools.count()
        self.waiting = 0

    async def acquire(self, quota_id: str, key: str, cost: int, max_wait: float) -> Decision:
        """Take units of one bucket, waiting at most `max_wait` seconds; 0 does not wait.

        A refusal is returned as soon as it is certain; its `retry_after` counts those who wait already.

        :raises Unavailable: Redis does not answer, or 10,000 callers of this process are waiting.
        """
        place, arrival = (quota_id, key), next(self._arrivals)
        if place not in self._lines or not cost:
            decision = await self._batcher.acquire(((quota_id, key, cost),))
            if decision.allowed or not max_wait or not decision.retry_after:
                return decision
            line = self._lines.get(place) or Line(decision, 1 / MICRO, 0.0)
            line.hear(decision, cost, self._clock.mono_s())
        else:
            line = self._lines[place]
        expected_s = line.expected_s(arrival, cost, self._clock.mono_s())
        if expected_s > max_wait:
            return _refused(line.last, expected_s)
        waiter = Waiter(arrival, cost, asyncio.get_running_loop().create_future())
        return await self._stand(place, line, waiter, max_wait)

    async def _stand(self, place: tuple[str, str], line: Line, waiter: Waiter, max_wait: float) -> Decision:
        if self.waiting >= MOST_WAITERS:
            raise Unavailable(f"{MOST_WAITERS:,} callers are waiting for units already")
        self._lines[place] = line
        line.waiters.insert(line.place(waiter.arrival), waiter)
        self.waiting += 1
        until_s = self._clock.mono_s() + max_wait
        try:
            if line.waiters[0] is not waiter and not await _in_time(waiter.turn, max_wait):
                now_s = self._clock.mono_s()
                return _refused(line.last, line.expected_s(waiter.arrival, waiter.cost, now_s))
            return await self._first(place, line, waiter.cost, until_s)
        finally:
            self.waiting -= 1
            line.waiters.remove(waiter)
            if not line.waiters:
                del self._lines[place]
            elif not line.waiters[0].turn.done():
                line.waiters[0].turn.set_result(None)

    async def _first(self, place: tuple[str, str], line: Line, cost: int, until_s: float) -> Decision:
        while True:
            now_s = self._clock.mono_s()
            wait_s = line.wait_s(cost, now_s)
            if now_s + wait_s > until_s:
                return _refused(line.last, wait_s)
            await self._clock.sleep(wait_s * (1 + JITTER * self._jitter()))
            decision = await self._batcher.acquire(((*place, cost),))
            line.hear(decision, cost, self._clock.mono_s())
            if decision.allowed or not decision.retry_after:
                return decision


async def _in_time(turn: asyncio.Future[None], seconds: float) -> bool:
    done, _ = await asyncio.wait([turn], timeout=seconds)
    return bool(done)


def _refused(last: Decision, retry_after: float) -> Decision:
    return Decision(False, last.quota_id, last.remaining, retry_after, last.reset_after, Reason.LIMITED)


_NEVER = {
    Reason.IMPOSSIBLE: "the cost is above its capacity",
    Reason.EXHAUSTED: "too few of its prepaid units are left",
    Reason.EXPIRED: "it has expired",
}


def insist(decision: Decision, max_wait: float) -> Decision:
    """Return a decision that allows.

    :raises QuotaExceeded: it refuses for now, or for ever.
    :raises NotFound, QuotaDisabled: there is no usable quota.
    """
    quota_id, retry_after = decision.quota_id, decision.retry_after
    if decision.allowed:
        return decision
    if decision.reason is Reason.MISSING:
        raise NotFound(f'no quota "{quota_id}"')
    if decision.reason is Reason.DISABLED:
        raise QuotaDisabled(f'quota "{quota_id}" is disabled')
    if retry_after is None:
        why = _NEVER.get(decision.reason, "it never refills")
        raise QuotaExceeded(
            f'quota "{quota_id}": waiting does not help, {why}', quota_id=quota_id, retry_after=None
        )
    raise QuotaExceeded(
        f'quota "{quota_id}" has units again in {retry_after:.3g} s; the call may wait {max_wait:g} s',
        quota_id=quota_id,
        retry_after=retry_after,
    )
