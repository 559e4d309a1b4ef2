"""A pool of upstream keys on fakeredis, whose clock can be set, beside a service that keeps its own books."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import time_machine

from quotaflow.amounts import MICRO
from quotaflow.balances import Asked, KeyStatus, LiveKey, UpstreamKey, Usage, Verdict
from quotaflow.ids import Ids
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.pools import Nothing, Pools, Reservation
from quotaflow.timing import ManualClock
from tests.limiter.stages import FakeStage

LEASE_S = 8.0
P = "tavily"


def key_named(key_id: str) -> UpstreamKey:
    """Return a key whose secret is in the environment."""
    return UpstreamKey(key_id, P, key_id, f"env:{key_id}", f"print-{key_id}", "...", True, 0, 1)


@dataclass
class Service:
    """What was really spent, and when; `limit` is of each key. It refuses nobody, so that overspending shows."""

    limit: int
    spends: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def spend(self, key_id: str, units: int, now_us: int) -> None:
        self.spends.setdefault(key_id, []).append((now_us, units))

    def spent(self, key_id: str, until_us: int = 10**18) -> int:
        return sum(units for at_us, units in self.spends.get(key_id, ()) if at_us <= until_us)

    def asked(self, key_id: str, until_us: int = 10**18) -> Asked:
        return Asked(key_id, Usage(max(0, self.limit - self.spent(key_id, until_us))))


class Pond:
    """Two processes that share a pool."""

    def __init__(self, keys: int = 2, limit: int = 10, delay_s: float = 0.0) -> None:
        self.stage = FakeStage()
        self.stage.redis.deadline_s = 60.0
        self.keys = {f"k{number}": key_named(f"k{number}") for number in range(keys)}
        self.service = Service(limit * MICRO)
        self.delay_us = round(delay_s * 1e6)
        self.here, self.there = self.pools("here", delay_s), self.pools("there", delay_s)

    def pools(self, node: str, delay_s: float) -> Pools:
        clock = ManualClock()
        fence = cast("Fence", self.stage)
        return Pools(fence, self.stage.redis, clock, Ids(clock, node), lease_s=LEASE_S, delays_s={P: delay_s})

    def passes(self, seconds: float) -> None:
        self.stage.now_us += round(seconds * 1e6)

    async def begin(self) -> None:
        await self.put()
        await self.refresh()

    async def put(self) -> None:
        await self.here.put(P, list(self.keys.values()))

    async def change(self, key_id: str, **changes: Any) -> UpstreamKey:
        """Change a key as a person does, and put it into force; returns it as it was."""
        before = self.keys[key_id]
        self.keys[key_id] = replace(before, updated_us=before.updated_us + 1, **changes)
        await self.here.put(P, [self.keys[key_id]])
        return before

    async def refresh(self, *key_ids: str) -> None:
        """Ask the service, and take its answers over."""
        some = key_ids or tuple(self.keys)
        marks = await self.here.marks(P, some)
        await self.check(marks, [self.said(key_id) for key_id in some])

    def said(self, key_id: str) -> Asked:
        """Return what the service says now; what was spent lately may not show."""
        return self.service.asked(key_id, self.stage.now_us - self.delay_us)

    async def check(self, marks: dict[str, str], found: list[Asked]) -> None:
        asked = {one.key_id: one for one in found}
        await self.here.check(P, [self.keys[key_id] for key_id in asked], marks, asked)

    async def pick(self, cost: int = MICRO, pools: Pools | None = None, **more: Any) -> Reservation:
        held = await (pools or self.here).pick(P, cost, **more)
        assert isinstance(held, Reservation)
        return held

    async def nothing(self, cost: int = MICRO, **more: Any) -> Nothing:
        found = await self.here.pick(P, cost, **more)
        assert isinstance(found, Nothing)
        return found

    def use(self, held: Reservation, units: int | None = None) -> None:
        """Spend at the service what was reserved, or another amount."""
        self.service.spend(held.key_id, held.cost_micro if units is None else units, self.stage.now_us)

    async def live(self) -> dict[str, LiveKey]:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.stage.now_us)
        with time_machine.travel(moment, tick=False):
            return await self.here.live(P)

    async def available(self) -> dict[str, int | None]:
        """Return what each key has, in whole units."""
        return {
            key_id: None if one.available_micro is None else one.available_micro // MICRO
            for key_id, one in (await self.live()).items()
        }

    async def statuses(self) -> dict[str, KeyStatus]:
        return {key_id: one.status for key_id, one in (await self.live()).items()}

    async def give_back(self, held: Reservation, verdict: Verdict | None = None) -> None:
        await self.here.settle(held, 0, verdict or Verdict())

    async def spend(self, held: Reservation) -> None:
        """Use it and say so."""
        self.use(held)
        await self.here.settle(held, held.cost_micro, Verdict())
