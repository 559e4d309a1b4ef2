"""The ledger of access tokens and prepaid quotas: in pages, and as a file."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.moments import read_moment
from quotaflow.edges.http.shapes import Id
from quotaflow.edges.http.token_shapes import ExportFormat, LogConditions, LogExport, LogQuery, TokenId
from quotaflow.edges.http.token_views import LogShown, log_shown
from quotaflow.edges.http.views import Listed
from quotaflow.ledger import LedgerRow
from quotaflow.store import LogFilter, Page

router = APIRouter(tags=["logs"])

ROWS = 1000  # read at once for an export
MEDIA_TYPES = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.JSONL: "application/jsonl"}

_COLUMNS = [column.name for column in fields(LogShown)]
_values = attrgetter(*_COLUMNS)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?").fullmatch
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute a cell that begins so


@router.get("/api/tokens/{token_id}/quota/logs")
async def list_token_logs(
    here: Here, token_id: TokenId, query: Annotated[LogQuery, Query()]
) -> Listed[LogShown]:
    """List what changed the units of a token, newest first."""
    await here.flow.tokens.get(token_id)
    return await _listed(here, token_id, query)


@router.get("/api/tokens/{token_id}/quota/logs/export", response_class=StreamingResponse)
async def export_token_logs(
    here: Here, token_id: TokenId, query: Annotated[LogExport, Query()]
) -> StreamingResponse:
    """Download what changed the units of a token, newest first."""
    await here.flow.tokens.get(token_id)
    return await _exported(here, token_id, query)


@router.get("/api/quotas/{quota_id:path}/logs")
async def list_quota_logs(here: Here, quota_id: Id, query: Annotated[LogQuery, Query()]) -> Listed[LogShown]:
    """List what changed the units of a prepaid quota, newest first, also after it was deleted."""
    listed = await _listed(here, quota_id, query)
    if not listed.items:
        await here.flow.quotas.get(quota_id)
    return listed


@router.get("/api/quotas/{quota_id:path}/logs/export", response_class=StreamingResponse)
async def export_quota_logs(
    here: Here, quota_id: Id, query: Annotated[LogExport, Query()]
) -> StreamingResponse:
    """Download what changed the units of a prepaid quota, newest first."""
    if not (await here.flow.tokens.logs(LogFilter(quota_id), None, 1)).items:
        await here.flow.quotas.get(quota_id)
    return await _exported(here, quota_id, query)


async def _listed(here: Context, subject: str, query: LogQuery) -> Listed[LogShown]:
    wanted = filter_of(subject, query, here.clock.wall_us(), query.request_id)
    page = await here.flow.tokens.logs(wanted, query.cursor, query.limit)
    return Listed([log_shown(row) for row in page.items], page.next_cursor)


async def _exported(here: Context, subject: str, query: LogExport) -> StreamingResponse:
    """Read the first page before answering: what cannot be read is refused, not cut off."""
    wanted = filter_of(subject, query, here.clock.wall_us())
    first = await here.flow.tokens.logs(wanted, None, ROWS)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", subject)
    return StreamingResponse(
        _written(here, wanted, first, WRITERS[query.format]),
        media_type=MEDIA_TYPES[query.format],
        headers={"Content-Disposition": f'attachment; filename="{name}-logs.{query.format}"'},
    )


def filter_of(subject: str, query: LogConditions, now_us: int, request_id: str | None = None) -> LogFilter:
    """Turn the query into what the store understands.

    :raises InvalidInput: a moment that is none.
    """
    return LogFilter(
        subject,
        action=query.action,
        request_id=request_id,
        since_us=None if query.since is None else read_moment(query.since, now_us, field="since"),
        until_us=None if query.until is None else read_moment(query.until, now_us, field="until"),
    )


Writer = Callable[[Sequence[LedgerRow], bool], str]


async def _written(
    here: Context, wanted: LogFilter, page: Page[LedgerRow], write: Writer
) -> AsyncIterator[str]:
    yield write(page.items, True)
    while page.next_cursor is not None:
        page = await here.flow.tokens.logs(wanted, page.next_cursor, ROWS)
        yield write(page.items, False)


def csv_of(rows: Sequence[LedgerRow], is_first: bool) -> str:
    """Write rows as CSV, the first ones below the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(_COLUMNS)
    writer.writerows([cell(value) for value in _values(log_shown(row))] for row in rows)
    return text.getvalue()


def jsonl_of(rows: Sequence[LedgerRow], _is_first: bool) -> str:
    """Write rows as JSON, one a line."""
    return "".join(
        [json.dumps(dict(zip(_COLUMNS, _values(log_shown(row)), strict=True))) + "\n" for row in rows]
    )


def cell(value: Any) -> Any:
    """Return what stands in a cell of CSV; an apostrophe keeps a spreadsheet from taking text for a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER(value):
        return f"'{value}"
    return value


WRITERS: dict[ExportFormat, Writer] = {ExportFormat.CSV: csv_of, ExportFormat.JSONL: jsonl_of}
