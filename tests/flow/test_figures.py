"""What pages ask an open Quotaflow for: when tasks are due, and whether there is anything new."""

from quotaflow import Quotaflow, SchedulerTask
from quotaflow.control.tasks import plans_of
from quotaflow.control.timeline import Band
from quotaflow.runner.registry import Registry
from tests.flow.conftest import MakeSettings

HOUR_US = 3_600_000_000
MIDNIGHT_US = 1_767_225_600_000_000  # 2026-01-01 UTC


async def test_what_is_due_follows_the_expression_in_force_and_the_zone(
    make_settings: MakeSettings, registry: Registry
) -> None:
    @SchedulerTask(id="once", name="once", cron="0 9 * * *", timezone="UTC")
    def once() -> None: ...

    @SchedulerTask(id="east", name="east", cron="0 9 * * *", timezone="Asia/Shanghai")
    def east() -> None: ...

    @SchedulerTask(id="dense", name="dense", cron="0 0 1 1 *", timezone="UTC")
    def dense() -> None: ...

    async with Quotaflow.open(make_settings(), registry=registry, role="daemon") as qf:
        await qf.tasks.declare(plans_of(registry, qf.settings))
        await qf.tasks.set_cron("dense", "* 8-9 * * *")
        rows = await qf.store.list_tasks()
        found = qf.tasks.due(rows, MIDNIGHT_US, MIDNIGHT_US + 24 * HOUR_US)
    nine_us = MIDNIGHT_US + 9 * HOUR_US
    assert found == {
        "once": [Band(nine_us, nine_us, 1)],
        "east": [Band(MIDNIGHT_US + HOUR_US, MIDNIGHT_US + HOUR_US, 1)],
        "dense": [Band(nine_us - HOUR_US, nine_us + 59 * 60_000_000, 120)],
    }


async def test_the_pulse_rests_until_something_happens(
    make_settings: MakeSettings, registry: Registry
) -> None:
    @SchedulerTask(id="yearly", name="yearly", cron="0 0 1 1 *")
    def yearly() -> None: ...

    async with Quotaflow.open(make_settings(), registry=registry, role="daemon") as qf:
        await qf.tasks.declare(plans_of(registry, qf.settings))
        before = await qf.statistics.pulse()
        assert await qf.statistics.pulse() == before
        await qf.tasks.pause("yearly", paused=True)
        assert await qf.statistics.pulse() != before
