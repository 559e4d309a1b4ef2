"""`quota_metrics`: what happened to a quota in one minute. Rows only grow, by differences that are counted once."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.model import Status
from quotaflow.store.batch import FAILURES, TraceRow
from quotaflow.store.statements import fetch_in, insert_or_replace
from quotaflow.store.tables import quota_metrics

MINUTE_US = 60_000_000
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)

Key = tuple[str, int]  # quota id, first microsecond of the minute


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

    def count(self, ended: TraceRow) -> None:
        """Count a run that became final; only what ran to an end of its own is a success or an error."""
        is_ok = ended.status is Status.OK
        if not is_ok and ended.status not in FAILURES and ended.status is not Status.LOST:
            return
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


def minute_of(moment_us: int) -> int:
    """Return the first microsecond of a moment's minute."""
    return moment_us - moment_us % MINUTE_US


def count_ended(rows: Iterable[TraceRow]) -> dict[Key, Minute]:
    """Count runs that became final under the minute of their end; runs without a quota are nobody's."""
    grown: dict[Key, Minute] = {}
    for row in rows:
        if row.quota_id is not None and row.finished_us is not None:
            grown.setdefault((row.quota_id, minute_of(row.finished_us)), Minute()).count(row)
    return grown


async def grow(connection: AsyncConnection, grown: Mapping[Key, Minute]) -> None:
    """Add to the stored minutes. The caller holds the journal's lock, so that nobody adds in between."""
    stored = await _read(connection, sorted(grown))
    sums = {key: stored.get(key, Minute()).plus(minute) for key, minute in grown.items()}
    rows = [
        {
            "quota_id": quota_id,
            "minute_us": minute_us,
            "allowed": total.allowed,
            "r429": total.r429,
            "ok": total.ok,
            "err": total.err,
            "latency": json.dumps(total.latency, separators=(",", ":")),
            "remaining": total.remaining,
        }
        for (quota_id, minute_us), total in sums.items()
    ]
    await insert_or_replace(connection, quota_metrics, rows)


async def _read(connection: AsyncConnection, keys: list[Key]) -> dict[Key, Minute]:
    c = quota_metrics.c
    rows = await fetch_in(connection, select(quota_metrics), tuple_(c.quota_id, c.minute_us), keys)
    return {
        (quota_id, minute_us): Minute(allowed, r429, ok, err, json.loads(latency), remaining)
        for quota_id, minute_us, allowed, r429, ok, err, latency, remaining in rows
    }
