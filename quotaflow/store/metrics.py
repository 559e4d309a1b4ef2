"""`quota_metrics`: what happened to a quota in one minute, and `minute_totals`: what happened at all.

Rows only grow; every difference counts once.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.model import FAILURES, Status
from quotaflow.records import Trace
from quotaflow.store.statements import fetch_in, insert_or_replace
from quotaflow.store.tables import minute_totals, quota_metrics

MINUTE_US = 60_000_000
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)

OUTCOMES = (Status.OK, *FAILURES, Status.LOST)  # of runs that nobody stopped and nothing kept from running

Key = tuple[str | None, int]  # quota id, None of runs without one; first microsecond of the minute


@dataclass(slots=True)
class Minute:
    """Counts of one quota in one minute.

    `latency[i]` counts the runs that took at most BOUNDS_MS[i]; its last element those that took longer.
    `remaining` is the last level seen, in units.
    """

    allowed: int = 0
    r429: int = 0
    ok: int = 0
    err: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    remaining: float | None = None

    def count(self, ended: Trace) -> None:
        """Count a run that has an outcome."""
        is_ok = ended.status is Status.OK
        self.ok += is_ok
        self.err += not is_ok
        if ended.latency_ms is not None:
            self.latency[bisect_left(BOUNDS_MS, ended.latency_ms)] += 1

    def plus(self, newer: "Minute") -> "Minute":
        """Return the sum."""
        return Minute(
            allowed=self.allowed + newer.allowed,
            r429=self.r429 + newer.r429,
            ok=self.ok + newer.ok,
            err=self.err + newer.err,
            latency=[one + other for one, other in zip(self.latency, newer.latency, strict=True)],
            remaining=self.remaining if newer.remaining is None else newer.remaining,
        )

    def columns(self) -> tuple[int, int, int, int, str, float | None]:
        """Return the values as `quota_metrics` keeps them."""
        latency = json.dumps(self.latency, separators=(",", ":"))
        return self.allowed, self.r429, self.ok, self.err, latency, self.remaining


def minute_of(moment_us: int) -> int:
    """Return the first microsecond of a moment's minute."""
    return moment_us - moment_us % MINUTE_US


def count_ended(rows: Iterable[Trace]) -> dict[Key, Minute]:
    """Count outcomes under the minute of their end."""
    grown: dict[Key, Minute] = {}
    for row in rows:
        if row.status in OUTCOMES and row.finished_us is not None:
            grown.setdefault((row.quota_id, minute_of(row.finished_us)), Minute()).count(row)
    return grown


async def grow(connection: AsyncConnection, grown: Mapping[Key, Minute]) -> None:
    """Add to the stored minutes. The caller holds the journal's lock, so that nobody adds in between."""
    if not grown:
        return
    rows = []
    for minute_us in sorted({minute_us for _, minute_us in grown}):
        here = {
            quota_id: minute
            for (quota_id, at_us), minute in grown.items()
            if quota_id is not None and at_us == minute_us
        }
        stored = await _read(connection, minute_us, list(here))
        sums = {quota_id: stored.get(quota_id, Minute()).plus(minute) for quota_id, minute in here.items()}
        rows += [(quota_id, minute_us, *total.columns()) for quota_id, total in sums.items()]
    await insert_or_replace(connection, quota_metrics, rows)
    await _grow_totals(connection, grown)


async def _grow_totals(connection: AsyncConnection, grown: Mapping[Key, Minute]) -> None:
    sums = {minute_us: [0, 0, 0, 0] for _, minute_us in grown}
    stored = select(minute_totals).where(minute_totals.c.minute_us.in_(sums))
    sums |= {minute_us: counts for minute_us, *counts in await connection.execute(stored)}
    for (_, minute_us), minute in grown.items():
        more = (minute.allowed, minute.r429, minute.ok, minute.err)
        sums[minute_us] = [count + new for count, new in zip(sums[minute_us], more, strict=True)]
    rows = [(minute_us, *counts) for minute_us, counts in sums.items()]
    await insert_or_replace(connection, minute_totals, rows)


async def _read(connection: AsyncConnection, minute_us: int, quota_ids: list[str]) -> dict[str, Minute]:
    query = select(quota_metrics).where(quota_metrics.c.minute_us == minute_us)
    rows = await fetch_in(connection, query, quota_metrics.c.quota_id, quota_ids)
    return {
        quota_id: Minute(allowed, r429, ok, err, json.loads(latency), remaining)
        for quota_id, _, allowed, r429, ok, err, latency, remaining in rows
    }
