"""What serves limited calls, with what it traced in reach, and functions to call."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from quotaflow import LimitCallTask
from quotaflow.control.calls import LimitedCalls
from quotaflow.control.charges import Charges
from quotaflow.control.gate import Gate
from quotaflow.ids import Ids
from quotaflow.journal.fold import Fact, fold
from quotaflow.journal.recorder import Recorder
from quotaflow.limiter.slots import Slots
from quotaflow.limiter.waiting import Lines
from quotaflow.model import Reason, Status, make_quota
from quotaflow.runner import calls
from quotaflow.runner.pool import Inbox
from quotaflow.runner.registry import REGISTRY
from quotaflow.timing import ManualClock, SystemClock
from tests.limiter.conftest import Bench


class Desk:
    """What serves calls, with what it traced in reach."""

    def __init__(self, bench: Bench, clock: ManualClock, per_second: int = 200) -> None:
        self.bench = bench
        self.clock = clock
        self.recorder = Recorder(bench.admission.record, clock, per_second=per_second, cap=1000)
        ids = Ids(clock, node="me")
        gate = Gate(REGISTRY, bench.admission, bench.quotas, Inbox(10), clock, ids)
        self.lines = Lines(bench.batcher, clock, jitter=lambda: 0.0)
        charges = Charges(bench.charging, bench.allowances, bench.admission, ids, request_ttl_s=3600)
        self.slots = Slots(bench.fence, SystemClock(), ids, lease_s=8)
        self.calls = LimitedCalls(gate, self.lines, self.slots, charges, self.recorder, clock, ids)

    @property
    def traces(self) -> list[dict[str, Any]]:
        """Return the traces so far; they have not been sent."""
        folded = fold([Fact(event_id, line) for event_id, line in self.recorder._facts])
        assert (folded.opened, folded.dead) == ([], [])
        return [trace._asdict() for trace in folded.closed]

    def endings(self) -> list[tuple[Status, Reason | None, str | None]]:
        return [(trace["status"], trace["reason"], trace["error"]) for trace in self.traces]


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[Desk]:
    calls.opened(desk.calls)
    try:
        yield desk
    finally:
        calls.closed(desk.calls)


def limited(quota_name: str = "Prices", **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return LimitCallTask(id="get_price", name="Price", quota_name=quota_name, **options)


async def price(symbol: str, *, days: int = 1) -> float:
    """Look it up."""
    await asyncio.sleep(0)
    return len(symbol) * days


def plain_price(symbol: str, *, days: int = 1) -> float:
    """Look it up."""
    return len(symbol) * days


async def level(desk: Desk, quota_id: str = "prices-id") -> float:
    return (await desk.bench.quotas.levels([make_quota(id=quota_id, capacity=1, refill_rate=0)]))[
        quota_id
    ].remaining
