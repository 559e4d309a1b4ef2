"""What a task asks for by annotation: a session, its context, or nothing."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow.errors import RegistrationError


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a run knows about itself. `timelimit` is (hard, soft) in seconds; None is no limit."""

    run_id: str
    attempt: int
    scheduled_for: datetime | None
    timelimit: tuple[float | None, float | None]


class Gift(StrEnum):
    """What can be asked for."""

    ASYNC_SESSION = "async_session"
    SESSION = "session"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Want:
    """One parameter and what it gets. `type` is the class a session is made of."""

    parameter: str
    gift: Gift
    type: type[Any]


def wants_of(function: Callable[..., Any], where: str, *, takes_args: bool = False) -> tuple[Want, ...]:
    """Work out what a task's parameters ask for.

    :param takes_args: it is only triggered; what it does not ask for is an argument of the trigger.

    :raises RegistrationError: naming the parameter that nothing can be given to.
    """
    is_async = inspect.iscoroutinefunction(function)
    hints = _hints(function, where)
    wants = tuple(
        _want(parameter, hints.get(parameter.name), is_async=is_async, where=where)
        for parameter in inspect.signature(function).parameters.values()
        if _must_be_given(parameter, hints) and not (takes_args and _is_argument(parameter, hints))
    )
    sessions = [want.parameter for want in wants if want.gift is not Gift.CONTEXT]
    if len(sessions) > 1:
        raise RegistrationError(f"{where}: a run has one transaction; ask for one session, not {sessions}")
    return wants


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Resolve each parameter's annotation on its own; what a function returns does not matter here."""
    plain = inspect.unwrap(function)
    hints: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(plain).items():
        if name != "return":
            hints[name] = _resolved(name, annotation, plain.__globals__, where)
    return hints


def _resolved(name: str, annotation: object, names: dict[str, Any], where: str) -> Any:
    alone = SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(alone, names)[name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise RegistrationError(
            f'{where}: parameter "{name}": its annotation cannot be resolved ({error}); '
            "import what it uses at run time, not only for type checking"
        ) from error


def _must_be_given(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    known = hints.get(parameter.name)
    asks = isinstance(known, type) and issubclass(known, (AsyncSession, Session))
    return asks or known is TaskContext or parameter.default is parameter.empty


def _is_argument(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    known = hints.get(parameter.name)
    is_gift = isinstance(known, type) and issubclass(known, (AsyncSession, Session, TaskContext))
    return not is_gift and parameter.name != "session" and parameter.kind is not parameter.POSITIONAL_ONLY


def _want(parameter: inspect.Parameter, hint: Any, *, is_async: bool, where: str) -> Want:
    name = parameter.name
    if hint is None and name == "session":
        hint = AsyncSession if is_async else Session
    if isinstance(hint, type) and parameter.kind is not parameter.POSITIONAL_ONLY:
        if hint is TaskContext:
            return Want(name, Gift.CONTEXT, hint)
        if issubclass(hint, AsyncSession) and is_async:
            return Want(name, Gift.ASYNC_SESSION, hint)
        if issubclass(hint, Session) and not is_async:
            return Want(name, Gift.SESSION, hint)
    kind = "async def: AsyncSession or TaskContext" if is_async else "def: Session or TaskContext"
    raise RegistrationError(
        f'{where}: parameter "{name}" cannot be given; annotate it with what this kind of task can ask for ({kind}), '
        "or give it a default"
    )
