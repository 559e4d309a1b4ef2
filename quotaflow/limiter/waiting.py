"""Waiting for units: one line per quota and process, in arrival order, sleeping by the server's own word."""

import asyncio
import random
from collections.abc import Callable

from quotaflow.errors import NotFound, QuotaDisabled, QuotaExceeded
from quotaflow.limiter.decide import Limiter
from quotaflow.model import Decision, Reason
from quotaflow.timing import Clock

JITTER = 0.05  # of the wait: processes that wait for the same unit do not all come back at once


class Lines:
    """The waiting lines of this process. Who arrives first is served first; only the first in line asks."""

    def __init__(self, limiter: Limiter, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._limiter = limiter
        self._clock = clock
        self._jitter = jitter
        self._lines: dict[str, asyncio.Lock] = {}
        self.waiting = 0

    async def acquire(self, quota_id: str, cost: int, *, max_wait: float) -> Decision:
        """Take units, waiting at most `max_wait` seconds.

        :raises QuotaExceeded: as soon as it is certain that the wait would be longer.
        :raises NotFound, QuotaDisabled: there is no usable quota.
        """
        line = self._lines.setdefault(quota_id, asyncio.Lock())
        until_s = self._clock.mono_s() + max_wait
        self.waiting += 1
        try:
            await self._stand(line, quota_id, max_wait)
            try:
                return await self._first_in_line(quota_id, cost, until_s, max_wait)
            finally:
                line.release()
        finally:
            self.waiting -= 1

    async def _stand(self, line: asyncio.Lock, quota_id: str, max_wait: float) -> None:
        if not line.locked() and not max_wait:
            await line.acquire()
            return
        try:
            async with asyncio.timeout(max_wait):
                await line.acquire()
        except TimeoutError:
            raise QuotaExceeded(
                f'quota "{quota_id}": others were first in line for all of {max_wait:g} s',
                quota_id=quota_id,
                retry_after=max_wait,
            ) from None

    async def _first_in_line(self, quota_id: str, cost: int, until_s: float, max_wait: float) -> Decision:
        while True:
            decision = (await self._limiter.acquire([{quota_id: cost}]))[0]
            if decision.allowed:
                return decision
            wait_s = patience(decision, until_s - self._clock.mono_s(), max_wait)
            await self._clock.sleep(wait_s * (1 + JITTER * self._jitter()))


def patience(decision: Decision, left_s: float, max_wait: float) -> float:
    """Return how long to sleep after a refusal.

    :raises QuotaExceeded: the time left does not reach that far.
    :raises NotFound, QuotaDisabled: waiting would not help.
    """
    quota_id, retry_after = decision.quota_id, decision.retry_after
    if decision.reason is Reason.MISSING:
        raise NotFound(f'no quota "{quota_id}"')
    if decision.reason is Reason.DISABLED:
        raise QuotaDisabled(f'quota "{quota_id}" is disabled')
    if retry_after is None:
        why = "the cost is above its capacity" if decision.reason is Reason.IMPOSSIBLE else "it never refills"
        raise QuotaExceeded(
            f'quota "{quota_id}": waiting does not help, {why}', quota_id=quota_id, retry_after=None
        )
    if retry_after > left_s:
        raise QuotaExceeded(
            f'quota "{quota_id}" has units again in {retry_after:.3g} s; the call may wait {max_wait:g} s',
            quota_id=quota_id,
            retry_after=retry_after,
        )
    return retry_after
