"""The three decorators. They register the function and give it back with its signature untouched."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, ParamSpec, TypeVar, Unpack

from quotaflow.amounts import check_id, cost_micro
from quotaflow.errors import InvalidInput, RegistrationError
from quotaflow.model import TaskKind
from quotaflow.runner.calls import limited
from quotaflow.runner.injection import wants_of
from quotaflow.runner.options import (
    Isolation,
    RunOptions,
    TimeLimits,
    check_names,
    fields_of,
    is_seconds,
    merged,
    wait_of,
)
from quotaflow.runner.registry import REGISTRY, Task

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


def SchedulerTask(  # noqa: N802  reads as a noun where it is used
    *,
    id: str,  # noqa: A002
    name: str,
    cron: str | None = None,
    timezone: str | None = None,
    description: str | None = None,
    misfire: str = "skip",
    **options: Unpack[RunOptions],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a function by cron, or when it is triggered, without a quota.

    :param id: unique in the process and in the store; at most 128 bytes.
    :param cron: 5 fields, or 6 with seconds first; `@daily` and friends. None runs it only when triggered; it may then
        have parameters, which the trigger's `args` fill.
    :param timezone: IANA name; default `scheduler.timezone`.
    :param misfire: what becomes of moments that passed unclaimed: "skip", "coalesce" or "catchup(n)".
    :param options: time limits, rate limit, retries, overlap: see RunOptions.
    :raises RegistrationError: at import, naming the place.
    """
    check_names(options)

    def register(function: Callable[P, R]) -> Callable[P, R]:
        where = where_is(function)
        task = Task(
            id=id,
            name=name,
            kind=TaskKind.SCHEDULER,
            function=function,
            where=where,
            wants=wants_of(function, where, takes_args=cron is None),
            cron=cron,
            timezone=timezone,
            description=description,
            misfire=misfire,
            **_options(options, where),
        )
        REGISTRY.add(checked(task))
        return function

    return register


def LimitTask(  # noqa: N802
    *,
    id: str,  # noqa: A002
    name: str,
    quota_name: str,
    cron: str | None = None,
    timezone: str | None = None,
    description: str | None = None,
    cost: float = 1,
    misfire: str = "skip",
    on_limit: str = "skip",
    on_missing: Literal["skip", "allow"] = "skip",
    **options: Unpack[RunOptions],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a function by cron if its quota has enough units.

    The parameters are those of SchedulerTask, and:

    :param quota_name: the quota's `name`; it may be made later, until then ticks are skipped.
    :param cost: units each run takes, a multiple of 0.000001.
    :param on_limit: what becomes of a run that its quota refuses: "skip" (it is traced as limited), "wait(n)" (it
        waits in Redis up to n seconds, in order, and holds no worker), or "wait", up to a day.
    :param on_missing: "allow" runs it although the quota is missing or disabled.
    """
    check_names(options)

    def register(function: Callable[P, R]) -> Callable[P, R]:
        where = where_is(function)
        task = Task(
            id=id,
            name=name,
            kind=TaskKind.LIMIT,
            function=function,
            where=where,
            wants=wants_of(function, where, takes_args=cron is None),
            cron=cron,
            timezone=timezone,
            quota_name=quota_name,
            description=description,
            cost_micro=_cost(cost, where),
            misfire=misfire,
            allow_missing=_allows(on_missing, where),
            max_wait=_at(where, wait_of, on_limit),
            **_options(options, where),
        )
        REGISTRY.add(checked(task))
        return function

    return register


def LimitCallTask(  # noqa: N802
    *,
    id: str,  # noqa: A002
    name: str,
    quota_name: str,
    description: str | None = None,
    cost: float = 1,
    max_wait: float = 31.2,
    on_missing: Literal["skip", "allow"] = "skip",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make every call of a function take units first, waiting for them in arrival order.

    :param max_wait: seconds a call may wait; then, or as soon as that is certain, it raises QuotaExceeded.
    :param on_missing: "allow" calls through although the quota is missing or disabled.

    The call raises NotFound or QuotaDisabled without a usable quota, NotOpen where no Quotaflow is open. An
    `async def` stays one; a plain `def` must be called in a worker thread.
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        task = Task(
            id=id,
            name=name,
            kind=TaskKind.CALL,
            function=function,
            where=where_is(function),
            quota_name=quota_name,
            description=description,
            cost_micro=_cost(cost, where_is(function)),
            allow_missing=_allows(on_missing, where_is(function)),
            max_wait=max_wait,
        )
        task = checked(task)
        REGISTRY.add(task)
        return limited(task, function)

    return register


def where_is(function: Callable[..., Any]) -> str:
    """Return `file:line` of a function.

    :raises RegistrationError: it is something else that can be called.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        raise RegistrationError(f"{function!r} is not a function; decorate a `def` or an `async def`")
    return f"{code.co_filename}:{code.co_firstlineno}"


def checked(task: Task) -> Task:
    """Check what does not need the other rooms; ids come back as they are stored, in NFC.

    :raises RegistrationError: naming the place.
    """
    try:
        task = replace(task, id=check_id(task.id))
        if task.quota_name is not None:
            task = replace(task, quota_name=check_id(task.quota_name, field="quota_name"))
    except InvalidInput as error:
        raise RegistrationError(f"{task.where}: {error}") from error
    wrong = next(_faults(task), None)
    if wrong is not None:
        raise RegistrationError(f'{task.where}: "{task.id}": {wrong}')
    return task


def _faults(task: Task) -> Iterator[str]:
    is_async = inspect.iscoroutinefunction(task.function)
    try:
        merged(TimeLimits(), TimeLimits(task.time_limit, task.soft_time_limit), TimeLimits())
    except InvalidInput as error:
        yield str(error)
    if task.soft_time_limit is not None and not is_async and task.isolation is Isolation.THREAD:
        yield 'a plain def in a thread cannot be interrupted softly; use time_limit, or isolation="process"'
    if not is_seconds(task.max_wait):
        yield "max_wait must be a number of seconds, 0 or more"
    if inspect.isgeneratorfunction(task.function) or inspect.isasyncgenfunction(task.function):
        yield "a generator does its work after it has returned; decorate the function that consumes it"


def _options(options: RunOptions, where: str) -> dict[str, Any]:
    return _at(where, fields_of, options)


def _at(where: str, read: Callable[[V], R], value: V) -> R:
    """Read a value; what is wrong with it is said with its place."""
    try:
        return read(value)
    except InvalidInput as error:
        raise RegistrationError(f"{where}: {error}") from error


def _cost(value: object, where: str) -> int:
    return _at(where, cost_micro, value)


def _allows(on_missing: str, where: str) -> bool:
    if on_missing not in ("skip", "allow"):
        raise RegistrationError(f'{where}: on_missing must be "skip" or "allow", not {on_missing!r}')
    return on_missing == "allow"
