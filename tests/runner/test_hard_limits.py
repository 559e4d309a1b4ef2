"""The hard limit ends a run, whatever the run does about it. Limits run on the loop's time: 10 to 50 ms here."""

import asyncio
import threading

import pytest

from quotaflow import SoftTimeLimitExceeded
from quotaflow.model import Reason, Status
from quotaflow.runner import execute
from quotaflow.runner.execute import Executor
from quotaflow.runs import Outcome
from tests.runner.pools import Collected, MakePool, put, settled
from tests.runner.runs import a_run, outcome_of, task_of


def ending(outcome: Outcome) -> tuple[Status, Reason | None, str | None]:
    return outcome.status, outcome.reason, outcome.error_type


HARD_TIMEOUT = (Status.HARD_TIMEOUT, None, "TimeoutError")


async def waits() -> None:
    await asyncio.sleep(10)


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
    assert 30 <= outcome.latency_ms < 5_000
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

    assert ending(await outcome_of(executor, job, soft_time_limit=0.02, time_limit=0.05)) == HARD_TIMEOUT
    assert heard == ["soft"]


async def test_both_limits_at_one_moment_are_the_hard_one(executor: Executor) -> None:
    assert ending(await outcome_of(executor, waits, soft_time_limit=0.02, time_limit=0.02)) == HARD_TIMEOUT


async def test_a_task_that_ignores_its_cancellation_is_left_to_itself(
    make_pool: MakePool, outbox: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "CLEANUP_S", 0.02)
    may_end = asyncio.Event()

    async def job() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    async def quick() -> None: ...

    task_of(job, time_limit=0.02)
    task_of(quick, "quick")
    pool = make_pool(concurrency=1)
    put(pool, "a")
    put(pool, "b", "quick")
    running = asyncio.create_task(pool.run())
    async with asyncio.timeout(30):
        while len(outbox.outcomes) < 2:
            await asyncio.sleep(0.005)
    told = [(outcome.run.run_id, outcome.status) for outcome in outbox.outcomes]
    assert told == [("a", Status.STUCK), ("b", Status.OK)], "its worker goes on with the next"
    assert pool.open_runs() == pool.stuck_runs() == [outbox.outcomes[0].run], "its lease is kept"
    left = asyncio.all_tasks() - {asyncio.current_task(), running}
    assert "t a" in {task.get_name() for task in left}, "it is kept alive until it ends"
    may_end.set()
    pool.inbox.close()
    await settled(running)
    assert (pool.open_runs(), len(outbox.outcomes)) == ([], 3)
    assert (outbox.outcomes[2].run.run_id, ending(outbox.outcomes[2])) == ("a", HARD_TIMEOUT)


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
