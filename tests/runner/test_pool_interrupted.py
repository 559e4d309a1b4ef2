"""However a pool is stopped, every run that entered it leaves it as one outcome, and a true one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from quotaflow import TaskContext
from quotaflow.model import Reason, Status
from quotaflow.timing import ManualClock
from tests.runner.pools import Collected, MakePool, endless, put, quick, settled
from tests.runner.runs import loop_turns, task_of


async def test_interrupting_ends_what_runs_and_what_waits(make_pool: MakePool, outbox: Collected) -> None:
    task_of(endless)
    clock = ManualClock(start_us=2_000_000)
    pool = make_pool(concurrency=2, clock=clock)
    put(pool, "abcd")
    running = asyncio.create_task(pool.run())
    await loop_turns()
    await clock.advance(1)
    pool.interrupt()
    pool.interrupt()
    await settled(running)
    assert pool.inbox.free() == 0
    assert outbox.endings() == dict.fromkeys("abcd", Status.INTERRUPTED)
    assert {outcome.reason for outcome in outbox.outcomes} == {Reason.SHUTDOWN}
    times = {outcome.run.run_id: (outcome.started_us, outcome.latency_ms) for outcome in outbox.outcomes}
    ran, never_ran = (2_000_000, 1_000), (3_000_000, 0)
    assert times == {"a": ran, "b": ran, "c": never_ran, "d": never_ran}
    pool.interrupt()


async def test_what_ends_in_the_moment_of_an_interruption_has_ended_and_nothing_new_begins(
    make_pool: MakePool, outbox: Collected
) -> None:
    pool = make_pool(concurrency=1)
    begun: list[str] = []

    async def job(context: TaskContext) -> None:
        begun.append(context.run_id)
        pool.interrupt()

    task_of(job)
    put(pool, "abc")
    await settled(pool.run())
    assert begun == ["a"]
    assert outbox.endings() == {"a": Status.OK, "b": Status.INTERRUPTED, "c": Status.INTERRUPTED}


async def test_a_pool_interrupted_before_it_begins_still_answers_for_its_runs(
    make_pool: MakePool, outbox: Collected
) -> None:
    task_of(quick)
    pool = make_pool()
    put(pool, "ab")
    pool.interrupt()
    await settled(pool.run())
    assert outbox.endings() == dict.fromkeys("ab", Status.INTERRUPTED)


async def test_a_pool_that_is_cancelled_answers_for_its_runs(make_pool: MakePool, outbox: Collected) -> None:
    task_of(endless)
    pool = make_pool(concurrency=1)
    put(pool, "ab")
    running = asyncio.create_task(pool.run())
    await loop_turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert outbox.endings() == dict.fromkeys("ab", Status.INTERRUPTED)
    assert pool.inbox.free() == 0


@pytest.mark.parametrize("turns", range(24))
async def test_wherever_an_interruption_strikes_every_run_has_one_true_ending(
    make_pool: MakePool, outbox: Collected, turns: int
) -> None:
    done: list[str] = []

    def noting(run_id: str) -> Callable[[], Awaitable[None]]:
        async def job() -> None:
            await asyncio.sleep(0)
            done.append(run_id)

        return job

    pool = make_pool(concurrency=2)
    for run_id in "abcdef":
        task_of(noting(run_id), run_id)
        put(pool, run_id, run_id)
    running = asyncio.create_task(pool.run())
    await loop_turns(turns)
    pool.interrupt()
    await settled(running)
    assert sorted(outbox.endings()) == list("abcdef")
    assert sorted(done) == sorted(name for name, status in outbox.endings().items() if status is Status.OK)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("turns", range(1, 25))
async def test_a_pool_cancelled_at_any_await_loses_nothing(
    make_pool: MakePool, outbox: Collected, turns: int
) -> None:
    """The outbox is full from the second turn on: some workers wait for a run, some in one, some to hand over."""
    task_of(quick)
    pool = make_pool(concurrency=3)
    put(pool, "abcdef")
    running = asyncio.create_task(pool.run())
    await loop_turns(turns // 2)
    outbox.open.clear()
    await loop_turns(turns - turns // 2)
    running.cancel()
    await settled(running)
    assert sorted(outbox.endings()) == list("abcdef")
    assert set(outbox.endings().values()) <= {Status.OK, Status.INTERRUPTED}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_ten_pools_one_after_another_account_for_every_run_and_leave_nothing(
    make_pool: MakePool, outbox: Collected
) -> None:
    done: list[str] = []

    async def job(context: TaskContext) -> None:
        await asyncio.sleep(0)
        done.append(context.run_id)

    task_of(job)
    for cycle in range(10):
        pool = make_pool(concurrency=1 + cycle % 3)
        put(pool, [f"{cycle}.{number}" for number in range(5)])
        running = asyncio.create_task(pool.run())
        await loop_turns(cycle)
        if cycle % 2:
            pool.interrupt()
        pool.inbox.close()
        await settled(running)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    endings = outbox.endings()
    assert len(endings) == 50
    assert {run_id for run_id, status in endings.items() if status is Status.OK} == set(done)
    assert 25 < len(done) < 50
