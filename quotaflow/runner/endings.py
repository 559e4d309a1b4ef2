"""How a function ended, judged by what it raised."""

import asyncio
from dataclasses import dataclass

from quotaflow.model import Reason, Status
from quotaflow.runner.limits import SoftTimeLimitExceeded

MAX_ERROR = 2_000  # characters of an error kept in a trace


@dataclass(frozen=True, slots=True)
class Ending:
    """The part of an outcome that the function decides. `delay_s`: try again after so many seconds."""

    status: Status
    reason: Reason | None = None
    error_type: str | None = None
    error: str | None = None
    delay_s: float | None = None


def reason_of(status: Status) -> Reason:
    """Say why somebody ended a run with this status: a person did, or it was taken for dead."""
    return Reason.CRASHED if status is Status.LOST else Reason.CANCELLED


def ending_of(error: BaseException, delay_s: float | None = None) -> Ending:
    """Name the ending of a function that raised."""
    if isinstance(error, BaseExceptionGroup):
        error = _soft_limit_in(error) or error
    status = Status.FAILED
    if isinstance(error, SoftTimeLimitExceeded):
        status = Status.SOFT_TIMEOUT
    elif isinstance(error, asyncio.CancelledError):
        status = Status.CANCELLED
    return Ending(status, error_type=type(error).__name__, error=text_of(error), delay_s=delay_s)


def _soft_limit_in(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Find it where there is nothing else: a TaskGroup before Python 3.13 wraps what is raised in its block."""
    _, rest = group.split(SoftTimeLimitExceeded)
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if rest is None else None


def text_of(error: BaseException) -> str:
    """Return what an error says, cut to 2,000 characters, and such that it can be encoded.

    A file name in it may hold half a surrogate pair; its `__str__` may itself raise.
    """
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001  anything may be in there
        text = f"its text cannot be read: {type(broken).__name__}"
    return text[:MAX_ERROR].encode("utf-8", "backslashreplace").decode()[:MAX_ERROR]
