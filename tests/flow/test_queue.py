"""A bounded queue between a producer and its workers: nothing is lost, nothing goes faster than the quota."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from tenacity import wait_exponential

from quotaflow import NotOpen, Quotaflow, Retry
from quotaflow.control.queues import Handler, T, WorkQueue
from quotaflow.errors import InvalidInput, QuotaflowError
from quotaflow.model import Decision, QuotaKind, make_quota
from quotaflow.timing import ManualClock
from tests.flow.conftest import MakeSettings
from tests.flow.test_recovery import until
from tests.runner.runs import loop_turns
from tests.servers import ValkeyProcess

THREE = Retry(attempts=3, wait=wait_exponential(multiplier=1, min=1, max=10))


async def nobody(quota: str, cost: float, *, wait: float) -> Decision:
    """A queue without a quota asks nobody."""
    raise AssertionError(quota, cost, wait)


def plain(handler: Handler[T], clock: ManualClock | None = None, **options: Any) -> WorkQueue[T]:
    return WorkQueue(handler, nobody, clock or ManualClock(), **options)


async def produce(queue: WorkQueue[T], items: Iterable[T]) -> None:
    for item in items:
        await queue.put(item)


async def break_off(
    queue: WorkQueue[T], items: Iterable[T], first: Callable[[], Awaitable[object]] = loop_turns
) -> None:
    """Leave the block of a queue by an exception when its workers have their items."""
    async with queue:
        await produce(queue, items)
        await first()
        raise ZeroDivisionError


def figures(queue: WorkQueue[Any], *names: str) -> list[int]:
    statistics = queue.statistics()
    return [statistics[name] for name in names]


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if name in record.getMessage()]


async def do_nothing(item: object) -> None:
    pass


async def endless(item: object) -> None:
    await asyncio.Event().wait()


async def test_a_producer_waits_while_the_queue_is_full() -> None:
    go = asyncio.Event()
    sizes: list[int] = []

    async def work(number: int) -> None:
        sizes.append(queue.statistics()["size"])
        await go.wait()
        sizes.append(queue.statistics()["size"])

    async with plain(work, maxsize=5, workers=2) as queue:
        producing = asyncio.create_task(produce(queue, range(20)))
        await loop_turns(50)
        assert queue.statistics() == {
            "size": 5,
            "maxsize": 5,
            "workers": 2,
            "working": 2,
            "done": 0,
            "failed": 0,
            "dropped": 0,
            "retried": 0,
            "limited": 0,
        }
        assert not producing.done()
        go.set()
        await producing
        await queue.join()
        assert figures(queue, "size", "working", "done") == [0, 0, 20]
    assert max(sizes) == 5


async def test_who_comes_first_is_served_first_also_among_producers_that_wait() -> None:
    served: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        served.append(number)

    async with plain(work, maxsize=1) as queue, asyncio.TaskGroup() as producers:
        for number in range(30):
            producers.create_task(queue.put(number))
    assert served == list(range(30))


async def test_leaving_the_block_waits_for_what_is_in_the_queue_and_for_what_its_handlers_add() -> None:
    visited: list[int] = []

    async def visit(depth: int) -> None:
        await asyncio.sleep(0)
        visited.append(depth)
        if depth < 3:
            await queue.put(depth + 1)

    async with plain(visit, maxsize=10, workers=2) as queue:
        await produce(queue, [0, 0])
    assert sorted(visited) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert figures(queue, "done", "dropped") == [8, 0]


async def test_a_try_that_fails_rests_longer_each_time() -> None:
    clock = ManualClock()
    tries: list[float] = []

    async def fetch(item: str) -> None:
        tries.append(clock.mono_s())
        if len(tries) < 3:
            raise ConnectionError

    async with plain(fetch, clock, retry=THREE) as queue:
        await queue.put("page")
        await clock.advance(0.999)
        assert tries == [0]
        await clock.advance(10)
        await queue.join()
        assert tries == [0, 1, 3]
        assert figures(queue, "done", "failed", "retried") == [1, 0, 2]


async def test_a_service_that_says_when_to_come_again_is_believed() -> None:
    class BusyError(Exception):
        retry_after = 7

    clock = ManualClock()
    tries: list[float] = []

    async def fetch(item: str) -> None:
        tries.append(clock.mono_s())
        if len(tries) == 1:
            raise BusyError

    async with plain(fetch, clock, retry=THREE) as queue:
        await queue.put("page")
        await clock.advance(60)
    assert tries == [0, 7]


async def test_an_item_that_fails_for_good_is_logged_and_its_worker_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()

    async def work(number: int) -> float:
        return 1 / number

    async with plain(work, clock, retry=THREE) as queue:
        await queue.put(0)
        await clock.advance(4)
        await queue.put(1)
        await queue.join()
        assert figures(queue, "done", "failed", "retried") == [1, 1, 2]
    (line,) = events(caplog, "queue.item_failed")
    assert "ZeroDivisionError" in line
    assert "'item': '0'" in line


async def test_an_error_that_is_not_worth_another_try_is_final_at_once() -> None:
    async def work(number: int) -> None:
        raise LookupError

    async with plain(work, retry=Retry(attempts=3, on=ConnectionError)) as queue:
        await queue.put(1)
        await queue.join()
        assert figures(queue, "failed", "retried") == [1, 0]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ExceptionGroup("several", [ValueError()])])
async def test_whatever_a_handler_raises_costs_its_item_and_not_the_worker(error: BaseException) -> None:
    async def work(number: int) -> None:
        if number == 0:
            raise error

    async with plain(work) as queue:
        await produce(queue, [0, 1])
    assert figures(queue, "done", "failed") == [1, 1]


async def test_a_handler_that_is_none_and_a_wait_that_breaks_cost_the_item_too() -> None:
    def broken_wait(state: object) -> float:
        raise ZeroDivisionError

    async def work(number: int) -> None:
        raise ConnectionError

    for queue in (plain(print), plain(work, retry=Retry(wait=broken_wait))):  # type: ignore[arg-type]
        async with queue:
            await queue.put(1)
        assert figures(queue, "done", "failed", "working") == [0, 1, 0]


async def test_an_exception_in_the_block_leaves_as_itself_and_what_is_dropped_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = plain(endless, maxsize=5, workers=2)
    with pytest.raises(ZeroDivisionError):
        await break_off(queue, range(6))
    assert figures(queue, "size", "working", "done", "failed", "dropped") == [0, 0, 0, 0, 6]
    (line,) = events(caplog, "queue.dropped")
    assert "'dropped': 6" in line


async def test_a_block_that_is_cancelled_while_it_waits_for_the_rest_drops_it() -> None:
    queue = plain(endless, maxsize=2)

    async def serve() -> None:
        async with queue:
            await produce(queue, range(3))

    serving = asyncio.create_task(serve())
    await loop_turns(50)
    assert figures(queue, "size", "working") == [2, 1]
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert figures(queue, "size", "working", "dropped") == [0, 0, 3]


async def test_a_cancelled_block_ends_whatever_its_workers_are_waiting_for(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """One rests before its next try, one waits in line for units, one has nothing to do."""

    async def fail(item: object) -> None:
        raise ConnectionError

    async with Quotaflow.open(make_settings(valkey.url, {"api": (1.0, 0.001)})) as qf:
        await qf.acquire("api")
        resting = WorkQueue(fail, nobody, ManualClock(), retry=THREE)
        in_line = qf.queue(do_nothing, workers=2, quota="api")

        async def serve() -> None:
            async with resting:
                await resting.put(1)
                await break_off(in_line, [1], lambda: until(lambda: in_a_line(qf)))

        with pytest.raises(ZeroDivisionError):
            await serve()
        assert figures(resting, "dropped", "retried") == [1, 1]
        assert figures(in_line, "dropped", "limited") == [1, 1]
        assert qf._base.lines.waiting == 0


async def in_a_line(qf: Quotaflow) -> bool:
    return qf._base.lines.waiting == 1


async def test_a_handler_that_answers_a_cancellation_with_an_error_is_not_tried_again() -> None:
    async def stubborn(item: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError from None

    queue = plain(stubborn, retry=THREE)
    with pytest.raises(ZeroDivisionError):
        await break_off(queue, [1])
    assert figures(queue, "failed", "dropped", "retried") == [1, 0, 0]


async def test_who_waits_to_put_or_to_join_is_told_when_the_queue_closes() -> None:
    queue = plain(endless, maxsize=1)
    waiting: list[asyncio.Task[None]] = []

    async def others_come() -> None:
        waiting.extend(
            asyncio.create_task(wait) for wait in (*[queue.put(3) for _ in range(3)], queue.join())
        )
        await loop_turns()

    with pytest.raises(ZeroDivisionError):
        await break_off(queue, [1, 2], others_come)
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in told] == [NotOpen] * 4
    assert figures(queue, "dropped") == [2]


async def test_a_queue_serves_one_block() -> None:
    queue = plain(do_nothing)
    with pytest.raises(NotOpen):
        await queue.put(1)
    async with queue:
        await queue.put(1)
    with pytest.raises(NotOpen, match="closed"):
        await queue.put(2)
    await queue.join()
    with pytest.raises(NotOpen, match="another"):
        async with queue:
            pass


async def test_a_producer_that_gives_up_leaves_nothing_behind() -> None:
    go = asyncio.Event()
    served: list[int] = []

    async def work(number: int) -> None:
        await go.wait()
        served.append(number)

    async with plain(work, maxsize=1) as queue:
        await produce(queue, [1, 2])
        waiting = [asyncio.create_task(queue.put(number)) for number in (3, 4)]
        await loop_turns()
        waiting[0].cancel()
        go.set()
    assert served == [1, 2, 4]


@pytest.mark.parametrize(("charge_each", "left"), [(True, 4), (False, 8)])
async def test_each_try_takes_its_units_or_only_the_first_does(
    valkey: ValkeyProcess, make_settings: MakeSettings, charge_each: bool, left: float
) -> None:
    clock = ManualClock()
    tries: list[float] = []

    async def fetch(item: str) -> None:
        tries.append(clock.mono_s())
        if len(tries) < 3:
            raise ConnectionError

    retry = Retry(wait=wait_exponential(), charge_each=charge_each)
    async with Quotaflow.open(make_settings(valkey.url, {"api": (10.0, 0.0)})) as qf:
        async with WorkQueue(fetch, qf.acquire, clock, quota="api", cost=2, retry=retry) as queue:
            await queue.put("page")
            while figures(queue, "done") == [0]:
                await asyncio.sleep(0.001)
                await clock.advance(0.5)
        assert (await qf.acquire("api", 0)).remaining == left


async def test_tries_wait_for_units_in_line_and_are_counted(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    starts: list[float] = []

    async def fetch(number: int) -> None:
        starts.append(asyncio.get_running_loop().time())

    async with Quotaflow.open(make_settings(valkey.url, {"api": (1.0, 20.0)})) as qf:
        async with qf.queue(fetch, maxsize=5, workers=2, quota="api") as queue:
            await produce(queue, range(5))
            await queue.join()
        assert starts[-1] - starts[0] > 0.18
        assert figures(queue, "done", "limited") == [5, 4]


async def test_two_queues_share_the_units_of_one_quota(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"api": (4.0, 0.0)})) as qf:
        async with qf.queue(do_nothing, quota="api") as one, qf.queue(do_nothing, quota="api") as two:
            await asyncio.gather(produce(one, range(3)), produce(two, range(3)))
        done, failed = zip(figures(one, "done", "failed"), figures(two, "done", "failed"), strict=True)
        assert (sum(done), sum(failed)) == (4, 2)


@pytest.mark.parametrize(
    ("quota", "cost", "error"),
    [
        ("nobody", 1, "NotFound"),
        ("off", 1, "QuotaDisabled"),
        ("api", 11, "above its capacity"),
        ("empty", 1, "never refills"),
        ("budget", 6, "too few of its prepaid units"),
    ],
)
async def test_a_quota_for_which_waiting_does_not_help_fails_the_item(
    valkey: ValkeyProcess,
    make_settings: MakeSettings,
    caplog: pytest.LogCaptureFixture,
    quota: str,
    cost: float,
    error: str,
) -> None:
    quotas = {"api": (10.0, 1.0), "off": (1.0, 1.0), "empty": (1.0, 0.0)}
    async with Quotaflow.open(make_settings(valkey.url, quotas)) as qf:
        await qf.quotas.change("off", enabled=False)
        await qf.acquire("empty")
        await qf.quotas.create(make_quota(id="budget", total=5, kind=QuotaKind.ALLOWANCE))
        async with qf.queue(do_nothing, quota=quota, cost=cost, retry=THREE) as queue:
            await produce(queue, [1, 2])
    assert figures(queue, "done", "failed", "retried") == [0, 2, 0]
    assert [error in line for line in events(caplog, "queue.item_failed")] == [True, True]


async def test_units_that_are_days_away_are_asked_for_again_every_minute(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    clock = ManualClock()
    async with Quotaflow.open(make_settings(valkey.url, {"api": (1.0, 0.00001)})) as qf:
        await qf.acquire("api")
        async with WorkQueue(do_nothing, qf.acquire, clock, quota="api") as queue:
            await queue.put(1)
            await until(lambda: asleep(clock))
            assert figures(queue, "limited", "working") == [1, 1]
            await qf.quotas.refill("api")
            await clock.advance(60)
        assert figures(queue, "done", "limited") == [1, 1]


async def asleep(clock: ManualClock) -> bool:
    return bool(clock._sleepers)


async def test_while_redis_is_away_no_item_is_lost(make_settings: MakeSettings) -> None:
    clock = ManualClock()
    with ValkeyProcess(appendfsync="always") as server:
        settings = make_settings(server.url, {"api": (10.0, 0.0)}, redis__deadline_s=0.2)
        async with Quotaflow.open(settings) as qf:
            server.kill()
            async with WorkQueue(do_nothing, qf.acquire, clock, quota="api") as queue:
                await queue.put(1)
                for _ in range(2):  # it asks, rests a second, asks again
                    await until(lambda: asleep(clock))
                    assert figures(queue, "working", "failed") == [1, 0]
                    await clock.advance(1)
                server.start()
                while figures(queue, "done") == [0]:
                    await asyncio.sleep(0.01)
                    await clock.advance(1)


async def test_a_closed_quotaflow_fails_the_items_that_need_it(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"api": (10.0, 0.0)})) as qf:
        queue = qf.queue(do_nothing, quota="api")
    async with queue:
        await queue.put(1)
    assert figures(queue, "done", "failed") == [0, 1]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("maxsize", {"maxsize": 0}),
        ("maxsize", {"maxsize": 1_000_001}),
        ("maxsize", {"maxsize": 2.0}),
        ("workers", {"workers": 0}),
        ("workers", {"workers": True}),
        ("quota", {"quota": ""}),
        ("quota", {"quota": {"api": 1}}),
        ("cost", {"cost": -1}),
        ("cost", {"cost": True}),
        ("cost", {"quota": "api", "cost": 1e-7}),
        ("retry", {"retry": 3}),
        ("handler", {"handler": None}),
    ],
)
async def test_an_argument_that_cannot_be_used_is_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        plain(**{"handler": do_nothing} | options)
    assert caught.value.field == field
    assert isinstance(caught.value, QuotaflowError)
