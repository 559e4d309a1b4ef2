"""/api/traces: what ran, what did not, and why."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Here
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.moments import read_moment
from quotaflow.edges.http.shapes import Id, Nothing, TraceQuery
from quotaflow.edges.http.views import (
    CancelShown,
    Listed,
    TaskSummaryShown,
    TraceShown,
    summary_shown,
    trace_shown,
)
from quotaflow.store import TraceFilter

router = APIRouter(tags=["traces"])


@router.get("/api/traces")
async def list_traces(here: Here, query: Annotated[TraceQuery, Query()]) -> Listed[TraceShown]:
    """List runs, newest first: since <= claimed_at < until."""
    page = await here.flow.store.list_traces(
        wanted(query, here.clock.wall_us()), query.cursor, limit=query.limit
    )
    return Listed([trace_shown(row) for row in page.items], page.next_cursor)


@router.get("/api/traces/summary")
async def summarize_traces(here: Here) -> Listed[TaskSummaryShown]:
    """Sum up each task's newest 10,000 runs."""
    shown = [summary_shown(view) for view in await here.flow.tasks.all()]
    return Listed([summary for summary in shown if summary is not None])


@router.get("/api/traces/{run_id}")
async def get_trace(here: Here, run_id: Id) -> TraceShown:
    """Show one run. It is written within a second or two of its admission."""
    return trace_shown(await here.flow.store.get_trace(run_id))


@router.post("/api/traces/{run_id}/cancel", status_code=202, openapi_extra=takes(Nothing))
async def cancel_run(here: Here, request: Request, run_id: Id) -> CancelShown:
    """End a run: one that waits is cancelled now, one that runs within a second, wherever it runs."""
    await read(request, Nothing)
    return CancelShown(run_id, await here.flow.runs.cancel(run_id, actor=operator_of(request).name))


def wanted(query: TraceQuery, now_us: int) -> TraceFilter:
    """Turn the query into what the store understands.

    :raises InvalidInput: a moment that is none.
    """
    return TraceFilter(
        task_id=query.task,
        quota_id=query.quota,
        status=query.status,
        trigger=query.trigger,
        since_us=None if query.since is None else read_moment(query.since, now_us, field="since"),
        until_us=None if query.until is None else read_moment(query.until, now_us, field="until"),
        text=query.text,
    )
