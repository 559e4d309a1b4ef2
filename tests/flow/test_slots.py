"""max_concurrent of a quota: what runs, what is called and what holds a slot in code share one limit."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import pytest

from quotaflow import LimitCallTask, LimitTask, NotOpen, QuotaExceeded, Quotaflow
from quotaflow.errors import InvalidInput, NotFound
from quotaflow.limiter import keys
from quotaflow.model import Level, QuotaKind, Reason, Status, make_quota
from quotaflow.runner.registry import Registry
from tests.flow.conftest import MakeSettings
from tests.flow.test_recovery import until
from tests.servers import ValkeyProcess


class Inside:
    """Counts who is inside at the same time."""

    def __init__(self) -> None:
        self.now = self.most = self.times = 0
        self.go = asyncio.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with self._lock:
            self.now += 1
            self.times += 1
            self.most = max(self.most, self.now)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1

    def are(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Give the condition that so many are inside."""

        async def inside() -> bool:
            return self.now == count

        return inside


@pytest.fixture
def inside(registry: Registry) -> Inside:
    """Give a counter, and tasks and calls that go in and stay until they may go."""
    inside = Inside()

    async def stay() -> None:
        with inside:
            await inside.go.wait()

    LimitTask(id="patient", name="Patient", quota_name="api", on_limit="wait(30)")(stay)
    LimitTask(id="hasty", name="Hasty", quota_name="api")(stay)
    return inside


@pytest.fixture
async def daemon(
    valkey: ValkeyProcess, make_settings: MakeSettings, inside: Inside
) -> AsyncIterator[Quotaflow]:
    """Give a daemon with a quota of which two may be under way."""
    settings = make_settings(valkey.url).model_copy(update={"quotas": (quota(2),)})
    async with Quotaflow.open(settings, role="daemon") as qf, qf.working():
        yield qf
        inside.go.set()


def quota(most: int | None) -> Any:
    return make_quota(id="api", capacity=1000, refill_rate=0, max_concurrent=most)


async def level(qf: Quotaflow) -> Level:
    view = await qf.quotas.get("api")
    assert view.level is not None
    return view.level


async def running(qf: Quotaflow, count: int) -> None:
    async def are() -> bool:
        return (await level(qf)).running == count

    await until(are)


async def status_of(qf: Quotaflow, run_id: str) -> tuple[Status, Reason | None] | None:
    try:
        trace = await qf.store.get_trace(run_id)
    except NotFound:
        return None
    return trace.status, trace.reason


async def traced(qf: Quotaflow, run_id: str) -> tuple[Status, Reason | None] | None:
    """Return how a run ended, when it has."""

    async def ended() -> bool:
        found = await status_of(qf, run_id)
        return found is not None and found[0].is_final

    await until(ended)
    return await status_of(qf, run_id)


