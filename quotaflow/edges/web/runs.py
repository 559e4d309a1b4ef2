"""/traces/RUN: what happened to one run, why it ended so and what would help; and cancelling it."""

import re
from collections.abc import Awaitable
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.amounts import MICRO, check_id
from quotaflow.control.quotas import QuotaView
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.web.advice import advice_of
from quotaflow.edges.web.forms import UNKNOWN, Form, form_of, wrong_of
from quotaflow.edges.web.render import address, redirect, render
from quotaflow.edges.web.steps import line_of, steps_of
from quotaflow.errors import Conflict, InvalidInput, NotFound
from quotaflow.records import Trace
from quotaflow.runner.registry import REGISTRY

T = TypeVar("T")

YOUNG_US = 600 * MICRO  # a run is in SQL after a second or two, and later when the journal is behind
AHEAD_US = 60 * MICRO  # clocks of processes differ by less than that
_MADE_AT = re.compile(r"([0-9a-f]{14})-[0-9a-f-]+").fullmatch  # see ids.Ids


async def show(request: Request) -> Response:
    """Show one run."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Cancel a run that is waiting or under way."""
    form, run_id = await form_of(request), _id(request)
    if form.do != "cancel":
        raise InvalidInput(UNKNOWN)
    try:
        was = await context_of(request).flow.runs.cancel(run_id, actor=operator_of(request).name)
    except Conflict as error:
        return await _show(request, form.refused(wrong_of(error, lambda _: False)))
    done = "The run is cancelled." if was == "waiting" else "The run will be stopped within a second."
    return redirect(address("traces", run_id), done)


async def _show(request: Request, form: Form) -> Response:
    here, run_id = context_of(request), _id(request)
    trace = await _or_none(here.flow.store.get_trace(run_id))
    now_us = here.clock.wall_us()
    if trace is None:
        return _unknown(request, run_id, now_us)
    view = await _quota(here, trace)
    steps = steps_of(trace)
    declared = REGISTRY.get(trace.task_id)
    return render(
        request, "run.html", status=form.status, form=form, trace=trace, view=view, steps=steps,
        line=line_of(trace, steps, now_us), task=await _or_none(here.flow.store.get_task(trace.task_id)),
        advice=advice_of(trace, view.quota if view else None, declared.cost_micro if declared else None),
    )  # fmt: skip


def _unknown(request: Request, run_id: str, now_us: int) -> Response:
    """Say that a run is not there: not yet, which its id tells, or not at all.

    Of the first the status is 200: browsers report each look at a page that is not found as an error.
    """
    made = _MADE_AT(run_id)
    age_us = now_us - int(made[1], 16) if made else YOUNG_US
    is_young = -AHEAD_US < age_us < YOUNG_US
    status = HTTPStatus.OK if is_young else HTTPStatus.NOT_FOUND
    return render(request, "run_unknown.html", status=status, run_id=run_id, is_young=is_young)


async def _quota(here: Context, trace: Trace) -> QuotaView | None:
    return await _or_none(here.flow.quotas.get(trace.quota_id)) if trace.quota_id else None


async def _or_none(found: Awaitable[T]) -> T | None:
    try:
        return await found
    except NotFound:
        return None


def _id(request: Request) -> str:
    return check_id(request.path_params["run_id"])


routes = [
    Route("/traces/{run_id:path}", show, methods=["GET"]),
    Route("/traces/{run_id:path}", change, methods=["POST"]),
]
