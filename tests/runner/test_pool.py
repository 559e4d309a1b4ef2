"""Every run that enters the pool leaves it as one outcome, whatever happens to the run or its worker."""

import asyncio
from typing import Any

from quotaflow.model import Status
from quotaflow.runner.execute import Executor
from quotaflow.runner.registry import Task
from quotaflow.runner.sessions import Sessions
from quotaflow.runs import Outcome, Run
from quotaflow.timing import SystemClock
from tests.runner.pools import Collected, MakePool, put, quick, settled, worked_off
from tests.runner.runs import loop_turns, task_of


async def test_runs_are_started_in_the_order_they_came(make_pool: MakePool, outbox: Collected) -> None:
    task_of(quick)
    pool = make_pool(concurrency=1)
    put(pool, "abcde")
    await worked_off(pool)
    assert list(outbox.endings()) == ["a", "b", "c", "d", "e"]
    assert set(outbox.endings().values()) == {Status.OK}


async def test_no_more_run_at_once_than_allowed(make_pool: MakePool, outbox: Collected) -> None:
    now, most = 0, 0

    async def counted() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    task_of(counted)
    pool = make_pool(concurrency=3, queue_size=20)
    put(pool, [str(number) for number in range(20)])
    await worked_off(pool)
    assert (most, len(outbox.endings())) == (3, 20)


async def test_a_pool_says_how_full_it_is(make_pool: MakePool, outbox: Collected) -> None:
    may_end = asyncio.Event()

    async def job() -> None:
        await may_end.wait()

    task_of(job)
    pool = make_pool(concurrency=2, queue_size=10)
    put(pool, "abc")
    running = asyncio.create_task(pool.run())
    await loop_turns()
    assert pool.statistics() == {
        "queue_len": 1,
        "queue_cap": 10,
        "running": 2,
        "stuck": 0,
        "concurrency": 2,
        "finished": 0,
    }
    assert sorted(run.run_id for run in pool.open_runs()) == ["a", "b", "c"]
    may_end.set()
    pool.inbox.close()
    await settled(running)
    assert pool.statistics() | {"finished": 3, "running": 0, "queue_len": 0} == pool.statistics()
    assert pool.open_runs() == []
    assert len(outbox.endings()) == 3


async def test_nothing_new_begins_while_outcomes_cannot_be_written(
    make_pool: MakePool, outbox: Collected
) -> None:
    task_of(quick)
    outbox.open.clear()
    pool = make_pool()
    put(pool, "ab")
    running = asyncio.create_task(pool.run())
    await loop_turns()
    assert (len(pool.inbox), outbox.outcomes) == (2, [])
    outbox.open.set()
    pool.inbox.close()
    await settled(running)
    assert outbox.endings() == dict.fromkeys("ab", Status.OK)


async def test_a_run_of_a_task_that_is_not_here_has_failed(make_pool: MakePool, outbox: Collected) -> None:
    pool = make_pool()
    put(pool, "a", "gone")
    await worked_off(pool)
    (outcome,) = outbox.outcomes
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "LookupError")
    assert outcome.error == "the task is not registered in this process"


class Broken(Executor):
    """An executor with a bug."""

    async def execute(self, task: Task, run: Run, **how: Any) -> Outcome:
        if run.run_id == "b":
            raise ZeroDivisionError("a bug")
        return await super().execute(task, run, **how)


async def test_a_bug_in_a_worker_costs_the_run_and_neither_the_worker_nor_the_others(
    make_pool: MakePool, outbox: Collected, sessions: Sessions
) -> None:
    task_of(quick)
    pool = make_pool(concurrency=1, by=Broken(SystemClock(), sessions))
    put(pool, "abc")
    await worked_off(pool)
    assert outbox.endings() == {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    failed = outbox.outcomes[1]
    assert (failed.error_type, failed.error, failed.latency_ms >= 0) == ("ZeroDivisionError", "a bug", True)


async def test_a_task_that_cancels_itself_costs_no_worker(make_pool: MakePool, outbox: Collected) -> None:
    async def selfish() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(10)

    task_of(selfish, "selfish")
    task_of(quick)
    pool = make_pool(concurrency=1)
    put(pool, "abc", "selfish")
    put(pool, "d")
    await worked_off(pool)
    assert outbox.endings() == dict.fromkeys("abc", Status.CANCELLED) | {"d": Status.OK}
