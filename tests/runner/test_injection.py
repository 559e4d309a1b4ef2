"""What a task asks for by annotation it gets."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow import TaskContext
from quotaflow.model import Status, Trigger
from quotaflow.runner.execute import Executor
from tests.runner.runs import a_run, task_of


class OwnAsyncSession(AsyncSession):
    """An application's own session."""


class OwnSession(Session):
    """An application's own session."""


async def given_to(executor: Executor, function: Callable[..., Any], task_id: str = "t") -> None:
    """Run a function that looks at what it got; it fails when it does not like it."""
    outcome = await executor.execute(task_of(function, task_id), a_run())
    assert (outcome.status, outcome.error) == (Status.OK, None)


async def test_an_async_def_gets_an_async_session(executor: Executor) -> None:
    async def job(db: AsyncSession) -> None:
        assert type(db) is AsyncSession

    await given_to(executor, job)


async def test_a_subclass_of_the_async_session_is_made_as_itself(executor: Executor) -> None:
    async def job(db: OwnAsyncSession) -> None:
        assert type(db) is OwnAsyncSession

    await given_to(executor, job)


async def test_a_plain_def_gets_a_session_in_a_thread_that_is_not_the_loops(executor: Executor) -> None:
    loop_thread = threading.get_ident()

    def job(db: Session) -> None:
        assert type(db) is Session
        assert threading.get_ident() != loop_thread

    await given_to(executor, job)


async def test_a_subclass_of_the_session_is_made_as_itself(executor: Executor) -> None:
    def job(db: OwnSession) -> None:
        assert type(db) is OwnSession

    await given_to(executor, job)


def session_in_a_plain_def(session) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert type(session) is Session


async def session_in_an_async_def(session) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert type(session) is AsyncSession


@pytest.mark.parametrize("function", [session_in_a_plain_def, session_in_an_async_def])
async def test_an_unannotated_session_follows_the_kind_of_the_function(
    executor: Executor, function: Callable[..., Any]
) -> None:
    await given_to(executor, function)


async def test_the_context_tells_the_run_about_itself(executor: Executor) -> None:
    seen: list[TaskContext] = []

    async def job(context: TaskContext) -> None:
        seen.append(context)

    task = task_of(job, soft_time_limit=5, time_limit=7)
    await executor.execute(task, a_run("r7", scheduled_for_us=1_750_000_000_123_456, attempt=2))
    await executor.execute(task, a_run("r8", scheduled_for_us=None, trigger=Trigger.MANUAL))
    assert seen == [
        TaskContext("r7", 2, datetime(2025, 6, 15, 15, 6, 40, 123_456, UTC), (7, 5)),
        TaskContext("r8", 1, None, (7, 5)),
    ]


async def test_a_plain_def_gets_its_context_too(executor: Executor) -> None:
    def job(me: TaskContext, session: Session) -> None:
        assert me.run_id == "run1"
        assert me.timelimit == (None, None)
        assert session.bind is not None

    await given_to(executor, job)


def nothing() -> None: ...
async def nothing_at_all() -> None: ...


@pytest.mark.parametrize("function", [nothing, nothing_at_all])
async def test_a_task_may_ask_for_nothing(executor: Executor, function: Callable[..., Any]) -> None:
    await given_to(executor, function)


async def test_keyword_only_parameters_are_given(executor: Executor) -> None:
    async def job(*, context: TaskContext, session: AsyncSession) -> None:
        assert (type(context), type(session)) == (TaskContext, AsyncSession)

    await given_to(executor, job)


async def test_defaults_are_kept_where_nothing_was_asked_for(executor: Executor) -> None:
    async def job(count: int = 3, *rest: int, db: AsyncSession | None = None, **more: int) -> None:
        assert (count, rest, db, more) == (3, (), None, {})

    async def unannotated(session=None) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        assert session is None

    await given_to(executor, job)
    await given_to(executor, unannotated, task_id="unannotated")


async def test_what_is_asked_for_is_given_although_there_is_a_default(executor: Executor) -> None:
    async def job(session: AsyncSession = None, me: TaskContext = None) -> None:  # type: ignore[assignment]
        assert (type(session), type(me)) == (AsyncSession, TaskContext)

    await given_to(executor, job)


async def test_a_note_beside_an_annotation_does_not_hide_it(executor: Executor) -> None:
    async def job(session: Annotated[AsyncSession, "the shop's"]) -> None:
        assert type(session) is AsyncSession

    await given_to(executor, job)


async def test_annotations_may_be_text(executor: Executor) -> None:
    async def job(session: "AsyncSession") -> None:
        assert type(session) is AsyncSession

    await given_to(executor, job)


async def test_every_run_gets_a_session_of_its_own(executor: Executor) -> None:
    seen: list[AsyncSession] = []

    async def job(session: AsyncSession) -> None:
        seen.append(session)

    task = task_of(job)
    for _ in range(3):
        await executor.execute(task, a_run())
    assert len(set(map(id, seen))) == 3
