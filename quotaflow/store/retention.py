"""Removing what is old: a portion at a time, so that nobody waits long.

A chain of the ledger only ever loses its beginning, and never its end, so that what is left can always be verified.
The newest tick of a task stays too: recovery goes on from there.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Delete, Select, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.ledger import Action
from quotaflow.model import OPEN
from quotaflow.store import meta
from quotaflow.store.statements import among
from quotaflow.store.tables import (
    access_tokens,
    dead_letters,
    minute_totals,
    quota_metrics,
    quotas,
    token_quota_logs,
    traces,
)

LEDGER_CUT_US = "ledger_cut_us"  # in `meta`: before it, chains may have lost their beginning

_QUOTAS_PER_PORTION = 100

_log = token_quota_logs.c
_trace = traces.c
_minute = quota_metrics.c


class Part(StrEnum):
    """What is kept for a time."""

    LEDGER = "ledger"
    TRACES = "traces"
    DEAD_LETTERS = "dead_letters"
    METRICS = "metrics"


class Portion(NamedTuple):
    """What one transaction removed, and from where the next one goes on; None: nothing older is left."""

    removed: int
    reached: str | None


class Link(NamedTuple):
    """A row of the ledger: its place in the chain, and the row before it there, None at the chain's beginning."""

    event_id: str
    subject: str
    epoch: int
    seq: int
    action: Action
    before: str | None


def ledger_edge(cutoff_us: int) -> str:
    """Return what every event id of before the moment is less than."""
    return format(cutoff_us, "014x")


def beginnings(links: Sequence[Link], edge: str) -> tuple[list[str], set[str]]:
    """Return what can go so that every chain loses only its beginning, and what of the rest can go a portion later.

    Ids have the time of the process that asked, chains the order in which Redis decided: they differ by some
    milliseconds, so that a row can lie in an earlier portion than the one before it.
    """
    gone: list[str] = []
    held: dict[str, str] = {}  # row that stays -> first row of its chain that stays
    known: set[str] = set()
    for link in sorted(links, key=lambda link: (link.subject, link.epoch, link.seq)):
        if link.action is Action.ORPHAN or link.before is None or link.before in known:
            gone.append(link.event_id)
            known.add(link.event_id)
        else:
            held[link.event_id] = held.get(link.before, link.before)
    last = links[-1].event_id if links else ""
    return gone, {row for row, first in held.items() if last < first < edge}


async def _remove_ledger(connection: AsyncConnection, cutoff_us: int, limit: int, after: str) -> Portion:
    edge = ledger_edge(cutoff_us)
    query = select(_log.event_id, _log.subject, _log.epoch, _log.seq, _log.action, _before())
    query = query.where(_log.event_id > after, _log.event_id < edge).order_by(_log.event_id).limit(limit)
    links = [Link(*row) for row in await connection.execute(query)]
    gone, waiting = beginnings(links, edge)
    removed = await _delete_rows(connection, gone)
    if removed and cutoff_us > await meta.get_count(connection, LEDGER_CUT_US):
        await meta.put(connection, LEDGER_CUT_US, str(cutoff_us))
    if len(links) < limit:
        return Portion(removed, None)
    stop = next((place for place, link in enumerate(links) if link.event_id in waiting), 0)
    return Portion(removed, links[stop - 1].event_id)  # 0: nobody waits, or to wait would be to stand still


def _before() -> ColumnElement[str | None]:
    """Return the row before in the chain, by one look into the chain's index, whatever the planner guesses.

    In two steps: SQLite would read the chain from its beginning to compare (epoch, seq) as a pair.
    """
    c = token_quota_logs.alias("earlier").c
    chain = select(c.event_id).where(c.subject == _log.subject, c.action != Action.ORPHAN).limit(1)
    same = chain.where(c.epoch == _log.epoch, c.seq < _log.seq).order_by(c.seq.desc())
    last = chain.where(c.epoch < _log.epoch).order_by(c.epoch.desc(), c.seq.desc())
    return func.coalesce(same.scalar_subquery(), last.scalar_subquery())


async def _delete_rows(connection: AsyncConnection, event_ids: list[str]) -> int:
    """Delete these rows of the ledger but those with which a chain ends."""
    statement = delete(token_quota_logs).where(among(connection, _log.event_id, event_ids))
    for table in (access_tokens, quotas):
        c = table.c
        ends = select(c.id).where(c.id == _log.subject, c.epoch == _log.epoch, c.seq == _log.seq)
        statement = statement.where(~ends.exists())
    return await _count(connection, statement)


async def _remove_traces(connection: AsyncConnection, cutoff_us: int, limit: int, after: str) -> Portion:
    old = [_trace.claimed_us < cutoff_us, *([_trace.claimed_us > int(after)] if after else [])]
    bound = await _nth(connection, select(_trace.claimed_us).where(*old).order_by(_trace.claimed_us), limit)
    other = traces.alias("other")
    newest = select(func.max(other.c.scheduled_for_us)).where(other.c.task_id == _trace.task_id)
    statement = delete(traces).where(
        *old,
        *([_trace.claimed_us <= bound] if bound is not None else []),
        _trace.status.not_in(OPEN),
        or_(_trace.scheduled_for_us.is_(None), _trace.scheduled_for_us < newest.scalar_subquery()),
    )
    return Portion(await _count(connection, statement), None if bound is None else str(bound))


async def _remove_letters(connection: AsyncConnection, cutoff_us: int, limit: int, after: str) -> Portion:  # noqa: ARG001
    c = dead_letters.c
    old = select(c.event_id).where(c.created_us < cutoff_us).limit(limit)
    removed = await _count(connection, delete(dead_letters).where(c.event_id.in_(old)))
    return Portion(removed, "again" if removed == limit else None)


async def _remove_metrics(connection: AsyncConnection, cutoff_us: int, limit: int, after: str) -> Portion:
    """Go from quota to quota: minutes have no index of their own."""
    removed = 0
    for _ in range(_QUOTAS_PER_PORTION):
        quota_id = await connection.scalar(select(func.min(_minute.quota_id)).where(_minute.quota_id > after))
        if quota_id is None:
            totals = await _remove_totals(connection, cutoff_us, limit - removed)
            return Portion(removed + totals, None if removed + totals < limit else after)
        old = [_minute.quota_id == quota_id, _minute.minute_us < cutoff_us]
        query = select(_minute.minute_us).where(*old).order_by(_minute.minute_us)
        bound = await _nth(connection, query, limit - removed)
        upto = [] if bound is None else [_minute.minute_us <= bound]
        removed += await _count(connection, delete(quota_metrics).where(*old, *upto))
        if bound is not None:
            break
        after = quota_id
    return Portion(removed, after)


async def _remove_totals(connection: AsyncConnection, cutoff_us: int, limit: int) -> int:
    c = minute_totals.c
    old = select(c.minute_us).where(c.minute_us < cutoff_us).order_by(c.minute_us).limit(limit)
    return await _count(connection, delete(minute_totals).where(c.minute_us.in_(old)))


async def _nth(connection: AsyncConnection, query: Select[Any], number: int) -> Any:
    return await connection.scalar(query.offset(number - 1).limit(1))


async def _count(connection: AsyncConnection, statement: Delete) -> int:
    return (await connection.execute(statement)).rowcount


REMOVERS = {
    Part.LEDGER: _remove_ledger,
    Part.TRACES: _remove_traces,
    Part.DEAD_LETTERS: _remove_letters,
    Part.METRICS: _remove_metrics,
}
