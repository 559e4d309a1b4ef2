"""How a function ended, judged by what it raised."""

import asyncio
from dataclasses import dataclass

from quotaflow.model import Reason, Status
from quotaflow.runner.limits import SoftTimeLimitExceeded

MAX_ERROR = 2_000  # characters of an error kept in a trace


@dataclass(frozen=True, slots=True)
class Ending:
    """The part of an outcome that the function decides."""

    status: Status
    reason: Reason | None = None
    error: BaseException | None = None


def ending_of(error: BaseException) -> Ending:
    """Name the ending of a function that raised."""
    if isinstance(error, BaseExceptionGroup):
        error = _soft_limit_in(error) or error
    if isinstance(error, SoftTimeLimitExceeded):
        return Ending(Status.SOFT_TIMEOUT, error=error)
    if isinstance(error, asyncio.CancelledError):
        return Ending(Status.CANCELLED, error=error)
    return Ending(Status.FAILED, error=error)


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
