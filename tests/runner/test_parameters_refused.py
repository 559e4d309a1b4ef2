"""A task that asks for what cannot be given is refused at import, and the parameter is named."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow import TaskContext
from quotaflow.errors import RegistrationError
from quotaflow.runner.registry import Registry
from tests.runner.decorating import Decorate, limited, refusal, with_limits


def asks_for_a_number(x: int) -> None: ...


def asks_for_anything(x) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def asks_for_the_other_kind(x: AsyncSession) -> None: ...


async def asks_for_the_plain_kind(x: Session) -> None: ...


def asks_by_position(x: Session, /) -> None: ...


def asks_for_a_choice(x: Session | None) -> None: ...


@with_limits
@pytest.mark.parametrize(
    "function",
    [
        asks_for_a_number,
        asks_for_anything,
        asks_for_the_other_kind,
        asks_for_the_plain_kind,
        asks_by_position,
        asks_for_a_choice,
    ],
)
def test_a_parameter_that_nothing_can_be_given_to_is_named(
    decorate: Decorate, function: Callable[..., Any], registry: Registry
) -> None:
    why = refusal(decorate(cron="@daily"), function)
    kind = "async def: AsyncSession" if inspect.iscoroutinefunction(function) else "def: Session"
    assert why.startswith('parameter "x" cannot be given; ')
    assert f"({kind} or TaskContext)" in why
    assert not len(registry)


@pytest.mark.parametrize("function", [asks_for_a_number, asks_for_anything, asks_for_a_choice])
def test_what_a_task_without_a_schedule_asks_for_is_an_argument_of_its_trigger(
    function: Callable[..., Any], registry: Registry
) -> None:
    limited()(function)
    assert [task.wants for task in registry] == [()]


@pytest.mark.parametrize("function", [asks_for_the_other_kind, asks_for_the_plain_kind, asks_by_position])
def test_a_gift_that_does_not_fit_is_refused_without_a_schedule_too(function: Callable[..., Any]) -> None:
    assert refusal(limited(), function).startswith('parameter "x" cannot be given; ')


@with_limits
def test_two_sessions_are_refused_because_a_run_has_one_transaction(decorate: Decorate) -> None:
    def greedy(context: TaskContext, session: Session, other: Session) -> None: ...

    assert (
        refusal(decorate(), greedy)
        == "a run has one transaction; ask for one session, not ['session', 'other']"
    )


def imported(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a module and import it, once."""
    name = f"tasks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(name)


TYPE_CHECKING_ONLY = """\
from __future__ import annotations
from typing import TYPE_CHECKING
from quotaflow import SchedulerTask, TaskContext
if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

@SchedulerTask(id="t", name="T", cron="@daily")
async def job(context: TaskContext, db: {hint}) -> {result}: ...
"""


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        ("AsyncSession", "name 'AsyncSession' is not defined"),
        ("TaskContext.x", "has no attribute 'x'"),
        ("'1 +'", "must be an expression"),
    ],
)
def test_a_hint_that_cannot_be_resolved_at_run_time_names_its_parameter(
    hint: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RegistrationError) as caught:
        imported(TYPE_CHECKING_ONLY.format(hint=hint, result="None"), tmp_path, monkeypatch)
    assert '.py:7: parameter "db": its annotation cannot be resolved (' in str(caught.value)
    assert why in str(caught.value)
    assert "import what it uses at run time" in str(caught.value)


def test_what_a_task_returns_need_not_be_known_at_run_time(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = TYPE_CHECKING_ONLY.format(hint="int = 3", result="AsyncSession")
    imported(source, tmp_path, monkeypatch)
    assert [[want.parameter for want in task.wants] for task in registry] == [["context"]]
