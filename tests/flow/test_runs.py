"""Runs that are tried again, wait, are told to start later, left out, paced or cancelled: as people ask for it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from tenacity import wait_fixed

from quotaflow import LimitTask, Quotaflow, Retry, SchedulerTask, TaskContext
from quotaflow.errors import Conflict, InvalidInput, NotFound
from quotaflow.model import Reason, Status
from quotaflow.records import Trace
from quotaflow.runner.registry import Registry
from quotaflow.runs import Word
from tests.flow.conftest import MakeSettings
from tests.flow.test_recovery import until
from tests.servers import ValkeyProcess

QUOTAS = {"plenty": (1000.0, 100.0), "scarce": (1.0, 4.0), "empty": (1.0, 0.0)}
SOON = Retry(attempts=3, wait=wait_fixed(0.05))


@pytest.fixture
async def daemon(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> AsyncIterator[tuple[Quotaflow, list[str]]]:
    """Give a daemon, and what its tasks have said, in order."""
    said: list[str] = []
    make_tasks(said)
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS), role="daemon") as qf, qf.working():
        yield qf, said


def make_tasks(said: list[str]) -> None:
    @LimitTask(id="greet", name="Greet", quota_name="plenty")
    async def greet(context: TaskContext, who: str, *, loud: bool = False) -> None:
        said.append(f"{'HELLO' if loud else 'hello'} {who} {context.timelimit}")

    @LimitTask(id="flaky", name="Flaky", quota_name="plenty", cost=2, retry=SOON)
    async def flaky(context: TaskContext, good_from: int = 3) -> None:
        said.append(f"try {context.attempt}")
        if context.attempt < good_from:
            raise ConnectionError(f"no answer to try {context.attempt}")

    @LimitTask(
        id="once", name="Once", quota_name="empty", retry=Retry(wait=wait_fixed(0.05), charge_each=False)
    )
    async def once(context: TaskContext) -> None:
        said.append(f"try {context.attempt}")
        raise ConnectionError

    @LimitTask(id="patient", name="Patient", quota_name="scarce", on_limit="wait(20)", time_limit=30)
    async def patient(number: int) -> None:
        said.append(f"number {number}")

    @LimitTask(id="long", name="Long", quota_name="plenty", soft_time_limit=50, time_limit=60)
    async def long() -> None:
        said.append("began")
        await asyncio.sleep(60)

    @SchedulerTask(id="daily", name="Daily", cron="@daily")
    async def daily() -> None:
        said.append("daily")


async def trace_of(qf: Quotaflow, run_id: str, is_right: Callable[[Trace], bool]) -> Trace:
    """Wait for a run's trace to be right, and return it."""
    found: list[Trace] = []

    async def there() -> bool:
        try:
            found.append(await qf.store.get_trace(run_id))
        except NotFound:
            return False
        return is_right(found[-1])

    await until(there)
    return found[-1]


async def ended(qf: Quotaflow, run_id: str) -> Trace:
    return await trace_of(qf, run_id, lambda trace: trace.status.is_final)


Daemon = tuple[Quotaflow, list[str]]


async def test_arguments_and_limits_of_one_call_reach_the_function(daemon: Daemon) -> None:
    qf, said = daemon
    runs = [
        await qf.trigger("greet", ["Ada"]),
        await qf.trigger("greet", {"who": "Bob", "loud": True}, time_limit=120, soft_time_limit=100),
    ]
    for run in runs:
        assert (await ended(qf, run.run_id)).status is Status.OK
    assert sorted(said) == ["HELLO Bob (120, 100)", "hello Ada (None, None)"]


@pytest.mark.parametrize(
    ("task_id", "args", "wishes", "field"),
    [
        ("greet", None, {}, "args"),
        ("greet", ["a", "b", "c"], {}, "args"),
        ("greet", {"whom": "a"}, {}, "args"),
        ("greet", "Ada", {}, "args"),
        ("greet", [{1, 2}], {}, "args"),
        ("greet", ["x" * 70_000], {}, "args"),
        ("greet", ["a"], {"time_limit": 1, "soft_time_limit": 2}, "soft_time_limit"),
        ("long", None, {"time_limit": 40}, "soft_time_limit"),
        ("greet", ["a"], {"time_limit": 0}, "time_limit"),
        ("greet", ["a"], {"countdown": -1}, "countdown"),
        ("greet", ["a"], {"countdown": 1, "eta": datetime.now(UTC)}, "eta"),
        ("greet", ["a"], {"eta": datetime(2030, 1, 1)}, "eta"),  # noqa: DTZ001  that is what is wrong with it
        ("greet", ["a"], {"countdown": 5, "expires": 4}, "expires"),
    ],
)
async def test_what_does_not_fit_a_task_is_refused_and_nothing_runs(
    daemon: Daemon, task_id: str, args: object, wishes: dict[str, object], field: str
) -> None:
    qf, said = daemon
    with pytest.raises(InvalidInput) as caught:
        await qf.trigger(task_id, args, **wishes)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert said == []


