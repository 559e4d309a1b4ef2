"""Tasks that draw on a prepaid quota: each run is charged once, and its row of the ledger says how it ended."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quotaflow import LimitCallTask, LimitTask, QuotaExceeded, Quotaflow
from quotaflow.control.gate import Asked
from quotaflow.errors import InvalidInput, QuotaDisabled
from quotaflow.ledger import Action, Change, LedgerRow
from quotaflow.limiter.claims import Mode
from quotaflow.model import QuotaKind, Reason, Status, Trigger, make_quota
from quotaflow.records import Trace
from quotaflow.runner.registry import Registry
from quotaflow.runs import Run, Word
from quotaflow.store import TraceFilter
from tests.flow.conftest import MakeSettings
from tests.flow.test_prepaid_recovery import rows, written
from tests.flow.test_recovery import until
from tests.servers import ValkeyProcess

BUCKETS = {"bucket": (3.0, 0.0)}


@pytest.fixture
async def daemon(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> AsyncIterator[Quotaflow]:
    """Give a daemon with tasks on "budget", a prepaid quota of 5 units, of which each run takes 2."""
    make_tasks()
    async with Quotaflow.open(make_settings(valkey.url, BUCKETS), role="daemon") as qf:
        await qf.quotas.create(make_quota(id="budget", total=5, kind=QuotaKind.ALLOWANCE))
        async with qf.working():
            yield qf


def make_tasks() -> None:
    @LimitTask(id="works", name="Works", quota_name="budget", cost=2)
    async def works() -> None:
        await asyncio.sleep(0)

    @LimitTask(id="fails", name="Fails", quota_name="budget", cost=2)
    async def fails() -> None:
        raise KeyError("no such customer")

    @LimitTask(id="anyway", name="Anyway", quota_name="budget", cost=2, on_missing="allow")
    async def anyway() -> None:
        await asyncio.sleep(0)


async def ended(qf: Quotaflow, count: int) -> dict[str, Trace]:
    """Return the traces by run id when so many are final and in SQL."""

    async def all_ended() -> bool:
        await written(qf)
        traces = (await qf.store.list_traces(TraceFilter(), limit=100)).items
        return sum(trace.status.is_final for trace in traces) == count

    await until(all_ended)
    return {trace.run_id: trace for trace in (await qf.store.list_traces(TraceFilter(), limit=100)).items}


async def charges(qf: Quotaflow) -> list[LedgerRow]:
    return [row for row in await rows(qf, "budget") if row.action is Action.CONSUME]


async def test_a_run_is_charged_once_under_its_id_and_its_row_says_how_it_ended(daemon: Quotaflow) -> None:
    good, bad = await daemon.trigger("works"), await daemon.trigger("fails")
    traces = await ended(daemon, 2)
    assert (traces[good.run_id].status, traces[bad.run_id].status) == (Status.OK, Status.FAILED)
    first, second = await charges(daemon)
    assert (first.request_id, first.change_micro) == (good.run_id, -2_000_000)
    assert first[-3:] == (True, None, None)
    assert (second.request_id, second.change_micro) == (bad.run_id, -2_000_000)
    assert second[-3:-1] == (False, "KeyError")
    assert "no such customer" in (second.execution_error_message or "")
    assert (await daemon.audit()).differences == []


async def test_an_exhausted_quota_limits_the_run_and_charges_nothing(daemon: Quotaflow) -> None:
    answers = [await daemon.trigger("works") for _ in range(3)]
    assert [each.answer for each in answers][2] == (Word.EXHAUSTED, -1)
    traces = await ended(daemon, 3)
    refused = traces[answers[2].run_id]
    assert (refused.status, refused.reason, refused.cost_micro) == (Status.LIMITED, Reason.EXHAUSTED, 0)
    assert [row.request_id for row in await charges(daemon)] == [each.run_id for each in answers[:2]]
    await daemon.quotas.recharge("budget", Change.RECHARGE, 1)
    assert (await daemon.trigger("works")).answer.word is Word.GRANTED


async def test_a_disabled_quota_skips_its_runs_unless_they_may_run_without(daemon: Quotaflow) -> None:
    await daemon.quotas.change("budget", enabled=False)
    skipped, ran = await daemon.trigger("works"), await daemon.trigger("anyway")
    traces = await ended(daemon, 2)
    assert (traces[skipped.run_id].status, traces[skipped.run_id].reason) == (Status.SKIPPED, Reason.DISABLED)
    assert traces[ran.run_id].status is Status.OK
    assert await charges(daemon) == []
    await daemon.quotas.change("budget", enabled=True)
    assert (await daemon.acquire("budget", 0)).remaining == 5


async def test_the_same_run_claimed_again_is_charged_once(daemon: Quotaflow) -> None:
    """The reply to a claim was lost: the same claim is sent again."""
    base = daemon._base
    task = base.registry.get("works")
    assert task is not None
    run = Run("run-1", task.id, Trigger.MANUAL, None, 0, "budget", task.cost_micro)
    claim = base.working.gate._claim(Asked(task, Mode.TRIGGER, run))
    answers = [(await base.admission.claim([claim]))[0].word for _ in range(3)]
    assert answers == [Word.GRANTED] * 3
    await written(daemon)
    assert [row.request_id for row in await charges(daemon)] == ["run-1"]
    assert (await daemon.acquire("budget", 0)).remaining == 3


async def test_calls_are_charged_under_their_run_and_end_in_the_ledger(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @LimitCallTask(id="halve", name="Halve", quota_name="budget", cost=2, max_wait=0)
    async def halve(number: int) -> float:
        return 10 / number

    async with Quotaflow.open(make_settings(valkey.url)) as qf:
        await qf.quotas.create(make_quota(id="budget", total=5, kind=QuotaKind.ALLOWANCE))
        assert await halve(2) == 5
        with pytest.raises(ZeroDivisionError):
            await halve(0)
        with pytest.raises(QuotaExceeded, match="too few of its prepaid units") as caught:
            await halve(1)
        assert caught.value.retry_after is None
        await qf.quotas.change("budget", enabled=False)
        with pytest.raises(QuotaDisabled):
            await halve(1)
        await qf._base.recorder.drain()
        traces = await ended(qf, 4)
        found = await charges(qf)
        assert [row[-3:-1] for row in found] == [(True, None), (False, "ZeroDivisionError")]
        assert [traces[row.request_id or ""].status for row in found] == [Status.OK, Status.FAILED]
        refused = sorted((trace.status, trace.reason) for trace in traces.values() if trace.reason)
        assert refused == [(Status.LIMITED, Reason.EXHAUSTED), (Status.SKIPPED, Reason.DISABLED)]


async def test_a_bucket_and_a_prepaid_quota_are_taken_all_or_none(daemon: Quotaflow) -> None:
    taken = await daemon.acquire({"bucket": 1, "budget": 2})
    assert (taken.allowed, taken.quota_id, taken.remaining) == (True, "budget", 3)
    refused = await daemon.acquire({"bucket": 1, "budget": 4})
    assert (refused.reason, refused.quota_id, refused.remaining) == (Reason.EXHAUSTED, "budget", 3)
    refused = await daemon.acquire({"bucket": 3, "budget": 1})
    assert (refused.reason, refused.quota_id, refused.remaining) == (Reason.LIMITED, "bucket", 2)
    assert (await daemon.acquire("bucket", 0)).remaining == 2
    assert (await daemon.acquire("budget", 0)).remaining == 3
    await written(daemon)
    assert [row.change_micro for row in await charges(daemon)] == [-2_000_000]


async def test_what_a_reservation_did_not_use_goes_back(daemon: Quotaflow) -> None:
    async with daemon.reserve("budget", 4) as held:
        assert (await daemon.acquire("budget", 0)).remaining == 1
        held.settle(1.5)
    assert (await daemon.acquire("budget", 0)).remaining == 3.5
    async with daemon.reserve("budget", 1):
        pass
    assert (await daemon.acquire("budget", 0)).remaining == 2.5
    with pytest.raises(ZeroDivisionError):
        async with daemon.reserve("budget", 2):
            raise ZeroDivisionError
    assert (await daemon.acquire("budget", 0)).remaining == 2.5
    with pytest.raises(QuotaExceeded):
        async with daemon.reserve("budget", 3):
            pass
    await written(daemon)
    changes = [(row.action, row.change_micro) for row in await rows(daemon, "budget")][1:]
    assert [change for action, change in changes if action is Action.CONSUME] == [
        -4_000_000,
        -1_000_000,
        -2_000_000,
    ]
    assert sum(change for _, change in changes) == -2_500_000
    assert (await daemon.audit()).differences == []


async def test_what_does_not_fit_a_prepaid_quota_is_refused_by_name(daemon: Quotaflow) -> None:
    with pytest.raises(InvalidInput, match="has no keys"):
        await daemon.acquire("budget", key="customer")
    with pytest.raises(InvalidInput, match="has no keys"):
        await daemon.acquire({"bucket": 1, "budget": 1}, key="customer")
    with pytest.raises(InvalidInput, match="not prepaid"):
        daemon.reserve("bucket", 1)
    assert (await daemon.acquire("budget", 0)).remaining == 5


async def test_a_quota_made_again_under_its_old_id_has_books_that_are_right(daemon: Quotaflow) -> None:
    await daemon.acquire("budget", 2)
    await written(daemon)
    await daemon.quotas.remove("budget")
    await daemon.quotas.create(make_quota(id="budget", total=9, kind=QuotaKind.ALLOWANCE))
    await daemon.acquire("budget", 4)
    await written(daemon)
    assert (await daemon.acquire("budget", 0)).remaining == 5
    assert (await daemon.audit()).differences == []
