"""What every route works with; `create_app` puts it into the application's state."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from quotaflow.edges.http.auth import Customers, Door
from quotaflow.edges.http.pulse import Pulse
from quotaflow.edges.http.ratelimit import Policies
from quotaflow.edges.http.vitals import Vitals
from quotaflow.flow import Quotaflow
from quotaflow.timing import Clock


@dataclass(frozen=True, slots=True)
class Context:
    """The open Quotaflow, and what this edge keeps beside it."""

    flow: Quotaflow
    policies: Policies
    clock: Clock
    customers: Customers
    door: Door
    vitals: Vitals
    pulse: Pulse


def context_of(request: Request) -> Context:
    """Return the context of the application that a request came to."""
    return cast("Context", request.app.state.context)


async def _given(request: Request) -> Context:  # async: FastAPI would run a plain function in a thread
    return context_of(request)


Here = Annotated[Context, Depends(_given)]
