"""The ledger of access tokens and prepaid quotas: in pages, and as a file."""

from dataclasses import fields
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.exports import ROWS, exported
from quotaflow.edges.http.moments import read_moment
from quotaflow.edges.http.shapes import Id
from quotaflow.edges.http.token_shapes import LogConditions, LogExport, LogQuery, TokenId
from quotaflow.edges.http.token_views import LogShown, log_shown
from quotaflow.edges.http.views import Listed
from quotaflow.ledger import LedgerRow
from quotaflow.store import LogFilter, Page

router = APIRouter(tags=["logs"])

COLUMNS = [column.name for column in fields(LogShown)]
_values = attrgetter(*COLUMNS)


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
    wanted = filter_of(subject, query, here.clock.wall_us())

    async def read(cursor: str | None) -> Page[LedgerRow]:
        return await here.flow.tokens.logs(wanted, cursor, ROWS)

    return await exported(f"{subject}-logs", query.format, COLUMNS, read, values_of)


def values_of(row: LedgerRow) -> tuple[Any, ...]:
    """Return what a file says of a row, by column."""
    values: tuple[Any, ...] = _values(log_shown(row))
    return values


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
