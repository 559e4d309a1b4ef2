"""The soft limit speaks to the coroutine by name. Limits run on the loop's time: 10 to 50 ms here."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from quotaflow import SoftTimeLimitExceeded
from quotaflow.model import Reason, Status
from quotaflow.runner.execute import Executor
from quotaflow.runner.limits import SoftLimit
from quotaflow.runs import Outcome
from tests.runner.runs import outcome_of

SOFT = 0.02


Job = Callable[[], Coroutine[Any, Any, None]]


def ending(outcome: Outcome) -> tuple[Status, Reason | None, str | None]:
    return outcome.status, outcome.reason, outcome.error_type


SOFT_TIMEOUT = (Status.SOFT_TIMEOUT, None, "SoftTimeLimitExceeded")


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
    assert SOFT <= time.monotonic() - began < 4


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
