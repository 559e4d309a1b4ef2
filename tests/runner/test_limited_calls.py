"""A call takes its units first, and leaves a trace of how it ended. On a real server."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quotaflow import LimitCallTask, NotOpen, QuotaExceeded
from quotaflow.control.calls import LimitedCalls
from quotaflow.control.gate import Gate
from quotaflow.errors import NotFound, QuotaDisabled
from quotaflow.ids import Ids
from quotaflow.journal.fold import Fact, fold
from quotaflow.journal.recorder import Recorder
from quotaflow.limiter.waiting import Lines
from quotaflow.model import Reason, Status, Trigger, make_quota
from quotaflow.runner import calls
from quotaflow.runner.registry import REGISTRY
from quotaflow.timing import ManualClock
from tests.limiter.conftest import Bench, bench_on
from tests.runner.conftest import loop_turns
from tests.servers import ValkeyProcess


class Desk:
    """What serves calls, with what it traced in reach."""

    def __init__(self, bench: Bench, clock: ManualClock, per_second: int = 200) -> None:
        self.bench = bench
        self.clock = clock
        self.recorder = Recorder(bench.admission.record, clock, per_second=per_second, cap=1000)
        ids = Ids(clock, node="me")
        gate = Gate(REGISTRY, bench.admission, bench.quotas, print, clock, ids)
        self.lines = Lines(bench.batcher, clock, jitter=lambda: 0.0)
        self.calls = LimitedCalls(gate, self.lines, self.recorder, clock, ids)

    @property
    def traces(self) -> list[dict[str, Any]]:
        """Return the traces so far; they have not been sent."""
        folded = fold(Fact(event_id, line) for event_id, line in self.recorder._facts)
        assert (folded.opened, folded.dead) == ([], [])
        return folded.closed

    def endings(self) -> list[tuple[Status, Reason | None, str | None]]:
        return [(trace["status"], trace["reason"], trace["error"]) for trace in self.traces]


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[Desk]:
    calls.opened(desk.calls)
    try:
        yield desk
    finally:
        calls.closed(desk.calls)


@pytest.fixture
async def bench(valkey: ValkeyProcess) -> AsyncIterator[Bench]:
    """Give a server with quotas: plenty in "Prices", whose id differs; one unit in two; a disabled one."""
    async with bench_on(valkey.url) as ready:
        await ready.quotas.define(make_quota(id="prices-id", name="Prices", capacity=1000, refill_rate=0))
        await ready.quotas.define(make_quota(id="scarce", capacity=1, refill_rate=1))
        await ready.quotas.define(make_quota(id="brisk", capacity=1, refill_rate=20))
        await ready.quotas.define(make_quota(id="off", capacity=1, refill_rate=1, enabled=False))
        await ready.quotas.refresh_names()
        yield ready


@pytest.fixture
async def desk(bench: Bench) -> AsyncIterator[Desk]:
    """Give an open desk; its clock stands still."""
    async with serving(Desk(bench, ManualClock())) as ready:
        yield ready


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
    return (await desk.bench.quotas.levels([quota_id]))[quota_id].remaining


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
            "run_id": f"{began + 250_000:014x}-me-000000",
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


async def test_a_plain_def_works_in_a_worker_thread(desk: Desk) -> None:
    threads: list[int] = []

    def get_price(symbol: str, *, days: int) -> float:
        threads.append(threading.get_ident())
        return plain_price(symbol, days=days)

    assert await asyncio.to_thread(limited()(get_price), "xyz", days=2) == 6
    assert threads != [threading.get_ident()]
    await loop_turns()
    assert (desk.endings(), await level(desk)) == ([(Status.OK, None, None)], 999)


async def test_a_plain_def_that_fails_is_traced_and_raises(desk: Desk) -> None:
    def failing() -> None:
        raise SystemExit("enough")

    with pytest.raises(SystemExit):
        await _in_a_thread(limited()(failing))
    await loop_turns()
    assert desk.endings() == [(Status.FAILED, None, "enough")]


async def _in_a_thread(function: Callable[[], Any]) -> Any:
    """Call it where SystemExit does not end the loop."""
    result: list[Any] = []

    def main() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001
            result.append(error)

    await asyncio.to_thread(main)
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


async def test_a_plain_def_that_is_refused_raises_in_its_thread(desk: Desk) -> None:
    with pytest.raises(QuotaExceeded):
        await asyncio.to_thread(limited("scarce", cost=2)(plain_price), "x")


async def test_a_plain_def_on_the_loops_thread_is_told_the_async_form(desk: Desk) -> None:
    with pytest.raises(NotOpen) as caught:
        limited()(plain_price)("x")
    assert '"get_price" is a plain def and would block the event loop' in str(caught.value)
    assert "make it `async def`" in str(caught.value)
    assert "`await asyncio.to_thread(plain_price, ...)`" in str(caught.value)
    assert await level(desk) == 1000


@pytest.mark.parametrize("function", [price, plain_price])
async def test_a_call_where_nothing_is_open_says_what_to_open(function: Callable[..., Any]) -> None:
    call = limited()(function)
    with pytest.raises(NotOpen, match=r'"get_price" needs an open Quotaflow: .*Quotaflow\.open'):
        await call("x") if inspect.iscoroutinefunction(call) else call("x")


def test_a_plain_def_where_nothing_is_open_says_so_without_a_loop() -> None:
    with pytest.raises(NotOpen, match="needs an open Quotaflow"):
        limited()(plain_price)("x")


async def test_an_async_def_on_another_loop_is_not_served_by_this_one(desk: Desk) -> None:
    """The connections of an open Quotaflow belong to its loop."""
    get_price = limited()(price)

    def elsewhere() -> Any:
        return asyncio.run(get_price("x"))

    with pytest.raises(NotOpen):
        await asyncio.to_thread(elsewhere)
    assert await get_price("x") == 1


async def test_the_one_opened_last_serves_and_the_earlier_one_after_it(desk: Desk) -> None:
    get_price = limited()(price)
    async with serving(Desk(desk.bench, ManualClock())) as other:
        await get_price("x")
        assert (len(other.traces), len(desk.traces)) == (1, 0)
    await get_price("x")
    assert (len(other.traces), len(desk.traces)) == (1, 1)


async def test_a_result_is_not_lost_when_the_loop_closes_meanwhile() -> None:
    """A thread that is still working when its Quotaflow has closed gets its result, untraced."""
    admitted = threading.Event()
    may_end = threading.Event()
    result: list[float] = []

    class Free:
        """Admits at once."""

        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()

        async def admit(self, _: object) -> "Free":
            return self

        def done(self, _: BaseException | None) -> None:
            raise AssertionError

    def slow() -> float:
        admitted.set()
        may_end.wait(5)
        return 7.0

    thread = threading.Thread(target=lambda: result.append(limited()(slow)()))

    async def short_life() -> None:
        free = Free()
        calls.opened(free)
        thread.start()
        await asyncio.to_thread(admitted.wait, 5)
        calls.closed(free)

    await asyncio.to_thread(asyncio.run, short_life())
    may_end.set()
    await asyncio.to_thread(thread.join, 5)
    assert result == [7.0]


async def test_calls_are_served_in_the_order_they_came(desk: Desk) -> None:
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    call = limited()(note)
    await asyncio.gather(*[call(number) for number in range(20)])
    assert order == list(range(20))


async def test_above_the_rate_of_traces_only_failures_are_kept_and_the_rest_is_counted(bench: Bench) -> None:
    clock = ManualClock()
    async with serving(Desk(bench, clock, per_second=3)) as desk:

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
