"""Code declares tasks, people pause them, and nothing deletes them."""

from dataclasses import replace

import pytest

from quotaflow.errors import NotFound
from quotaflow.model import TaskKind
from quotaflow.store import DeclaredTask, Store, TaskRow
from quotaflow.timing import ManualClock
from tests.store.rows import SECOND, START_US

REPORT = DeclaredTask(
    "report", "Daily 报告", TaskKind.SCHEDULER, "app.tasks:report", "0 9 * * *", "Asia/Shanghai"
)
FETCH = DeclaredTask("fetch", "Fetch", TaskKind.LIMIT, "app.tasks:fetch", quota_name="api", description="...")


def row(task: DeclaredTask, **columns: object) -> TaskRow:
    fields = {name: getattr(task, name) for name in DeclaredTask.__dataclass_fields__}
    return TaskRow(**{**fields, "registered_us": START_US, "updated_us": START_US, **columns})


async def test_declared_tasks_are_registered(store: Store) -> None:
    await store.sync_tasks([REPORT, FETCH])
    assert await store.list_tasks() == [row(FETCH), row(REPORT)]
    assert await store.get_task("fetch") == row(FETCH)


async def test_code_that_says_the_same_changes_nothing(store: Store, clock: ManualClock) -> None:
    await store.sync_tasks([REPORT])
    await clock.advance(60)
    await store.sync_tasks([REPORT])
    assert await store.list_tasks() == [row(REPORT)]


async def test_new_code_takes_over_and_keeps_what_people_chose(store: Store, clock: ManualClock) -> None:
    await store.sync_tasks([REPORT])
    await store.change_task("report", paused=True)
    await store.change_task("report", cron_override="0 10 * * *")
    await clock.advance(60)
    changed = replace(REPORT, cron="0 8 * * *", kind=TaskKind.LIMIT, timezone=None)
    await store.sync_tasks([changed])
    kept = {"paused": True, "cron_override": "0 10 * * *"}
    assert await store.list_tasks() == [row(changed, **kept, updated_us=START_US + 60 * SECOND)]


async def test_a_task_that_left_the_code_is_disabled_and_comes_back_as_it_was(store: Store) -> None:
    await store.sync_tasks([REPORT, FETCH])
    await store.change_task("fetch", paused=True)
    await store.sync_tasks([REPORT])
    assert await store.list_tasks() == [row(FETCH, enabled=False, paused=True), row(REPORT)]
    await store.sync_tasks([FETCH])
    assert await store.list_tasks() == [row(FETCH, paused=True), row(REPORT, enabled=False)]


async def test_a_task_is_paused_and_resumed(store: Store, clock: ManualClock) -> None:
    await store.sync_tasks([REPORT])
    await clock.advance(1)
    paused = await store.change_task("report", paused=True)
    assert paused == row(REPORT, paused=True, updated_us=START_US + SECOND) == await store.get_task("report")
    assert not (await store.change_task("report", paused=False)).paused


async def test_a_cron_is_overridden_and_given_back(store: Store) -> None:
    await store.sync_tasks([REPORT])
    assert (await store.change_task("report", cron_override="@hourly")).cron_override == "@hourly"
    assert await store.change_task("report", cron_override=None) == row(REPORT)


async def test_what_does_not_exist_is_not_found(store: Store) -> None:
    calls = (
        store.get_task("x"),
        store.change_task("x", paused=True),
        store.change_task("x", cron_override=None),
    )
    for call in calls:
        with pytest.raises(NotFound, match="no task has the id 'x'"):
            await call
