"""One transaction per run: committed on return, rolled back on any exception. Rows are counted from outside."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow.model import Status
from quotaflow.runner.execute import Executor
from quotaflow.runs import Outcome
from tests.runner.runs import Notes, note, outcome_of

Body = Callable[[Session], None]


RunBody = Callable[[Body], Awaitable[Outcome]]


@pytest.fixture(params=["async def", "def"])
def run_body(request: pytest.FixtureRequest, executor: Executor) -> RunBody:
    """Give a function that runs the same statements as both kinds of task."""

    async def job(session: AsyncSession) -> None:
        await session.run_sync(body)

    def plain(session: Session) -> None:
        body(session)

    body: Body

    async def run(statements: Body) -> Outcome:
        nonlocal body
        body = statements
        return await outcome_of(executor, job if request.param == "async def" else plain)

    return run


async def test_a_run_that_returns_commits(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        session.execute(note("b"))
        assert notes.committed() == []

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["a", "b"]


async def test_a_run_that_raises_leaves_nothing_behind(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        raise LookupError("no such user")

    outcome = await run_body(body)
    assert (outcome.status, outcome.error_type, outcome.error) == (
        Status.FAILED,
        "LookupError",
        "no such user",
    )
    assert notes.committed() == []


async def test_a_task_that_commits_itself_may_go_on(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        session.commit()
        assert notes.committed() == ["a"]
        session.execute(note("b"))

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["a", "b"]


async def test_a_task_that_commits_itself_and_raises_keeps_what_it_committed(
    run_body: RunBody, notes: Notes
) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        session.commit()
        session.execute(note("b"))
        raise LookupError

    assert (await run_body(body)).status is Status.FAILED
    assert notes.committed() == ["a"]


async def test_a_task_that_rolls_back_itself_may_go_on(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        session.rollback()
        session.execute(note("b"))

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["b"]


async def test_a_task_that_handles_its_own_error_with_a_rollback_is_ok(
    run_body: RunBody, notes: Notes
) -> None:
    """The way jobs are often written: commit in `try`, roll back in `except`, do not raise."""

    def body(session: Session) -> None:
        try:
            session.execute(note("a"))
            session.commit()
            session.execute(note("b"))
            [].pop()
        except IndexError:
            session.rollback()

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["a"]


async def test_a_task_that_closes_its_session_is_ok(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        session.commit()
        session.close()

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["a"]


async def test_an_explicit_begin_block_inside_a_task_works(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        with session.begin():
            session.execute(note("a"))
        with session.begin(), session.begin_nested():
            session.execute(note("b"))

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["a", "b"]


async def test_a_commit_that_fails_fails_the_run(run_body: RunBody, notes: Notes) -> None:
    def body(session: Session) -> None:
        session.execute(text("PRAGMA foreign_keys = ON"))
        session.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
        session.execute(
            text("CREATE TABLE children (parent REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
        )
        session.execute(text("INSERT INTO children VALUES (1)"))
        session.execute(note("a"))

    outcome = await run_body(body)
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "IntegrityError")
    assert notes.committed() == []


async def test_a_statement_that_fails_and_is_caught_costs_only_itself(
    run_body: RunBody, notes: Notes
) -> None:
    def body(session: Session) -> None:
        session.execute(note("a"))
        with pytest.raises(IntegrityError):
            session.execute(note("a"))

    assert (await run_body(body)).status is Status.OK
    assert notes.committed() == ["a"]
