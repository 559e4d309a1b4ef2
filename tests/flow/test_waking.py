"""The waker: whatever stands in `due`, what is ours starts, and nothing holds it up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quotaflow import LimitTask, Quotaflow, SchedulerTask
from quotaflow.limiter import keys
from quotaflow.model import Status
from quotaflow.runner.registry import Registry
from tests.flow.conftest import MakeSettings
from tests.flow.test_recovery import until
from tests.flow.test_runs import ended
from tests.servers import ValkeyProcess

QUOTAS = {"api": (1.0, 0.5)}


@pytest.fixture
async def daemon(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> AsyncIterator[Quotaflow]:
    @SchedulerTask(id="job", name="Job")
    async def job() -> None:
        await asyncio.sleep(0)

    @LimitTask(id="limited", name="Limited", quota_name="api", on_limit="wait(60)")
    async def limited() -> None:
        await asyncio.sleep(0)

    async with Quotaflow.open(make_settings(valkey.url, QUOTAS), role="daemon") as qf, qf.working():
        yield qf


async def stand(qf: Quotaflow, run_id: str, fact: str | None, due_us: int) -> None:
    """Put something into `due`, as another daemon might have."""
    if fact is not None:
        await qf._base.plain.hset(keys.run(run_id), mapping={"fact": fact})
    await qf._base.plain.zadd(keys.DUE, {run_id: due_us})


async def test_runs_of_unknown_tasks_members_without_a_line_and_nonsense_hold_up_nobody(
    daemon: Quotaflow,
) -> None:
    for number in range(600):  # more than a page
        await stand(daemon, f"foreign{number}", "open run=f task=elsewhere trigger=manual attempt=1", 1)
    await stand(daemon, "bare", None, 2)
    await stand(daemon, "nonsense", "open what", 3)
    run = await daemon.trigger("job", countdown=0.1)
    assert (await ended(daemon, run.run_id)).status is Status.OK
    found = dict(await daemon._base.plain.zrange(keys.DUE, 0, -1, withscores=True))
    now_us = daemon._base.clock.wall_us()
    assert "bare" not in found
    assert all(found[member] > now_us + 30_000_000 for member in ("foreign0", "foreign599", "nonsense"))


async def test_a_run_that_a_claim_dies_of_is_put_aside_and_the_others_start(daemon: Quotaflow) -> None:
    redis = daemon._base.plain
    await redis.sadd(keys.task_slots("limited"), "not a zset")
    await redis.sadd(keys.level("api"), "not a string")
    await stand(daemon, "broken", "open run=broken task=limited trigger=manual attempt=1 quota=api", 1)
    run = await daemon.trigger("job", countdown=0.1)
    assert (await ended(daemon, run.run_id)).status is Status.OK

    async def put_aside() -> bool:
        score = await redis.zscore(keys.DUE, "broken")
        return score is not None and score > daemon._base.clock.wall_us() + 30_000_000

    await until(put_aside)
