"""The soft limit speaks to the coroutine, the hard limit ends it. Limits run on the loop's time: 10 to 50 ms here."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from quotaflow import SoftTimeLimitExceeded
from quotaflow.model import Outcome, Reason, Status
from quotaflow.runner import execute
from quotaflow.runner.execute import Executor
from quotaflow.runner.limits import SoftLimit
from tests.runner.conftest import a_run, outcome_of, task_of

SOFT = 0.02
Job = Callable[[], Coroutine[Any, Any, None]]


def ending(outcome: Outcome) -> tuple[Status, Reason | None, str | None]:
    return outcome.status, outcome.reason, outcome.error_type


SOFT_TIMEOUT = (Status.SOFT_TIMEOUT, None, "SoftTimeLimitExceeded")
HARD_TIMEOUT = (Status.HARD_TIMEOUT, None, "TimeoutError")
TOLD = (Status.OK, Reason.SOFT_LIMIT, None)


async def waits() -> None:
    await asyncio.sleep(10)


async def waits_for_children() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10))


async def waits_in_the_block_of_a_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10))
        await asyncio.sleep(10)


async def waits_in_groups_within_groups() -> None:
    async with asyncio.TaskGroup():
        await waits_in_the_block_of_a_task_group()


async def waits_under_a_timeout_of_its_own() -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(10)


async def waits_for_something_shielded() -> None:
    inner = asyncio.ensure_future(asyncio.sleep(0.05))
    try:
        await asyncio.shield(inner)
    finally:
        assert not inner.cancelled()
        inner.cancel()


async def waits_with_wait_for() -> None:
    await asyncio.wait_for(asyncio.sleep(10), 5)


async def waits_for_several() -> None:
    await asyncio.gather(asyncio.sleep(10), asyncio.sleep(10))


async def waits_in_a_loop_that_catches_every_exception() -> None:
    while True:
        try:
            await asyncio.sleep(0.005)
            [].pop()
        except Exception:  # noqa: BLE001, S112
            continue


async def catches_it_and_raises_it_again() -> None:
    try:
        await asyncio.sleep(10)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        raise


@pytest.mark.parametrize(
    "job",
    [
        waits,
        waits_for_children,
        waits_in_the_block_of_a_task_group,
        waits_in_groups_within_groups,
        waits_under_a_timeout_of_its_own,
        waits_for_something_shielded,
        waits_with_wait_for,
        waits_for_several,
        waits_in_a_loop_that_catches_every_exception,
        catches_it_and_raises_it_again,
    ],
)
async def test_a_soft_limit_ends_a_task_wherever_it_waits(executor: Executor, job: Job) -> None:
    began = time.monotonic()
    outcome = await outcome_of(executor, job, soft_time_limit=SOFT, time_limit=5)
    assert ending(outcome) == SOFT_TIMEOUT
    assert outcome.error == "soft time limit of 0.02 s exceeded"
    assert SOFT <= time.monotonic() - began < 1


async def test_a_task_that_catches_it_ends_on_its_own_terms(executor: Executor) -> None:
    saved: list[str] = []

    async def job() -> None:
        try:
            await asyncio.sleep(10)
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0.01)
            saved.append("progress")

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT, time_limit=5)) == TOLD
    assert saved == ["progress"]


async def test_it_can_be_caught_around_a_task_group(executor: Executor) -> None:
    async def job() -> None:
        try:
            await waits_in_the_block_of_a_task_group()
        except* SoftTimeLimitExceeded:
            await asyncio.sleep(0)

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT)) == TOLD


async def test_it_is_raised_once_and_cancels_nothing_afterwards(executor: Executor) -> None:
    counts: list[int] = []

    async def job() -> None:
        try:
            await asyncio.sleep(10)
        except SoftTimeLimitExceeded:
            me = asyncio.current_task()
            assert me is not None
            counts.append(me.cancelling())
        await asyncio.sleep(3 * SOFT)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT, time_limit=5)) == TOLD
    assert counts == [0]


async def test_another_error_raised_in_answer_to_it_is_a_failure(executor: Executor) -> None:
    async def job() -> None:
        try:
            await asyncio.sleep(10)
        except SoftTimeLimitExceeded:
            raise LookupError("nothing to save") from None

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT)) == (
        Status.FAILED,
        None,
        "LookupError",
    )


async def test_an_error_of_a_child_that_it_cancelled_is_a_failure(executor: Executor) -> None:
    async def child() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise LookupError("cannot end")

    async def job() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await asyncio.sleep(10)

    outcome = await outcome_of(executor, job, soft_time_limit=SOFT)
    assert outcome.status is Status.FAILED
    assert outcome.error_type in ("BaseExceptionGroup", "ExceptionGroup")  # with the limit in it, or without


async def test_a_task_that_is_quicker_hears_nothing(executor: Executor) -> None:
    async def job() -> None:
        await asyncio.sleep(0)

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT)) == (Status.OK, None, None)


async def test_what_comes_after_the_limited_part_is_not_cancelled() -> None:
    await SoftLimit(asyncio.sleep(0), SOFT)
    await asyncio.sleep(2 * SOFT)


async def test_a_timeout_of_the_tasks_own_in_the_same_instant_comes_first_and_hides_nothing(
    executor: Executor,
) -> None:
    heard: list[str] = []

    async def job() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(SOFT / 2, time.sleep, SOFT)  # both are due when the loop is free again
        try:
            async with asyncio.timeout_at(loop.time() + SOFT):
                await asyncio.sleep(10)
        except TimeoutError:
            heard.append("timeout")
        await asyncio.sleep(10)

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT, time_limit=5)) == SOFT_TIMEOUT
    assert heard == ["timeout"]


async def test_a_task_that_cancelled_itself_before_still_hears_it_by_name(executor: Executor) -> None:
    async def job() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        await asyncio.sleep(10)

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT)) == SOFT_TIMEOUT


async def test_a_child_that_swallows_it_leaves_the_task_in_peace(executor: Executor) -> None:
    """As any cancellation does: it went to what the task awaited. The run was not told, and the hard limit holds."""

    async def child() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)

    async def job() -> None:
        await asyncio.create_task(child())

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT)) == (Status.OK, None, None)


async def test_a_plain_error_thrown_by_what_it_awaits_reaches_the_coroutine(executor: Executor) -> None:
    async def job() -> None:
        loop = asyncio.get_running_loop()
        failing = loop.create_future()
        loop.call_soon(failing.set_exception, LookupError())
        with pytest.raises(LookupError):
            await failing
        await asyncio.sleep(0)

    assert ending(await outcome_of(executor, job, soft_time_limit=5)) == (Status.OK, None, None)


async def test_a_hard_limit_ends_an_async_def(executor: Executor) -> None:
    ended: list[type[BaseException] | None] = []

    async def job() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as error:
            ended.append(type(error))
            raise

    outcome = await outcome_of(executor, job, time_limit=0.03)
    assert ending(outcome) == HARD_TIMEOUT
    assert outcome.error == "time limit of 0.03 s exceeded"
    assert 30 <= outcome.latency_ms < 1_000
    assert ended == [asyncio.CancelledError]


@pytest.mark.parametrize("answer", [LookupError(), SystemExit(), None])
async def test_whatever_a_task_answers_to_its_hard_limit_it_was_too_long(
    executor: Executor, answer: BaseException | None
) -> None:
    async def job() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            if answer is not None:
                raise answer from None

    assert ending(await outcome_of(executor, job, time_limit=0.03)) == HARD_TIMEOUT


async def test_the_hard_limit_ends_a_task_that_went_on_after_the_soft_one(executor: Executor) -> None:
    heard: list[str] = []

    async def job() -> None:
        try:
            await asyncio.sleep(10)
        except SoftTimeLimitExceeded:
            heard.append("soft")
        await asyncio.sleep(10)

    assert ending(await outcome_of(executor, job, soft_time_limit=SOFT, time_limit=0.05)) == HARD_TIMEOUT
    assert heard == ["soft"]


async def test_both_limits_at_one_moment_are_the_hard_one(executor: Executor) -> None:
    assert ending(await outcome_of(executor, waits, soft_time_limit=SOFT, time_limit=SOFT)) == HARD_TIMEOUT


async def test_a_task_that_ignores_its_cancellation_is_left_to_itself(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "CLEANUP_S", 0.02)
    may_end = asyncio.Event()

    async def job() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(1):
        assert ending(await outcome_of(executor, job, time_limit=0.02)) == HARD_TIMEOUT
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert len(left) == len(executor._stubborn) == 1, "it is kept alive until it ends"
    may_end.set()
    await asyncio.wait(left)
    assert not executor._stubborn


async def test_a_hard_limit_gives_a_plain_def_up(executor: Executor) -> None:
    may_end = threading.Event()
    thread: list[threading.Thread] = []

    def job() -> None:
        thread.append(threading.current_thread())
        may_end.wait(10)

    outcome = await outcome_of(executor, job, time_limit=0.03)
    assert ending(outcome) == HARD_TIMEOUT
    assert thread[0].is_alive()
    may_end.set()
    await asyncio.to_thread(thread[0].join, 10)


async def test_plain_defs_that_were_given_up_take_no_place_away(executor: Executor) -> None:
    may_end = threading.Event()
    threads: list[threading.Thread] = []

    def stuck() -> None:
        threads.append(threading.current_thread())
        may_end.wait(10)

    def quick() -> None: ...

    task = task_of(stuck, time_limit=0.02)
    await asyncio.gather(*[executor.execute(task, a_run(str(n))) for n in range(60)])
    assert ending(await executor.execute(task_of(quick, "quick"), a_run())) == (Status.OK, None, None)
    may_end.set()
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)


async def test_a_plain_def_that_raises_after_it_was_given_up_disturbs_nobody(executor: Executor) -> None:
    may_end = threading.Event()
    thread: list[threading.Thread] = []

    def job() -> None:
        thread.append(threading.current_thread())
        may_end.wait(10)
        raise LookupError

    await outcome_of(executor, job, time_limit=0.02)
    may_end.set()
    await asyncio.to_thread(thread[0].join, 10)
    await asyncio.sleep(0)
