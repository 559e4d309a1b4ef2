"""What people change while Redis is away is answered as done, and is in force when it is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from quotaflow import Quotaflow, SchedulerTask
from quotaflow.amounts import MICRO
from quotaflow.control.tasks import plans_of
from quotaflow.errors import NotFound, Unavailable
from quotaflow.ledger import Action
from quotaflow.limiter import keys
from quotaflow.model import QuotaKind, make_quota
from quotaflow.operators import AuditEntry
from quotaflow.runner.registry import Registry
from quotaflow.store import AuditFilter
from tests.flow.conftest import MakeSettings
from tests.flow.test_prepaid_recovery import rows, written
from tests.servers import ValkeyProcess

PAUSE_MS = 1500  # the server keeps all it has, and answers nobody


@pytest.fixture
async def qf(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> AsyncIterator[Quotaflow]:
    """Give a Quotaflow with a bucket, a prepaid quota of which 4 of 10 units are used, and a task."""

    @SchedulerTask(id="yearly", name="Yearly", cron="0 3 1 1 *")
    async def yearly() -> None:
        """Do nothing."""

    async with Quotaflow.open(make_settings(valkey.url, redis__deadline_s=0.3), role="daemon") as flow:
        await flow.tasks.declare(plans_of(registry, flow.settings))
        await flow.quotas.create(make_quota(id="api", capacity=5, refill_rate=0), actor="anna")
        await flow.quotas.create(make_quota(id="budget", total=10, kind=QuotaKind.ALLOWANCE), actor="anna")
        await flow.acquire("budget", 4)
        yield flow


async def leave(qf: Quotaflow) -> None:
    await qf._base.plain.execute_command("CLIENT", "PAUSE", str(PAUSE_MS), "ALL")


async def back(act: Callable[[], Awaitable[object]]) -> None:
    """Do what a daemon does every 2 s until Redis is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                await act()
            except Unavailable:
                continue
            return


async def newest(qf: Quotaflow, subject: str) -> AuditEntry:
    return (await qf.changes.page(AuditFilter(subject_id=subject), None, 1)).items[0]


async def test_a_quota_that_is_removed_while_redis_is_away_grants_nothing_when_it_is_back(
    qf: Quotaflow,
) -> None:
    await leave(qf)
    await qf.quotas.remove("api", actor="anna")
    await back(qf.quotas.settle)
    with pytest.raises(NotFound):
        await qf.acquire("api")
    assert await qf._base.plain.exists(keys.quota("api")) == 0


async def test_a_quota_that_came_back_meanwhile_is_in_force_as_it_was_made_then(qf: Quotaflow) -> None:
    await qf.quotas.change("api", capacity=4)  # of version 2: what is made anew has version 1
    await leave(qf)
    await qf.quotas.remove("api", actor="anna")
    await qf.quotas.create(make_quota(id="api", capacity=2, refill_rate=0), actor="anna")
    await back(qf.quotas.settle)
    assert (await qf.acquire("api", 0)).remaining == 2


async def test_a_name_that_was_given_to_another_quota_meanwhile_stays_with_it(qf: Quotaflow) -> None:
    await leave(qf)
    await qf.quotas.remove("api", actor="anna")
    await qf.store.insert_quota(make_quota(id="other", name="api", capacity=3, refill_rate=0))
    await back(qf.quotas.settle)
    await qf._base.quota_state.refresh_names()
    assert (await qf.acquire("api", 0)).quota_id == "other"


async def test_one_change_that_is_in_force_does_not_hide_another_that_is_not(qf: Quotaflow) -> None:
    await leave(qf)
    await qf.quotas.override("api", "vip", capacity=50, refill_rate=0, actor="anna")
    await back(qf.quotas.levels)
    await qf.quotas.change("api", capacity=4, actor="anna")
    await qf.quotas.settle()
    assert (await qf.acquire("api", 50, key="vip")).allowed


async def test_a_task_that_is_paused_while_redis_is_away_is_paused_when_it_is_back(qf: Quotaflow) -> None:
    await leave(qf)
    assert (await qf.tasks.pause("yearly", paused=True, actor="anna")).row.paused
    shown = await qf.tasks.skip_next("yearly", actor="anna")
    await qf.tasks.set_rate("yearly", "3/m", actor="anna")
    await back(qf.tasks.follow)
    found = await qf._base.plain.hmget(keys.task("yearly"), "paused", "skip", "rate")
    assert found == ["1", str(shown.row.skip_us), "20000000 1"]
    await qf.tasks.pause("yearly", paused=False)
    await qf.tasks.follow()
    assert await qf._base.plain.hget(keys.task("yearly"), "paused") == "0"


async def test_a_prepaid_quota_comes_back_with_what_it_had_left(qf: Quotaflow) -> None:
    await qf.quotas.remove("budget", actor="anna")
    entry = await newest(qf, "budget")
    assert '"remaining": 6.0' in (entry.before or "")
    await qf.changes.undo(entry.id, "otto")
    assert (await qf.acquire("budget", 0)).remaining == 6
    await written(qf)
    last = (await rows(qf, "budget"))[-1]
    assert (last.action, last.after_micro, last.actor) == (Action.SET, 6 * MICRO, "otto")
    await qf.acquire("budget", 1)
    await qf.changes.undo((await newest(qf, "budget")).id, "otto")
    with pytest.raises(NotFound):
        await qf.quotas.get("budget")


async def test_it_does_so_too_when_redis_is_away_meanwhile(qf: Quotaflow) -> None:
    await qf.quotas.remove("budget", actor="anna")
    await leave(qf)
    await qf.changes.undo((await newest(qf, "budget")).id, "otto")
    await back(qf.quotas.settle)
    assert (await qf.acquire("budget", 0)).remaining == 6


async def test_what_nobody_knew_is_said_and_the_total_is_given_back(qf: Quotaflow) -> None:
    await leave(qf)
    await qf.quotas.remove("budget", actor="anna")
    entry = await newest(qf, "budget")
    assert '"remaining": "unknown"' in (entry.before or "")
    await back(qf.quotas.settle)
    await qf.changes.undo(entry.id, "otto")
    assert (await qf.acquire("budget", 0)).remaining == 10


async def test_the_creation_of_a_prepaid_quota_is_undone_whatever_it_has_left(qf: Quotaflow) -> None:
    await qf.changes.undo((await newest(qf, "budget")).id, "otto")
    with pytest.raises(NotFound):
        await qf.quotas.get("budget")


async def test_a_declared_quota_comes_back_as_a_person_had_set_it(qf: Quotaflow) -> None:
    declared = make_quota(id="declared", capacity=5, refill_rate=0)
    await qf.quotas.declare([declared])
    await qf.quotas.change("declared", capacity=50, actor="anna")
    await qf.quotas.remove("declared", actor="anna")
    await qf.changes.undo((await newest(qf, "declared")).id, "anna")
    await qf.quotas.declare([declared])
    assert (await qf.quotas.get("declared")).quota.capacity == 50


async def test_those_who_settle_at_the_same_time_forget_a_removed_quota_once(qf: Quotaflow) -> None:
    await leave(qf)
    await qf.quotas.remove("api", actor="anna")
    await asyncio.gather(*[back(qf.quotas.settle) for _ in range(5)])
    assert await qf._base.plain.exists(keys.quota("api")) == 0
