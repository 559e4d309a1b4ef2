"""What people know of time limits and rate limits from Celery's pages, example by example, as it works here."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from quotaflow import Quotaflow, SchedulerTask, SoftTimeLimitExceeded, TaskContext
from quotaflow.errors import ConfigError, InvalidInput, RegistrationError
from quotaflow.model import Reason, Status
from quotaflow.rates import parse_rate
from quotaflow.runner.registry import Registry
from quotaflow.runs import Word
from tests.examples import limited_tasks
from tests.flow.conftest import MakeSettings, make_settings, registry
from tests.flow.test_recovery import until
from tests.flow.test_runs import ended
from tests.servers import ValkeyProcess

__all__ = ["make_settings", "registry"]

Open = Callable[..., Awaitable[Quotaflow]]


@pytest.fixture
async def daemon(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> AsyncIterator[Open]:
    """Give a function that opens a daemon with some settings."""
    async with AsyncExitStack() as stack:

        async def opened(**flags: object) -> Quotaflow:
            flow = await stack.enter_async_context(
                Quotaflow.open(make_settings(valkey.url, **flags), role="daemon")
            )
            await stack.enter_async_context(flow.working())
            return flow

        yield opened


async def test_limits_stand_at_the_task_and_can_be_overridden_by_a_call(daemon: Open) -> None:
    seen: list[object] = []

    @SchedulerTask(id="process_document", name="Process a document", time_limit=60, soft_time_limit=50)
    async def process_document(document_id: int, context: TaskContext) -> None:
        seen.append((document_id, context.timelimit))

    qf = await daemon(runner__time_limit=30, runner__soft_time_limit=20)
    for wishes in ({}, {"time_limit": 120, "soft_time_limit": 100}, {"time_limit": 70}):
        run = await qf.trigger("process_document", [7], **wishes)  # type: ignore[arg-type]
        await ended(qf, run.run_id)
    assert seen == [(7, (60, 50)), (7, (120, 100)), (7, (70, 50))]


async def test_a_task_without_limits_has_those_of_the_configuration(daemon: Open) -> None:
    seen: list[object] = []

    @SchedulerTask(id="t", name="T")
    async def job(context: TaskContext) -> None:
        seen.append(context.timelimit)

    qf = await daemon(runner__time_limit=30, runner__soft_time_limit=20)
    await ended(qf, (await qf.trigger("t")).run_id)
    assert seen == [(30, 20)]


async def test_without_any_word_a_task_is_not_limited(daemon: Open) -> None:
    seen: list[object] = []

    @SchedulerTask(id="t", name="T")
    async def job(context: TaskContext) -> None:
        seen.append(context.timelimit)

    qf = await daemon()
    await ended(qf, (await qf.trigger("t")).run_id)
    assert seen == [(None, None)]


async def test_soft_above_hard_is_refused_wherever_it_comes_together(daemon: Open) -> None:
    words = "soft_time_limit must be less than or equal to time_limit"
    with pytest.raises(RegistrationError, match=words):

        @SchedulerTask(id="wrong", name="Wrong", time_limit=50, soft_time_limit=60)
        async def wrong() -> None: ...

    @SchedulerTask(id="t", name="T", soft_time_limit=50)
    async def job() -> None: ...

    qf = await daemon()
    with pytest.raises(InvalidInput, match=words):
        await qf.trigger("t", time_limit=40)
    assert (await qf.store.list_traces()).items == []


async def test_a_configuration_that_does_not_fit_a_task_is_refused_at_the_start(daemon: Open) -> None:
    @SchedulerTask(id="t", name="T", soft_time_limit=50)
    async def job() -> None: ...

    with pytest.raises(
        ConfigError, match=r'test_time_and_rate_limits.py:\d+: task "t": soft_time_limit must be less'
    ):
        await daemon(runner__time_limit=40)


async def test_progress_is_saved_when_the_soft_limit_is_over_and_the_run_counts_as_failed(
    daemon: Open,
) -> None:
    saved: list[str] = []

    @SchedulerTask(id="long_running_task", name="Long", soft_time_limit=0.1)
    async def long_running_task() -> None:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            saved.append("checkpoint")
            raise

    @SchedulerTask(id="content", name="Content", soft_time_limit=0.1)
    async def content() -> None:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            saved.append("enough")

    qf = await daemon()
    raised = await ended(qf, (await qf.trigger("long_running_task")).run_id)
    swallowed = await ended(qf, (await qf.trigger("content")).run_id)
    assert saved == ["checkpoint", "enough"]
    assert (raised.status, raised.error_type) == (Status.SOFT_TIMEOUT, "SoftTimeLimitExceeded")
    assert (swallowed.status, swallowed.reason) == (Status.OK, Reason.SOFT_LIMIT)


async def test_a_plain_function_in_a_process_of_its_own_is_told_softly_too(
    daemon: Open, tmp_path: Path
) -> None:
    limited_tasks.declare()
    qf = await daemon()
    trace = await ended(qf, (await qf.trigger("checkpoints", [str(tmp_path / "checkpoint")])).run_id)
    assert (trace.status, (tmp_path / "checkpoint").read_text()) == (Status.SOFT_TIMEOUT, "saved")


async def test_the_hard_limit_kills_the_process_and_cannot_be_caught(daemon: Open, tmp_path: Path) -> None:
    limited_tasks.declare()
    qf = await daemon()
    trace = await ended(qf, (await qf.trigger("stubborn", [str(tmp_path / "pid")])).run_id)
    assert trace.status is Status.HARD_TIMEOUT
    pid = int((tmp_path / "pid").read_text())

    async def gone() -> bool:
        return not Path(f"/proc/{pid}").exists()

    await until(gone)


async def test_a_rate_is_kept_by_delaying_and_never_by_refusing(daemon: Open) -> None:
    sent: list[str] = []

    @SchedulerTask(id="send_email", name="Send", rate_limit="10/m")
    async def send_email(to: str, subject: str, body: str) -> None:
        sent.append(to)

    qf = await daemon()
    first, second, third = [
        await qf.trigger("send_email", [f"{n}@example.com", "Hi", "..."]) for n in range(3)
    ]
    assert [run.answer.word for run in (first, second, third)] == [Word.GRANTED, Word.WAITING, Word.WAITING]
    assert second.answer.number - first.answer.number == 6_000_000
    assert third.answer.number - second.answer.number == 6_000_000
    await ended(qf, first.run_id)
    assert sent == ["0@example.com"]


def test_the_three_ways_to_write_one_a_second_are_one() -> None:
    rates = [parse_rate(text) for text in ("1/s", "60/m", "3600/h")]
    assert {rate.pace for rate in rates if rate} == {rates[0].pace if rates[0] else None}
    assert parse_rate("100/s") is not None
    assert parse_rate(None) is None


async def test_a_rate_of_the_configuration_is_for_tasks_without_one(daemon: Open) -> None:
    @SchedulerTask(id="plain", name="Plain")
    async def plain() -> None: ...

    @SchedulerTask(id="own", name="Own", rate_limit="100/s")
    async def own() -> None: ...

    qf = await daemon(runner__rate_limit="1/m")
    for task_id, interval_us in (("plain", 60_000_000), ("own", 10_000)):
        one, other = await qf.trigger(task_id), await qf.trigger(task_id)
        if other.answer.word is Word.WAITING:
            assert other.answer.number - one.answer.number == interval_us
        else:
            assert task_id == "own", "the second came after its turn"


@pytest.mark.timeout(300)
async def test_a_rate_holds_over_all_daemons_together(
    valkey: ValkeyProcess, postgres: str, make_settings: MakeSettings, registry: Registry, tmp_path: Path
) -> None:
    """The times are those of the function bodies, of two daemons that share the work."""
    starts: list[float] = []

    @SchedulerTask(id="call_rate_limited_api", name="Call", rate_limit="10/s")
    async def call_rate_limited_api() -> None:
        starts.append(asyncio.get_running_loop().time())

    async with AsyncExitStack() as stack:
        daemons = []
        for name in ("one", "two"):
            settings = make_settings(valkey.url, store__url=postgres, data_dir=str(tmp_path / name))
            daemons.append(await stack.enter_async_context(Quotaflow.open(settings, role="daemon")))
            await stack.enter_async_context(daemons[-1].working())
        for number in range(21):
            await daemons[number % 2].trigger("call_rate_limited_api")

        async def all_started() -> bool:
            return len(starts) == 21

        await until(all_started)
    slack_s = 0.25  # what a start may be late by
    for first, last in itertools.combinations(range(21), 2):
        assert last - first <= (starts[last] - starts[first] + slack_s) * 10 + 1