def called(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return LimitCallTask(id="call", name="Call", quota_name="api", **options)(function)


async def test_runs_and_those_who_hold_slots_share_the_limit(daemon: Quotaflow, inside: Inside) -> None:
    runs = [await daemon.trigger("patient") for _ in range(5)]
    await running(daemon, 2)
    with pytest.raises(QuotaExceeded) as caught:
        async with daemon.slot("api", wait=0.3):
            pass
    assert caught.value.retry_after == 1
    inside.go.set()
    for run in runs:
        assert await traced(daemon, run.run_id) == (Status.OK, None)
    assert (inside.most, inside.times) == (2, 5)
    async with daemon.slot("api", wait=0), daemon.slot("api", wait=0):
        assert (await level(daemon)).running == 2
    assert (await level(daemon)).running == 0


async def test_a_run_that_finds_no_slot_and_does_not_wait_is_limited(daemon: Quotaflow) -> None:
    async with daemon.slot("api"), daemon.slot("api"):
        run = await daemon.trigger("hasty")
        assert await traced(daemon, run.run_id) == (Status.LIMITED, Reason.BUSY)
    assert (await level(daemon)).remaining == 1000


async def test_a_run_that_waits_begins_when_a_call_is_done(daemon: Quotaflow, inside: Inside) -> None:
    inside.go.set()
    async with daemon.slot("api"):
        async with daemon.slot("api"):
            run = await daemon.trigger("patient")
            await asyncio.sleep(0.3)
            assert inside.times == 0
        assert await traced(daemon, run.run_id) == (Status.OK, None)


async def test_limited_calls_hold_a_slot_while_they_work(daemon: Quotaflow) -> None:
    counted = Inside()

    async def work() -> None:
        with counted:
            await asyncio.sleep(0.02)

    call = called(work)
    await asyncio.gather(*[call() for _ in range(10)])
    assert (counted.most, counted.times) == (2, 10)
    await running(daemon, 0)


async def test_a_plain_def_holds_its_slot_in_its_thread(daemon: Quotaflow) -> None:
    counted, go = Inside(), threading.Event()

    def work() -> None:
        with counted:
            go.wait(5)

    call = called(work, max_wait=5)
    calls = [asyncio.create_task(asyncio.to_thread(call)) for _ in range(4)]
    await until(counted.are(2))
    await running(daemon, 2)
    go.set()
    await asyncio.gather(*calls)
    assert (counted.most, counted.times) == (2, 4)
    await running(daemon, 0)


async def test_a_call_that_finds_no_slot_in_time_is_limited_and_takes_no_units(daemon: Quotaflow) -> None:
    async def never() -> None:
        raise AssertionError

    async with daemon.slot("api"), daemon.slot("api"):
        with pytest.raises(QuotaExceeded):
            await called(never, max_wait=0.2)()
    assert (await level(daemon)).remaining == 1000

    async def is_traced() -> bool:
        traces = (await daemon.store.list_traces()).items
        return [(trace.status, trace.reason) for trace in traces] == [(Status.LIMITED, Reason.BUSY)]

    await until(is_traced)


@pytest.mark.parametrize("cost", [1, 2000])
async def test_a_call_that_fails_or_is_refused_units_gives_its_slot_back(
    daemon: Quotaflow, cost: float
) -> None:
    async def failing() -> None:
        raise LookupError

    with pytest.raises((LookupError, QuotaExceeded)):
        await called(failing, cost=cost)()
    async with daemon.slot("api", wait=0), daemon.slot("api", wait=0):
        pass


async def test_a_call_that_is_cancelled_gives_its_slot_back(daemon: Quotaflow, inside: Inside) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    calling = [asyncio.create_task(called(work)()), asyncio.create_task(hold(daemon))]
    await running(daemon, 2)
    for task in calling:
        task.cancel()
    await asyncio.wait(calling)
    await running(daemon, 0)


async def hold(qf: Quotaflow) -> None:
    async with qf.slot("api"):
        await asyncio.Event().wait()


async def test_a_changed_limit_acts_at_once(daemon: Quotaflow) -> None:
    async with daemon.slot("api", wait=0), daemon.slot("api", wait=0):
        waiting = asyncio.create_task(hold(daemon))
        await asyncio.sleep(0.2)
        await daemon.quotas.change("api", max_concurrent=3)
        await running(daemon, 3)
        await daemon.quotas.change("api", max_concurrent=1)
        waiting.cancel()
        await asyncio.wait([waiting])
        with pytest.raises(QuotaExceeded):
            async with daemon.slot("api", wait=0.2):
                pass
    await daemon.quotas.change("api", max_concurrent=None)
    with pytest.raises(InvalidInput):
        async with daemon.slot("api"):
            pass
    assert (await daemon.quotas.get("api")).quota.max_concurrent is None


async def test_recovery_brings_the_limit_back_and_what_is_under_way_counts_again(
    valkey: ValkeyProcess, daemon: Quotaflow, inside: Inside
) -> None:
    await daemon.quotas.create(make_quota(id="other", capacity=1, refill_rate=0))
    await daemon.quotas.change("other", max_concurrent=7)
    await daemon.quotas.change("other", max_concurrent=None)
    run = await daemon.trigger("patient")

    async def in_sql() -> bool:
        return await status_of(daemon, run.run_id) == (Status.RUNNING, None)

    await until(in_sql)
    async with daemon.slot("api", wait=0):
        valkey.client().flushall()
        await until(lambda: came_back(daemon))
        await running(daemon, 2)
        with pytest.raises(QuotaExceeded):
            async with daemon.slot("api", wait=0):
                pass
    assert valkey.client().hget(keys.quota("other"), "max_concurrent") is None
    inside.go.set()
    assert await traced(daemon, run.run_id) == (Status.OK, None)
    await running(daemon, 0)


async def came_back(qf: Quotaflow) -> bool:
    return (await qf.quotas.get("api")).level is not None


async def test_what_has_no_slots_says_so(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"free": (1, 0)})) as qf:
        await qf.quotas.create(make_quota(id="sms", kind=QuotaKind.ALLOWANCE, total=5))
        for name, error in (("free", InvalidInput), ("sms", InvalidInput), ("nobody", NotFound)):
            with pytest.raises(error):
                async with qf.slot(name, wait=1):
                    pass
        for wait in (-1, "1", float("nan")):
            with pytest.raises(InvalidInput):
                qf.slot("free", wait=wait)  # type: ignore[arg-type]
    with pytest.raises(NotOpen):
        qf.slot("free")


async def test_a_declaration_counts_when_its_limit_changes(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    for most in (None, 2, 5, None):
        settings = make_settings(valkey.url).model_copy(update={"quotas": (quota(most),)})
        async with Quotaflow.open(settings) as qf:
            assert (await qf.quotas.get("api")).quota.max_concurrent == most
            assert await qf.quotas.page(None, 10)
