"""How a task has fared, over its newest 10,000 runs, computed in SQL: rows never travel to be counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.model import FAILURES, Status
from quotaflow.store.tables import traces

NEWEST = 10_000


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Counts over a task's newest 10,000 runs.

    `failed` holds timeouts and dead runs too; what no count holds is open, interrupted or cancelled.
    Latencies are nearest-rank percentiles in milliseconds, None when nothing has run.
    """

    count: int
    ok: int
    failed: int
    limited: int
    skipped: int
    missed: int
    lost: int
    p50_ms: float | None
    p95_ms: float | None


async def summarize(
    connection: AsyncConnection,
    task_ids: Sequence[str],
    since_us: int | None = None,
    until_us: int | None = None,
) -> dict[str, TaskSummary]:
    """Return the summaries, by a statement per task: each reads 10,000 rows through an index and no more."""
    found = {}
    for task_id in task_ids:
        row = (await connection.execute(_summary(task_id, since_us, until_us))).one()
        found[task_id] = TaskSummary(*row)
    return found


def _summary(task_id: str, since_us: int | None, until_us: int | None) -> Select[*tuple[Any, ...]]:
    c = traces.c
    wanted = [c.task_id == task_id]
    if since_us is not None:
        wanted.append(c.claimed_us >= since_us)
    if until_us is not None:
        wanted.append(c.claimed_us < until_us)
    newest = (
        select(c.status, c.latency_ms).where(*wanted).order_by(c.claimed_us.desc()).limit(NEWEST).subquery()
    )
    latency = newest.c.latency_ms
    ranked = select(
        newest.c.status,
        latency,
        func.row_number().over(order_by=latency.asc().nulls_last()).label("rank"),
        func.count(latency).over().label("known"),
    ).subquery()
    groups = ((Status.OK,), FAILURES, (Status.LIMITED,), (Status.SKIPPED,), (Status.MISSED,), (Status.LOST,))
    counts = [func.count().filter(ranked.c.status.in_(group)) for group in groups]
    percentiles = [
        func.min(case((ranked.c.rank * 100 >= ranked.c.known * percent, ranked.c.latency_ms)))
        for percent in (50, 95)
    ]
    return select(func.count(), *counts, *percentiles).select_from(ranked)