async def test_a_run_that_fails_is_tried_again_and_each_try_is_charged_and_traced(daemon: Daemon) -> None:
    qf, said = daemon
    run = await qf.trigger("flaky")
    trace = await ended(qf, run.run_id)
    assert (trace.status, trace.attempt, trace.cost_micro) == (Status.OK, 3, 6_000_000)
    assert said == ["try 1", "try 2", "try 3"]
    tries = tries_of(trace)
    assert [(status, error) for _, _, status, _, error in tries] == [
        ("failed", "no answer to try 1"),
        ("failed", "no answer to try 2"),
        ("ok", None),
    ]
    rests = [later[0] - earlier[1] for earlier, later in itertools.pairwise(tries)]
    assert min(rests) >= 50_000


async def test_a_run_that_always_fails_ends_as_failed_with_its_last_error(daemon: Daemon) -> None:
    qf, _ = daemon
    run = await qf.trigger("flaky", {"good_from": 9})
    trace = await ended(qf, run.run_id)
    assert (trace.status, trace.attempt, trace.error) == (Status.FAILED, 3, "no answer to try 3")
    assert len(tries_of(trace)) == 3


async def test_a_run_that_is_charged_once_needs_no_units_for_its_other_tries(daemon: Daemon) -> None:
    qf, said = daemon
    run = await qf.trigger("once")
    trace = await ended(qf, run.run_id)
    assert (trace.status, trace.cost_micro, said) == (Status.FAILED, 1_000_000, ["try 1", "try 2", "try 3"])


async def test_what_waits_for_units_is_seen_and_runs_in_order(daemon: Daemon) -> None:
    qf, said = daemon
    runs = [await qf.trigger("patient", [number]) for number in range(4)]
    assert [run.answer.word for run in runs] == [Word.GRANTED, Word.WAITING, Word.WAITING, Word.WAITING]
    waiting = await trace_of(qf, runs[3].run_id, lambda _: True)
    assert (waiting.status, waiting.reason) == (Status.WAITING, Reason.LIMITED)
    assert waiting.due_us is not None
    last = await ended(qf, runs[3].run_id)
    assert said == ["number 0", "number 1", "number 2", "number 3"]
    assert last.wait_ms is not None
    assert last.wait_ms >= 700


async def test_a_run_starts_no_earlier_than_it_was_told_to(daemon: Daemon) -> None:
    qf, _ = daemon
    asked_us = qf._base.clock.wall_us()
    run = await qf.trigger("greet", ["Ada"], countdown=0.5)
    other = await qf.trigger("greet", ["Eve"], eta=datetime.now(UTC) + timedelta(seconds=0.5))
    assert (run.answer.word, other.answer.word) == (Word.WAITING, Word.WAITING)
    trace = await ended(qf, run.run_id)
    assert trace.started_us is not None
    assert trace.started_us - asked_us >= 500_000


async def test_waiting_and_running_runs_can_be_cancelled_and_ended_ones_cannot(daemon: Daemon) -> None:
    qf, said = daemon
    waits, runs = await qf.trigger("greet", ["Ada"], countdown=60), await qf.trigger("long")
    await trace_of(qf, waits.run_id, lambda _: True)
    await trace_of(qf, runs.run_id, lambda _: True)
    assert (await qf.runs.cancel(waits.run_id), await qf.runs.cancel(runs.run_id)) == ("waiting", "running")
    for run in (waits, runs):
        trace = await ended(qf, run.run_id)
        assert (trace.status, trace.reason) == (Status.CANCELLED, Reason.CANCELLED)
    with pytest.raises(Conflict):
        await qf.runs.cancel(runs.run_id)
    assert said == ["began"]


async def test_the_next_tick_can_be_left_out_and_that_can_be_taken_back(daemon: Daemon) -> None:
    qf, _ = daemon
    view = await qf.tasks.skip_next("daily")
    assert view.row.skip_us == view.next_us[0]
    assert (await qf.tasks.skip_next("daily", skip=False)).row.skip_us is None
    with pytest.raises(InvalidInput):
        await qf.tasks.skip_next("greet")


