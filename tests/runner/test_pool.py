"""Every run that enters the pool leaves it as one outcome, whatever happens to the run, the worker or the pool."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from quotaflow import TaskContext
from quotaflow.model import Outcome, Reason, Run, Status
from quotaflow.runner.execute import Executor
from quotaflow.runner.pool import Inbox, Pool
from quotaflow.runner.registry import REGISTRY, Task
from quotaflow.runner.sessions import Sessions
from quotaflow.timing import ManualClock, SystemClock
from tests.runner.conftest import a_run, loop_turns, task_of


class Collected:
    """An outbox that keeps what it gets; closed, it lets nobody go on."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.open = asyncio.Event()
        self.open.set()

    def deliver(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    async def wait_free(self) -> None:
        await self.open.wait()

    def endings(self) -> dict[str, Status]:
        """Return how each run ended; every run is here once."""
        assert max(Counter(outcome.run.run_id for outcome in self.outcomes).values(), default=1) == 1
        return {outcome.run.run_id: outcome.status for outcome in self.outcomes}


@pytest.fixture
async def outbox() -> Collected:
    """Give an outbox to look into."""
    return Collected()


MakePool = Callable[..., Pool]


@pytest.fixture
def make_pool(executor: Executor, outbox: Collected) -> MakePool:
    """Give a function that makes a pool of real workers in front of `outbox`."""

    def make(concurrency: int = 2, queue_size: int = 10, clock: Any = None, by: Executor = executor) -> Pool:
        options = {"concurrency": concurrency, "queue_size": queue_size}
        return Pool(clock or SystemClock(), by, REGISTRY.get, outbox, **options)

    return make


def put(pool: Pool, run_ids: Sequence[str], task_id: str = "t") -> None:
    for run_id in run_ids:
        pool.inbox.put(a_run(run_id, task_id))


async def quick() -> None:
    await asyncio.sleep(0)


async def endless() -> None:
    await asyncio.sleep(60)


async def worked_off(pool: Pool) -> None:
    """Let the pool do what is in it, and end."""
    pool.inbox.close()
    async with asyncio.timeout(5):
        await pool.run()


async def settled(running: Awaitable[Any]) -> None:
    async with asyncio.timeout(5):
        await asyncio.wait([asyncio.ensure_future(running)])


async def test_an_inbox_knows_how_many_more_it_takes() -> None:
    inbox = Inbox(2)
    assert (inbox.free(), len(inbox)) == (2, 0)
    inbox.put(a_run("a"))
    inbox.put(a_run("b"))
    assert (inbox.free(), len(inbox)) == (0, 2)
    inbox.put(a_run("c"))
    assert (inbox.free(), len(inbox)) == (0, 3), "a run was charged already and is never turned away"
    assert [(await inbox.get() or a_run("?")).run_id for _ in range(3)] == ["a", "b", "c"]
    assert inbox.free() == 2


async def test_waiting_for_room_ends_when_a_run_is_taken() -> None:
    inbox = Inbox(1)
    async with asyncio.timeout(1):
        await inbox.wait_free()
        inbox.put(a_run("a"))
        waiting = asyncio.create_task(inbox.wait_free())
        await loop_turns()
        assert not waiting.done()
        await inbox.get()
        await waiting


async def test_a_closed_inbox_takes_nothing_and_gives_what_is_left() -> None:
    inbox = Inbox(2)
    inbox.put(a_run("a"))
    inbox.close()
    waiting = asyncio.create_task(inbox.wait_free())
    await loop_turns()
    assert inbox.free() == 0
    left = await inbox.get()
    assert left is not None
    assert left.run_id == "a"
    assert await inbox.get() is None
    await loop_turns()
    assert not waiting.done(), "nobody may claim for a closed inbox"
    waiting.cancel()


async def test_closing_wakes_all_who_wait_for_a_run() -> None:
    inbox = Inbox(2)
    waiting = [asyncio.create_task(inbox.get()) for _ in range(3)]
    await loop_turns()
    inbox.close()
    async with asyncio.timeout(1):
        assert await asyncio.gather(*waiting) == [None, None, None]


async def test_a_cancelled_wait_takes_no_run_with_it() -> None:
    inbox = Inbox(2)
    first, second = (asyncio.create_task(inbox.get()) for _ in range(2))
    await loop_turns()
    inbox.put(a_run("a"))
    first.cancel()
    async with asyncio.timeout(1):
        run = await second
    assert run is not None
    assert run.run_id == "a"


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
        "concurrency": 2,
        "finished": 0,
    }
    assert sorted(pool.open_runs()) == ["a", "b", "c"]
    may_end.set()
    pool.inbox.close()
    await settled(running)
    assert pool.statistics() | {"finished": 3, "running": 0, "queue_len": 0} == pool.statistics()
    assert pool.open_runs() == []
    assert len(outbox.endings()) == 3


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

    async def execute(self, task: Task, run: Run) -> Outcome:
        if run.run_id == "b":
            raise ZeroDivisionError("a bug")
        return await super().execute(task, run)


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
