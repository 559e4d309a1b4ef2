"""/traces: what ran and what did not, newest first, as the words above the list ask; its sums; all of it as a file."""

from dataclasses import dataclass, fields
from http import HTTPStatus
from operator import attrgetter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.exports import ROWS, exported
from quotaflow.edges.http.shapes import TraceQuery
from quotaflow.edges.http.token_shapes import ExportFormat
from quotaflow.edges.http.traces import wanted
from quotaflow.edges.http.views import TraceShown, trace_shown
from quotaflow.edges.web import querybar, runs
from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.edges.web.render import address, render
from quotaflow.errors import InvalidInput
from quotaflow.records import Trace
from quotaflow.store import Page, TaskRow

CHIPS = (
    ("status", "failed"),
    ("status", "limited"),
    ("status", "skipped"),
    ("status", "running"),
    ("status", "waiting"),
    ("trigger", "cron"),
    ("trigger", "manual"),
    ("trigger", "call"),
    ("since", "15m"),
    ("since", "1h"),
    ("since", "1d"),
)
COLUMNS = [column.name for column in fields(TraceShown)]
_values = attrgetter(*COLUMNS)


@dataclass(frozen=True, slots=True)
class Bar:
    """What was typed above the list, and what it means; while something is wrong with it everything is shown."""

    typed: str
    query: TraceQuery
    wrong: str | None = None

    @property
    def text(self) -> str | None:
        """What addresses carry."""
        return querybar.format(self.query) or None

    def narrowed(self, **conditions: str | None) -> str:
        """Return the address of the list with these conditions instead of those on the same fields; None drops one."""
        query = self.query.model_copy(update=conditions)
        return address("traces", q=querybar.format(query) or None)

    def chips(self) -> list[tuple[str, str, bool]]:
        """Return quick conditions: each as it is typed, the address that adds or drops it, and whether it holds."""
        found = []
        for field, value in CHIPS:
            holds = getattr(self.query, field) == value
            found.append((f"{field}:{value}", self.narrowed(**{field: None if holds else value}), holds))
        return found


async def show_all(request: Request) -> Response:
    """List runs; the first page goes on by itself."""
    here, bar = context_of(request), _bar(request)
    cursor = request.query_params.get("cursor")
    page = await here.flow.store.list_traces(wanted(bar.query, here.clock.wall_us()), cursor, limit=ON_A_PAGE)
    older = address("traces", q=bar.text, cursor=page.next_cursor) if page.next_cursor else None
    return render(
        request, "traces.html", status=_status(bar), bar=bar, rows=page.items, older=older,
        is_first=cursor is None, is_live=cursor is None and bar.wrong is None,
        newest=address("traces", q=bar.text), sums=address("traces", "summary", q=bar.text),
        files={kind: address("traces", "export", q=bar.text, format=kind) for kind in ExportFormat},
    )  # fmt: skip


async def summarize(request: Request) -> Response:
    """Sum up the tasks over the time that the query names."""
    here, bar = context_of(request), _bar(request)
    rows, following = await _tasks(here, bar.query.task, request.query_params.get("after", ""))
    span = wanted(bar.query, here.clock.wall_us())
    found = await here.flow.store.summarize([row.id for row in rows], span.since_us, span.until_us)
    after = address("traces", "summary", q=bar.text, after=following) if following else None
    return render(
        request, "trace_summary.html", status=_status(bar), bar=bar, next=after,
        tasks=[(row, found[row.id]) for row in rows], back=address("traces", q=bar.text),
    )  # fmt: skip


async def export(request: Request) -> Response:
    """Send all that the query finds, newest first, however much it is.

    :raises InvalidInput: a query or a format that is none.
    """
    here = context_of(request)
    query = querybar.parse(request.query_params.get("q", ""))
    kind = request.query_params.get("format", ExportFormat.CSV)
    if kind not in [*ExportFormat]:
        raise InvalidInput("format must be one of csv, jsonl", field="format")
    conditions = wanted(query, here.clock.wall_us())

    async def read(cursor: str | None) -> Page[Trace]:
        return await here.flow.store.list_traces(conditions, cursor, limit=ROWS)

    return await exported("traces", ExportFormat(kind), COLUMNS, read, values_of)


def values_of(row: Trace) -> tuple[Any, ...]:
    """Return what a file says of a run, by column."""
    values: tuple[Any, ...] = _values(trace_shown(row))
    return values


async def _tasks(here: Context, only: str | None, after: str) -> tuple[list[TaskRow], str | None]:
    """Return some tasks by id, and the id after which there are more: each costs a statement."""
    rows = sorted(await here.flow.store.list_tasks(), key=lambda row: row.id)
    rows = [row for row in rows if (only is None or row.id == only) and row.id > after]
    shown = rows[:ON_A_PAGE]
    return shown, shown[-1].id if len(rows) > ON_A_PAGE else None


def _bar(request: Request) -> Bar:
    typed = request.query_params.get("q", "").strip()
    try:
        return Bar(typed, querybar.parse(typed))
    except InvalidInput as error:
        return Bar(typed, TraceQuery(), str(error))


def _status(bar: Bar) -> HTTPStatus:
    return HTTPStatus.OK if bar.wrong is None else HTTPStatus.UNPROCESSABLE_ENTITY


routes = [
    Route("/traces", show_all, methods=["GET"]),
    Route("/traces/summary", summarize, methods=["GET"]),
    Route("/traces/export", export, methods=["GET"]),
    *runs.routes,
]