async def test_a_rate_can_be_set_while_runs_wait_and_holds_at_once(daemon: Daemon) -> None:
    qf, said = daemon
    await qf.tasks.set_rate("greet", "1/h")
    runs = [await qf.trigger("greet", [str(number)]) for number in range(3)]
    assert [run.answer.word for run in runs] == [Word.GRANTED, Word.WAITING, Word.WAITING]
    await qf.tasks.set_rate("greet", "10/s")
    for run in runs:
        await ended(qf, run.run_id)
    assert [line.split()[1] for line in said] == ["0", "1", "2"]
    view = await qf.tasks.set_rate("greet", None)
    assert view.row.rate is None


async def test_paused_tasks_keep_what_waits_until_they_go_on(daemon: Daemon) -> None:
    qf, said = daemon
    run = await qf.trigger("greet", ["Ada"], countdown=0.2)
    await qf.tasks.pause("greet", paused=True)
    await asyncio.sleep(0.6)  # its moment passes in Redis, whose clock nobody sets
    assert said == []
    await qf.tasks.pause("greet", paused=False)
    assert (await ended(qf, run.run_id)).status is Status.OK


async def test_runs_that_wait_are_there_again_when_redis_has_lost_everything(
    daemon: Daemon, valkey: ValkeyProcess
) -> None:
    qf, said = daemon
    later = await qf.trigger("greet", ["Ada"], countdown=3, time_limit=7)
    await trace_of(qf, later.run_id, lambda _: True)
    valkey.clear()
    trace = await ended(qf, later.run_id)
    assert (trace.status, said) == (Status.OK, ["hello Ada (7, None)"])


async def test_a_run_that_has_ended_since_redis_was_saved_does_not_run_again(
    daemon: Daemon, valkey: ValkeyProcess
) -> None:
    """An older state of Redis comes back in which the run still waits; SQL knows that it ran."""
    qf, said = daemon
    run = await qf.trigger("greet", ["Ada"], countdown=0.3)
    await trace_of(qf, run.run_id, lambda _: True)
    redis = qf._base.plain
    kept = await redis.hgetall(f"qf:{{p0}}:run:{run.run_id}")
    await ended(qf, run.run_id)
    valkey.clear()
    await redis.hset(f"qf:{{p0}}:run:{run.run_id}", mapping=kept)
    await redis.zadd("qf:{p0}:due", {run.run_id: 0})
    other = await qf.trigger("greet", ["Eve"])
    await ended(qf, other.run_id)
    assert said == ["hello Ada (None, None)", "hello Eve (None, None)"]


def tries_of(trace: Trace) -> list[tuple[int, int, str, str | None, str | None]]:

    return [tuple(each) for each in json.loads(trace.tries or "[]")]


async def test_a_process_that_runs_no_tasks_leaves_its_triggers_to_one_that_does(
    daemon: Daemon, valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    qf, said = daemon
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as library:
        run = await library.trigger("greet", ["Ada"])
        assert run.answer.word is Word.WAITING
        with pytest.raises(InvalidInput):
            await library.trigger("greet")
    trace = await ended(qf, run.run_id)
    assert (trace.status, trace.instance_id) == (Status.OK, qf.instance_id)
    assert said == ["hello Ada (None, None)"]


async def test_those_behind_a_cancelled_run_move_up(daemon: Daemon) -> None:
    qf, said = daemon
    runs = [await qf.trigger("patient", [number]) for number in range(4)]
    await trace_of(qf, runs[1].run_id, lambda _: True)
    assert await qf.runs.cancel(runs[1].run_id) == "waiting"
    last = await ended(qf, runs[3].run_id)
    assert said == ["number 0", "number 2", "number 3"]
    assert last.started_us is not None
    assert last.started_us - runs[0].answer.number < 700_000  # the third unit; the fourth comes at 750 ms


async def test_a_paused_task_keeps_the_places_of_its_runs(daemon: Daemon) -> None:
    qf, said = daemon
    runs = [await qf.trigger("patient", [number]) for number in range(3)]
    await qf.tasks.pause("patient", paused=True)
    await asyncio.sleep(0.4)  # the moment of the second passes in Redis, whose clock nobody sets
    await qf.tasks.pause("patient", paused=False)
    runs.append(await qf.trigger("patient", [3]))
    for run in runs:
        await ended(qf, run.run_id)
    # Both may have their unit when they are looked at, and then either may begin first; a newcomer waits for its own.
    assert (said[0], {*said[1:3]}, said[3:]) == ("number 0", {"number 1", "number 2"}, ["number 3"])
