"""A run that is cut short leaves nothing in the database and no lock on it. Rows are counted from outside."""

import asyncio
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow import SoftTimeLimitExceeded
from quotaflow.model import Reason, Status
from quotaflow.runner.execute import Executor
from quotaflow.runner.sessions import Sessions
from quotaflow.timing import SystemClock
from tests.runner.runs import Notes, a_run, note, outcome_of, task_of


@pytest.fixture(autouse=True)
async def _connected(sessions: Sessions) -> None:
    """Connect before a time limit can cut that short: what is measured here comes later."""
    async with sessions.open_async(AsyncSession, threading.Event()) as session:
        await session.execute(text("SELECT 1"))


async def test_a_soft_limit_that_goes_through_rolls_back(executor: Executor, notes: Notes) -> None:
    async def job(session: AsyncSession) -> None:
        await session.execute(note("a"))
        await asyncio.sleep(10)

    assert (await outcome_of(executor, job, soft_time_limit=0.15)).status is Status.SOFT_TIMEOUT
    assert notes.committed() == []


async def test_a_soft_limit_that_is_caught_lets_the_task_save_its_progress(
    executor: Executor, notes: Notes
) -> None:
    async def job(session: AsyncSession) -> None:
        await session.execute(note("a"))
        try:
            await asyncio.sleep(10)
        except SoftTimeLimitExceeded:
            await session.execute(note("progress"))

    outcome = await outcome_of(executor, job, soft_time_limit=0.15)
    assert (outcome.status, outcome.reason) == (Status.OK, Reason.SOFT_LIMIT)
    assert notes.committed() == ["a", "progress"]


async def test_a_soft_limit_in_the_middle_of_a_statement_rolls_back_and_the_next_run_works(
    executor: Executor, notes: Notes
) -> None:
    slow = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n LIMIT 1"
    )

    reached = asyncio.Event()

    async def job(session: AsyncSession) -> None:
        await session.execute(note("a"))
        reached.set()
        await session.execute(slow)

    async def later(session: AsyncSession) -> None:
        await session.execute(note("b"))

    assert (await outcome_of(executor, job, soft_time_limit=0.15)).status is Status.SOFT_TIMEOUT
    assert reached.is_set()
    assert (await executor.execute(task_of(later, "later"), a_run())).status is Status.OK
    assert notes.committed() == ["b"]


async def test_a_hard_limit_rolls_back(executor: Executor, notes: Notes) -> None:
    async def job(session: AsyncSession) -> None:
        await session.execute(note("a"))
        await asyncio.sleep(10)

    assert (await outcome_of(executor, job, time_limit=0.15)).status is Status.HARD_TIMEOUT
    assert notes.committed() == []


async def test_a_task_that_outlives_its_hard_limit_and_returns_is_rolled_back(
    executor: Executor, notes: Notes
) -> None:
    async def job(session: AsyncSession) -> None:
        await session.execute(note("a"))
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await session.execute(note("b"))

    assert (await outcome_of(executor, job, time_limit=0.15)).status is Status.HARD_TIMEOUT
    assert notes.committed() == []


async def test_an_interrupted_run_is_rolled_back(executor: Executor, notes: Notes) -> None:
    written = asyncio.Event()

    async def job(session: AsyncSession) -> None:
        await session.execute(note("a"))
        written.set()
        await asyncio.sleep(10)

    running = asyncio.create_task(outcome_of(executor, job))
    await written.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert notes.committed() == []


async def test_a_plain_def_that_was_given_up_is_rolled_back_when_it_returns(
    executor: Executor, notes: Notes
) -> None:
    may_return = threading.Event()
    thread: list[threading.Thread] = []

    def job(session: Session) -> None:
        thread.append(threading.current_thread())
        session.execute(note("a"))
        may_return.wait(10)

    outcome = await outcome_of(executor, job, time_limit=0.15)
    assert outcome.status is Status.HARD_TIMEOUT
    may_return.set()
    await asyncio.to_thread(thread[0].join, 10)
    assert notes.committed() == []


async def test_as_many_runs_as_the_runner_allows_hold_sessions_at_once(
    executor: Executor, notes: Notes
) -> None:
    """The usual pool of 15 connections would let the others wait, and fail after 30 s."""
    together = asyncio.Barrier(40)

    async def job(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))
        await together.wait()

    task = task_of(job, time_limit=5)
    outcomes = await asyncio.gather(*[executor.execute(task, a_run(str(n))) for n in range(40)])
    assert {outcome.status for outcome in outcomes} == {Status.OK}


async def test_plain_runs_too(executor: Executor, notes: Notes) -> None:
    together = threading.Barrier(20)

    def job(session: Session) -> None:
        session.execute(text("SELECT 1"))
        together.wait(5)

    task = task_of(job, time_limit=5)
    outcomes = await asyncio.gather(*[executor.execute(task, a_run(str(n))) for n in range(20)])
    assert {outcome.status for outcome in outcomes} == {Status.OK}


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"])
async def test_a_database_in_memory_lasts_from_run_to_run(url: str) -> None:
    sessions = Sessions(url)
    executor = Executor(SystemClock(), sessions)

    async def job(session: AsyncSession) -> None:
        await session.execute(text("CREATE TABLE IF NOT EXISTS notes (said TEXT UNIQUE)"))
        count = (await session.execute(text("SELECT count(*) FROM notes"))).scalar_one()
        await session.execute(note(f"after {count}"))
        assert count < 2

    task = task_of(job)
    outcomes = [await executor.execute(task, a_run()) for _ in range(3)]
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.OK, Status.FAILED]
    await sessions.close()


async def test_on_postgresql_a_cancelled_statement_ends_at_once_and_is_rolled_back(postgres: str) -> None:
    sessions = Sessions(postgres)
    executor = Executor(SystemClock(), sessions)

    async def prepare(session: AsyncSession) -> None:
        await session.execute(text("CREATE TABLE notes (said TEXT UNIQUE)"))
        await session.execute(note("a"))

    async def slow(session: AsyncSession) -> None:
        await session.execute(note("b"))
        await session.execute(text("SELECT pg_sleep(60)"))

    async def look(session: AsyncSession) -> None:
        said = await session.execute(text("SELECT said FROM notes"))
        assert said.scalars().all() == ["a"]

    jobs = {"prepare": prepare, "slow": slow, "look": look}
    tasks = [task_of(job, name, soft_time_limit=0.2 if job is slow else None) for name, job in jobs.items()]
    async with asyncio.timeout(60):
        outcomes = [await executor.execute(task, a_run()) for task in tasks]
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.SOFT_TIMEOUT, Status.OK]
    await sessions.close()


async def test_sessions_that_nobody_asked_for_can_be_closed(notes: Notes) -> None:
    sessions = Sessions(notes.url)
    await sessions.close()
    await sessions.close()
