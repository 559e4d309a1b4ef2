"""Ways to decorate a function, and why it is refused."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from quotaflow import LimitCallTask, LimitTask, SchedulerTask
from quotaflow.errors import RegistrationError

Decorate = Callable[..., Callable[..., Any]]


def scheduled(**options: Any) -> Callable[..., Any]:
    return SchedulerTask(**{"id": "t", "name": "T", "cron": "@daily"} | options)


def limited(**options: Any) -> Callable[..., Any]:
    return LimitTask(**{"id": "t", "name": "T", "quota_name": "q"} | options)


def called(**options: Any) -> Callable[..., Any]:
    return LimitCallTask(**{"id": "t", "name": "T", "quota_name": "q"} | options)


async def job() -> None:
    """Do nothing."""


def plain_job() -> None:
    """Do nothing."""


every_decorator = pytest.mark.parametrize("decorate", [scheduled, limited, called])


with_a_cost = pytest.mark.parametrize("decorate", [limited, called])


with_limits = pytest.mark.parametrize("decorate", [scheduled, limited])


def refusal(decorate: Callable[..., Any], function: Callable[..., Any] = job) -> str:
    """Return why a function is refused; the message begins with the place."""
    place = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}: "
    with pytest.raises(RegistrationError, match="^" + re.escape(place)) as caught:
        decorate(function)
    return str(caught.value).split(": ", 1)[1]
