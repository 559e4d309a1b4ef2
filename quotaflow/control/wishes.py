"""What somebody who triggers a task may ask for: arguments, a later start, an end, limits of its own. Pure."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from quotaflow.errors import InvalidInput
from quotaflow.runner.options import TimeLimits, is_seconds
from quotaflow.runner.registry import Task, limits_of
from quotaflow.runs import Plan

ARGS_BYTES = 65_536
LONGEST_S = 366 * 86_400.0


Args = Sequence[Any] | Mapping[str, Any] | None


class WishNames(TypedDict, total=False):
    """The wishes beside `args`, by name."""

    countdown: float | None
    eta: datetime | None
    expires: float | datetime | None
    time_limit: float | None
    soft_time_limit: float | None


@dataclass(frozen=True, slots=True)
class Wishes:
    """A trigger's wishes. Seconds; moments are aware datetimes.

    `args`: positional, or by name. `countdown` or `eta`: it starts no earlier. `expires`: seconds from now or a moment,
    after which it is not worth starting. `time_limit`, `soft_time_limit`: instead of the task's own.
    """

    args: Args = None
    countdown: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None


NONE = Wishes()


def planned(wishes: Wishes, task: Task, config: TimeLimits, now_us: int) -> tuple[Plan, int]:
    """Check them; returns the run's plan, and the moment before which it does not start (0: at once).

    :raises InvalidInput: naming what does not fit the task.
    """
    limits_of(task, config, TimeLimits(wishes.time_limit, wishes.soft_time_limit))
    if wishes.countdown is not None and wishes.eta is not None:
        raise InvalidInput("countdown and eta are two words for one thing; give one", field="eta")
    if wishes.countdown is not None:
        not_before_us = _moment_us(wishes.countdown, now_us, "countdown")
    else:
        not_before_us = 0 if wishes.eta is None else _moment_us(wishes.eta, now_us, "eta")
    expires_us = 0 if wishes.expires is None else _moment_us(wishes.expires, now_us, "expires")
    if expires_us and expires_us <= max(now_us, not_before_us):
        raise InvalidInput("expires must be later than the start", field="expires")
    args = bound_args(task, wishes.args)
    return Plan(args, wishes.time_limit, wishes.soft_time_limit, expires_us=expires_us), max(0, not_before_us)


def _moment_us(given: object, now_us: int, field: str) -> int:
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise InvalidInput(f"{field} needs a time zone", field=field)
        moment_us = round(given.timestamp() * 1e6)
        if moment_us > now_us + LONGEST_S * 1e6:
            raise InvalidInput(f"{field} must be within a year", field=field)
        return moment_us
    if not is_seconds(given, most=LONGEST_S):
        raise InvalidInput(f"{field} must be a number of seconds, 0 to {LONGEST_S:.0f}", field=field)
    return now_us + round(float(str(given)) * 1e6)


def bound_args(task: Task, args: Args) -> str | None:
    """Match arguments with the parameters that the task does not get anyway; as JSON by name.

    :raises InvalidInput: one is missing or too many, or JSON cannot carry it.
    """
    if args is not None and (isinstance(args, str | bytes) or not isinstance(args, Sequence | Mapping)):
        raise InvalidInput("args must be a list, or a mapping of names to values", field="args")
    gifts = {want.parameter for want in task.wants}
    signature = inspect.signature(task.function)
    free = [each for each in signature.parameters.values() if each.name not in gifts]
    positional, named = ((), args) if isinstance(args, Mapping) else (tuple(args or ()), {})
    try:
        bound = inspect.Signature(free).bind(*positional, **named)
    except TypeError as error:
        raise InvalidInput(f"args: {error}", field="args") from error
    if not bound.arguments:
        return None
    if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in free):
        raise InvalidInput(f'"{task.id}" takes *args or **kwargs; name its parameters', field="args")
    try:
        text = json.dumps(bound.arguments, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"args cannot be written as JSON: {error}", field="args") from error
    if len(text) > ARGS_BYTES:
        raise InvalidInput(f"args must be at most {ARGS_BYTES} bytes of JSON", field="args")
    return text
