"""Reading the ledger: pages for people, charges by request id, the ends of chains for recovery."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import InvalidInput
from quotaflow.ledger import Action, LedgerRow
from quotaflow.store.paging import MOMENT_DIGITS, Page
from quotaflow.store.statements import fetch_in
from quotaflow.store.tables import token_quota_logs

_c = token_quota_logs.c


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows to list; None does not filter. `since_us` <= created < `until_us`."""

    subject: str
    action: Action | None = None
    request_id: str | None = None
    since_us: int | None = None
    until_us: int | None = None


async def list_logs(
    connection: AsyncConnection, wanted: LogFilter, cursor: str | None, limit: int
) -> Page[LedgerRow]:
    """Return rows newest first, those before the cursor.

    :raises InvalidInput: a cursor that is none of ours.
    """
    statement = select(token_quota_logs).where(_c.subject == wanted.subject)
    if wanted.action is not None:
        statement = statement.where(_c.action == wanted.action)
    if wanted.request_id is not None:
        statement = statement.where(_c.request_id == wanted.request_id)
    if wanted.since_us is not None:
        statement = statement.where(_c.created_us >= wanted.since_us)
    if wanted.until_us is not None:
        statement = statement.where(_c.created_us < wanted.until_us)
    if cursor is not None:
        statement = statement.where(tuple_(_c.epoch, _c.seq, _c.event_id) < _place(cursor))
    statement = statement.order_by(_c.epoch.desc(), _c.seq.desc(), _c.event_id.desc()).limit(limit + 1)
    found = [LedgerRow(*row) for row in await connection.execute(statement)]
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], f"{last.epoch}.{last.seq}.{last.event_id}" if last else None)


def _place(cursor: str) -> tuple[int, int, str]:
    epoch, _, rest = cursor.partition(".")
    seq, _, event_id = rest.partition(".")
    if not (
        epoch.isdecimal()
        and seq.isdecimal()
        and event_id
        and cursor.isascii()
        and max(len(epoch), len(seq)) <= MOMENT_DIGITS
    ):
        raise InvalidInput("cursor is not one that a list of logs gave", field="cursor")
    return int(epoch), int(seq), event_id


async def rows_of_requests(connection: AsyncConnection, request_ids: Sequence[str]) -> list[LedgerRow]:
    """Return what the ledger knows of these request ids, in the order in which it happened."""
    query = select(token_quota_logs).order_by(_c.event_id)
    return [LedgerRow(*row) for row in await fetch_in(connection, query, _c.request_id, request_ids)]


async def rows_after(
    connection: AsyncConnection,
    subject: str,
    epoch: int,
    seq: int,
    created_us: int = 0,
    action: Action | None = None,
) -> list[LedgerRow]:
    """Return the rows of a chain after a place, those not older than `created_us`; orphans are not of it."""
    statement = (
        select(token_quota_logs)
        .where(_c.subject == subject, tuple_(_c.epoch, _c.seq) > (epoch, seq), _c.created_us >= created_us)
        .where(_c.action != Action.ORPHAN if action is None else _c.action == action)
        .order_by(_c.epoch, _c.seq)
    )
    return [LedgerRow(*row) for row in await connection.execute(statement)]


async def rows_between(connection: AsyncConnection, since_event: str, request_prefix: str) -> list[LedgerRow]:
    """Return what is known of request ids that begin so and are not less than `since_event`, oldest first."""
    after, end = request_prefix + since_event, request_prefix + "g"  # hex digits end with f
    statement = (
        select(token_quota_logs).where(_c.request_id >= after, _c.request_id < end).order_by(_c.event_id)
    )
    return [LedgerRow(*row) for row in await connection.execute(statement)]


async def chain_page(
    connection: AsyncConnection, after: tuple[str, int, int, str], limit: int
) -> list[LedgerRow]:
    """Return rows in the order of their chains: by subject, epoch, seq and event id, those after a place."""
    order = (_c.subject, _c.epoch, _c.seq, _c.event_id)
    statement = select(token_quota_logs).where(tuple_(*order) > after).order_by(*order).limit(limit)
    return [LedgerRow(*row) for row in await connection.execute(statement)]


async def last_periods(connection: AsyncConnection, subjects: Sequence[str]) -> dict[str, int]:
    """Return when each allowance last began a period: its newest row that set it to its total."""
    newest = func.max(_c.created_us)
    query = select(_c.subject, newest).where(_c.action.in_((Action.INIT, Action.RESET))).group_by(_c.subject)
    found = await fetch_in(connection, query, _c.subject, subjects)
    return {subject: moment for subject, moment in found}  # noqa: C416  rows are no pairs to mypy
