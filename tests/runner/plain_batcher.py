"""The plain model of the limiter under a clock that can be set."""

import asyncio

from quotaflow.amounts import MICRO
from quotaflow.errors import Unavailable
from quotaflow.limiter.decide import Wants
from quotaflow.model import Decision, Reason
from quotaflow.timing import ManualClock
from tests.limiter.plain import Plain, PlainQuotas


class PlainBatcher:
    """The plain model of the limiter under a clock that can be set; counts how often it is asked."""

    def __init__(self, clock: ManualClock, buckets: dict[str, Plain]) -> None:
        self._clock = clock
        self._quotas = PlainQuotas(clock.wall_us(), buckets)
        self.asked = 0
        self.away = False
        self.held_up: list[asyncio.Event] = []  # the next answers come when these are set, one each

    async def acquire(self, wants: Wants) -> Decision:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("Redis is away")
        self._quotas.now = self._clock.wall_us()
        ((quota_id, key, cost),) = wants
        ((word, _, level, retry, reset),) = self._quotas.ask([{quota_id + key: cost}])
        if self.held_up:
            await self.held_up.pop(0).wait()
        retry_s, reset_s = (None if wait == -1 else wait / MICRO for wait in (retry, reset))
        return Decision(word == "granted", quota_id, level / MICRO, retry_s, reset_s, Reason(word))

    def rob(self, quota_id: str) -> None:
        """Take everything, as another process would."""
        self._quotas.now = self._clock.wall_us()
        self._quotas.ask([{quota_id: MICRO}])
