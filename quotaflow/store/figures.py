"""The figures that pages show, by statements that indexes serve; `pulse` reads a row for each quota and task too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    cast,
    extract,
    func,
    literal,
    null,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.amounts import MICRO
from quotaflow.ledger import Action
from quotaflow.model import OPEN, Reason, Status
from quotaflow.records import Trace
from quotaflow.store.columns import Moment
from quotaflow.store.metrics import minute_of
from quotaflow.store.statements import POSTGRESQL, among, fetch_in
from quotaflow.store.tables import (
    admin_audit,
    minute_totals,
    quota_metrics,
    quota_snapshots,
    quotas,
    tasks,
    token_quota_logs,
    traces,
)

REFUSED = (Status.LIMITED, Status.SKIPPED, Status.MISSED)
SPENDING = (Action.CONSUME, Action.REFUND)
SKEW_US = 60_000_000  # clocks of processes differ by less than a minute
NEWEST_MINUTES = 2  # a run that ended in the last second of a minute is written in the next one

_c = traces.c
_log = token_quota_logs.c


class MinuteFigures(NamedTuple):
    """What happened in the minute that begins at `minute_us`.

    `failed` holds timeouts, dead and lost runs too. `remaining`: the last level seen, in units; of one quota only.
    """

    minute_us: int
    allowed: int
    limited: int
    ok: int
    failed: int
    remaining: float | None


class Result(NamedTuple):
    """How a run stands or ended. `latency_ms` is None while it has not run to an end."""

    run_id: str
    status: Status
    claimed_us: int
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Refusals:
    """The runs of a quota that did not run: some, newest first, and how many there are by reason."""

    newest: list[Trace]
    counts: dict[Reason | None, int]


async def minutes(
    connection: AsyncConnection, since_us: int, until_us: int, quota_id: str | None
) -> list[MinuteFigures]:
    """Return the minutes in which anything happened, oldest first: of a quota, or of everything."""
    table = minute_totals if quota_id is None else quota_metrics
    c = table.c
    level = null() if quota_id is None else c.remaining
    query = select(c.minute_us, c.allowed, c.r429, c.ok, c.err, level).order_by(c.minute_us)
    query = query.where(c.minute_us >= minute_of(since_us), c.minute_us < until_us)
    if quota_id is not None:
        query = query.where(c.quota_id == quota_id)
    return [MinuteFigures(*row) for row in await connection.execute(query)]


async def minutes_of(
    connection: AsyncConnection, quota_ids: Sequence[str], since_us: int, until_us: int
) -> dict[str, list[MinuteFigures]]:
    """Return the minutes of each of these quotas in which anything happened, oldest first."""
    found: dict[str, list[MinuteFigures]] = {quota_id: [] for quota_id in quota_ids}
    c = quota_metrics.c
    query = select(c.quota_id, c.minute_us, c.allowed, c.r429, c.ok, c.err, c.remaining)
    query = query.where(c.minute_us >= minute_of(since_us), c.minute_us < until_us)
    for quota_id, *row in await fetch_in(connection, query.order_by(c.minute_us), c.quota_id, quota_ids):
        found[quota_id].append(MinuteFigures(*row))
    return found


async def last_results(
    connection: AsyncConnection, task_ids: Sequence[str], limit: int
) -> dict[str, list[Result]]:
    """Return the newest runs of each of these registered tasks, newest first.

    Two looks into an index for each task, one for the oldest moment that is wanted: to rank all its runs would read
    all of them.
    """
    found: dict[str, list[Result]] = {task_id: [] for task_id in task_ids}
    for task_id, *row in await connection.execute(_newest(among(connection, tasks.c.id, task_ids), limit)):
        if len(found[task_id]) < limit:  # several may have been claimed in the microsecond of the oldest
            found[task_id].append(Result(*row))
    return found


def _newest(wanted: ColumnElement[bool], limit: int) -> Select[*tuple[Any, ...]]:
    c = traces.alias("newer").c
    oldest = select(c.claimed_us).where(c.task_id == tasks.c.id).order_by(c.claimed_us.desc())
    edge = func.coalesce(oldest.offset(limit - 1).limit(1).scalar_subquery(), literal(0, Moment))
    edges = select(tasks.c.id, edge.label("edge_us")).where(wanted).cte("edges")
    edges = edges.prefix_with("MATERIALIZED", dialect=POSTGRESQL)  # or it would look for it at each trace
    return (
        select(_c.task_id, _c.run_id, _c.status, _c.claimed_us, _c.latency_ms)
        .join_from(edges, traces, (_c.task_id == edges.c.id) & (_c.claimed_us >= edges.c.edge_us))
        .order_by(_c.task_id, _c.claimed_us.desc(), _c.run_id.desc())
    )


async def refusals(connection: AsyncConnection, quota_id: str, since_us: int, limit: int) -> Refusals:
    """Return what did not run under a quota, and why."""
    wanted = (_c.quota_id == quota_id, _c.claimed_us >= since_us, _c.status.in_(REFUSED))
    newest = select(traces).where(*wanted).order_by(_c.claimed_us.desc(), _c.run_id.desc()).limit(limit)
    counts = select(_c.reason, func.count()).where(*wanted).group_by(_c.reason)
    return Refusals(
        newest=[Trace(*row) for row in await connection.execute(newest)],
        counts=dict((await connection.execute(counts)).all()),
    )


async def spent(
    connection: AsyncConnection, subject: str, since_us: int, until_us: int, buckets: int
) -> list[int]:
    """Return the micro-units that were charged less those given back, by equal parts of the time; oldest first.

    The chain is read from its newest end until it is old enough: an index on the time of each row would cost every
    charge a write. A row belongs to the part in which its whole second lies.
    """
    began = await _place_before(connection, subject, since_us)
    part = (_second(connection) - since_us // MICRO) * buckets // max(1, (until_us - since_us) // MICRO)
    query = select(part.label("part"), func.sum(_log.change_micro)).where(
        _log.subject == subject,
        tuple_(_log.epoch, _log.seq) > began,
        _log.created_us >= since_us,
        _log.created_us < until_us,
        _log.action.in_(SPENDING),
    )
    sums = [0] * buckets
    for number, change_micro in await connection.execute(query.group_by("part")):
        sums[min(number, buckets - 1)] -= change_micro
    return sums


async def _place_before(connection: AsyncConnection, subject: str, since_us: int) -> tuple[int, int]:
    """Return a place in the chain before which everything is older, read from its newest end.

    Chains have the order in which Redis decided, rows the clock of the process that asked.
    """
    query = select(_log.epoch, _log.seq).where(
        _log.subject == subject, _log.created_us < since_us - SKEW_US, _log.action != Action.ORPHAN
    )
    row = (
        await connection.execute(query.order_by(_log.epoch.desc(), _log.seq.desc()).limit(1))
    ).one_or_none()
    return (-1, -1) if row is None else (row[0], row[1])


def _second(connection: AsyncConnection) -> ColumnElement[int]:
    """Return the whole second in which a row of the ledger was made."""
    if connection.dialect.name == POSTGRESQL:
        return cast(func.floor(extract("epoch", _log.created_us)), BigInteger)
    return cast(func.strftime("%s", func.substr(_log.created_us, 1, 19)), BigInteger)


async def pulse(connection: AsyncConnection) -> tuple[Any, ...]:
    """Return what differs whenever traces, figures, tasks or quotas may have changed.

    Claims change the newest trace, other moves of a run how many are open or the counts of the minute.
    """
    newest = select(minute_totals).order_by(minute_totals.c.minute_us.desc()).limit(NEWEST_MINUTES)
    totals = [tuple(row) for row in await connection.execute(newest)]
    still_open = select(_c.status, func.count()).where(_c.status.in_(OPEN)).group_by(_c.status)
    open_runs = sorted(tuple(row) for row in await connection.execute(still_open))
    newest_run = select(_c.run_id).order_by(_c.claimed_us.desc(), _c.run_id.desc()).limit(1)
    marks = select(newest_run.scalar_subquery(), *_marks())
    return (*totals, *open_runs, *(await connection.execute(marks)).one())


def _marks() -> list[ScalarSelect[Any]]:
    columns = (
        _log.event_id,
        admin_audit.c.id,
        quota_snapshots.c.synced_us,
        tasks.c.updated_us,
        quotas.c.updated_us,
    )
    newest = [select(func.max(column)).scalar_subquery() for column in columns]
    return [*newest, select(func.count()).select_from(quotas).scalar_subquery()]
