"""Reading traces: lists for people, and what recovery needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import NotFound
from quotaflow.model import OPEN, Status, Trigger
from quotaflow.records import Trace
from quotaflow.store import meta
from quotaflow.store.paging import Page, place_of
from quotaflow.store.tables import dead_letters, tasks, traces

_c = traces.c
_NEWEST_FIRST = (_c.claimed_us.desc(), _c.run_id.desc())


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which traces to list; None does not filter.

    `since_us` <= claimed < `until_us`; `text` stands somewhere in the error, in either case.
    """

    task_id: str | None = None
    quota_id: str | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    since_us: int | None = None
    until_us: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """How many rows there are: traces by status (where there are any), dead letters, double claims ever."""

    traces: dict[Status, int]
    dead_letters: int
    double_claims: int


async def list_traces(
    connection: AsyncConnection, wanted: TraceFilter, cursor: str | None, limit: int
) -> Page[Trace]:
    """Return traces newest first, those older than the cursor.

    :raises InvalidInput: a cursor that is none of ours.
    """
    statement = select(traces).where(*_conditions(wanted)).order_by(*_NEWEST_FIRST).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(tuple_(_c.claimed_us, _c.run_id) < place_of(cursor, of="traces"))
    found = [Trace(*row) for row in await connection.execute(statement)]
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], f"{last.claimed_us}.{last.run_id}" if last else None)


def _conditions(wanted: TraceFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("task_id", "quota_id", "status", "trigger"):
        value = getattr(wanted, name)
        if value is not None:
            yield _c[name] == value
    if wanted.since_us is not None:
        yield _c.claimed_us >= wanted.since_us
    if wanted.until_us is not None:
        yield _c.claimed_us < wanted.until_us
    if wanted.text is not None:
        yield _c.error.icontains(wanted.text, autoescape=True)


async def get_trace(connection: AsyncConnection, run_id: str) -> Trace:
    """Return one trace.

    :raises NotFound: no such run is recorded.
    """
    row = (await connection.execute(select(traces).where(_c.run_id == run_id))).one_or_none()
    if row is None:
        raise NotFound(f"no trace has the run id {run_id!r}")
    return Trace(*row)


async def open_runs(connection: AsyncConnection) -> list[Trace]:
    """Return the runs that have not ended, oldest first, for recovery."""
    statement = select(traces).where(_c.status.in_(OPEN)).order_by(_c.claimed_us, _c.run_id)
    return [Trace(*row) for row in await connection.execute(statement)]


async def last_ticks(connection: AsyncConnection) -> dict[str, int]:
    """Return the latest recorded tick of every registered task that has one, for recovery."""
    latest = select(func.max(_c.scheduled_for_us)).where(_c.task_id == tasks.c.id).scalar_subquery()
    rows = await connection.execute(select(tasks.c.id, latest))
    return {task_id: moment for task_id, moment in rows if moment is not None}


async def count_rows(connection: AsyncConnection) -> StoreCounts:
    """Count for the statistics."""
    by_status = await connection.execute(select(_c.status, func.count()).group_by(_c.status))
    letters, claims = await count_faults(connection)
    return StoreCounts(traces=dict(by_status.all()), dead_letters=letters, double_claims=claims)


async def count_faults(connection: AsyncConnection) -> tuple[int, int]:
    """Count dead letters and double claims, not the traces, of which there may be millions."""
    letters = await connection.scalar(select(func.count()).select_from(dead_letters))
    return letters or 0, await meta.get_count(connection, meta.DOUBLE_CLAIMS)
