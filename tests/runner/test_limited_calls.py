"""A call takes its units first, and leaves a trace of how it ended. On a real server."""

import asyncio

import pytest

from quotaflow import QuotaExceeded
from quotaflow.errors import NotFound, QuotaDisabled
from quotaflow.model import Reason, Status, Trigger
from quotaflow.timing import ManualClock
from tests.limiter.conftest import Bench
from tests.runner.desk import Desk, level, limited, price, serving
from tests.runner.runs import loop_turns


async def test_a_call_takes_its_cost_and_returns_what_the_function_returns(desk: Desk) -> None:
    get_price = limited(cost=2.5)(price)
    assert await get_price("600519", days=3) == 18
    assert await level(desk) == 997.5


async def test_every_call_leaves_a_trace_with_every_column(desk: Desk) -> None:
    async def slow(symbol: str) -> None:
        await desk.clock.advance(0.25)

    began = desk.clock.wall_us()
    await limited(cost=2)(slow)("x")
    assert desk.traces == [
        {
            "run_id": f"{began:014x}-me-000000",
            "task_id": "get_price",
            "quota_id": "prices-id",
            "trigger": Trigger.CALL,
            "scheduled_for_us": None,
            "claimed_us": began,
            "started_us": began,
            "finished_us": began + 250_000,
            "status": Status.OK,
            "reason": None,
            "attempt": 1,
            "latency_ms": 250.0,
            "wait_ms": 0.0,
            "cost_micro": 2_000_000,
            "error_type": None,
            "error": None,
            "instance_id": "me",
            "due_us": None,
            "tries": None,
            "plan": None,
        }
    ]


async def test_a_call_that_fails_raises_its_own_error_and_is_traced(desk: Desk) -> None:
    error = LookupError("no \udcff symbol")

    async def failing() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await limited()(failing)()
    assert caught.value is error
    assert desk.endings() == [(Status.FAILED, None, "no \\udcff symbol")]
    assert desk.traces[0]["error_type"] == "LookupError"


async def test_a_call_that_is_cancelled_is_traced_as_that(desk: Desk) -> None:
    async def endless() -> None:
        await asyncio.sleep(60)

    calling = asyncio.ensure_future(limited()(endless)())
    while await level(desk) == 1000:
        await asyncio.sleep(0.001)
    await loop_turns()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert desk.endings() == [(Status.CANCELLED, None, "")]


async def test_a_call_waits_as_long_as_the_server_says(desk: Desk) -> None:
    get_price = limited("brisk", max_wait=5)(price)
    assert await get_price("x") == 1
    second = asyncio.ensure_future(get_price("xy"))
    while not desk.clock._sleepers:
        await asyncio.sleep(0.001)
    due_us, _, _ = desk.clock._sleepers[0]
    assert 0 < due_us - desk.clock.wall_us() <= 50_000
    await asyncio.sleep((due_us - desk.clock.wall_us()) / 1e6)  # the server's clock cannot be set
    await desk.clock.advance(1)
    assert await second == 2
    assert [round(trace["wait_ms"]) > 0 for trace in desk.traces] == [False, True]


@pytest.mark.parametrize(
    ("max_wait", "cost", "reason"),
    [(0, 1, Reason.LIMITED), (0.5, 1, Reason.LIMITED), (31, 2, Reason.IMPOSSIBLE)],
)
async def test_a_call_that_would_wait_too_long_raises_and_is_traced_as_limited(
    desk: Desk, max_wait: float, cost: float, reason: Reason
) -> None:
    await desk.bench.batcher.acquire((("scarce", "", 1_000_000),))
    began: list[int] = []

    async def never() -> None:
        began.append(1)

    with pytest.raises(QuotaExceeded) as caught:
        await limited("scarce", max_wait=max_wait, cost=cost)(never)()
    assert (caught.value.retry_after is None) == (reason is Reason.IMPOSSIBLE)
    assert desk.endings() == [(Status.LIMITED, reason, None)]
    assert desk.traces[0]["started_us"] is None
    assert began == []


@pytest.mark.parametrize(
    ("quota_name", "error", "reason"),
    [("nobody", NotFound, Reason.MISSING), ("off", QuotaDisabled, Reason.DISABLED)],
)
async def test_a_call_without_a_usable_quota_is_skipped_or_let_through_as_chosen(
    desk: Desk, quota_name: str, error: type[Exception], reason: Reason
) -> None:
    with pytest.raises(error):
        await limited(quota_name)(price)("x")
    assert desk.endings() == [(Status.SKIPPED, reason, None)]
    assert await limited(quota_name, on_missing="allow")(price)("x") == 1
    assert desk.endings()[1:] == [(Status.OK, None, None)]


async def test_a_call_that_costs_nothing_looks_only(desk: Desk) -> None:
    assert await limited(cost=0)(price)("x") == 1
    assert await level(desk) == 1000


async def test_methods_can_be_limited(desk: Desk) -> None:
    class Client:
        factor = 3

        @limited()
        async def price(self, symbol: str) -> int:
            return self.factor * len(symbol)

    assert await Client().price("xy") == 6


async def test_calls_are_served_in_the_order_they_came(desk: Desk) -> None:
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    call = limited()(note)
    await asyncio.gather(*[call(number) for number in range(20)])
    assert order == list(range(20))


async def test_above_the_rate_of_traces_only_failures_are_kept_and_the_rest_is_counted(market: Bench) -> None:
    clock = ManualClock()
    async with serving(Desk(market, clock, per_second=3)) as desk:

        async def maybe(fails: bool) -> None:
            if fails:
                raise LookupError

        call = limited()(maybe)

        async def calls_of(*fails: bool) -> None:
            for fail in fails:
                await asyncio.gather(call(fail), return_exceptions=True)

        await calls_of(*[False] * 5, True, False, True)
        assert [status for status, _, _ in desk.endings()] == [Status.OK] * 3 + [Status.FAILED] * 2
        assert desk.recorder.untraced == 3
        await clock.advance(1)
        await calls_of(False, False)
        assert (len(desk.traces), desk.recorder.untraced) == (7, 3)
