"""One batch of the journal, one transaction. Writing the same batch again changes nothing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.ledger import WorkOutcome
from quotaflow.model import OPEN, Status
from quotaflow.records import Batch, BatchResult, DeadLetter, Trace
from quotaflow.store import ledger, meta, metrics
from quotaflow.store.locks import Lock, lock
from quotaflow.store.statements import fetch_in, insert_new, update
from quotaflow.store.tables import dead_letters, traces

DOUBLE_CLAIM = "double_claim"

# What becomes of a run cannot change who it was.
_BIRTH = ("run_id", "task_id", "trigger", "scheduled_for_us", "claimed_us")
_END = ("run_id", *[name for name in Trace._fields if name not in _BIRTH])
_end_values = attrgetter(*_END)
_IS_OPEN = traces.c.status.in_([literal_column(f"'{status}'") for status in OPEN])


class Plan(NamedTuple):
    """What a batch means for the rows that are there."""

    claims: list[Trace]  # new runs
    ends: list[Trace]  # new runs that have ended or moved on already
    updates: list[Trace]  # of open runs


def decide(batch: Batch, is_open: Mapping[str, bool]) -> Plan:
    """Find the last word on each run. `is_open` knows which closed runs are stored; a final word stands."""
    claims: dict[str, Trace] = {}
    ends: dict[str, Trace] = {}
    updates: dict[str, Trace] = {}
    for row in batch.opened:
        if row.run_id not in is_open:
            claims.setdefault(row.run_id, row)
    for row in batch.closed:
        words = updates if row.run_id in is_open else ends
        before = words.get(row.run_id) or claims.get(row.run_id)
        if is_open.get(row.run_id, True) and not (before and before.status.is_final):
            words[row.run_id] = row
    return Plan(
        [row for row in claims.values() if row.run_id not in ends], [*ends.values()], [*updates.values()]
    )


async def write_batch(
    connection: AsyncConnection, batch: Batch, now_us: int, incarnation: int | None = None
) -> BatchResult:
    """Write traces, ledger, dead letters, and the outcomes of the runs that end here, which count once."""
    await lock(connection, Lock.JOURNAL)
    if incarnation is not None:
        await meta.check_incarnation(connection, incarnation)
    plan = decide(batch, await _is_open(connection, batch.closed))
    refused = await _insert(connection, [*plan.claims, *plan.ends])
    await update(connection, traces, _END, _IS_OPEN, [_end_values(row) for row in plan.updates])
    moved = (*plan.ends, *plan.updates)
    ended = [row for row in moved if row.status.is_final and row.run_id not in refused]
    await metrics.grow(connection, metrics.count_ended(ended))
    orphans = await ledger.write_ledger(connection, batch.ledger, now_us)
    await ledger.write_outcomes(connection, [*batch.outcomes, *await _paid(connection, ended)])
    claims, letters = await _bury_claims(connection, list(refused.values()), now_us)
    letters += await _bury(connection, batch.dead, now_us)
    return BatchResult(double_claims=claims, dead=letters, orphans=orphans)


async def _paid(connection: AsyncConnection, ended: Sequence[Trace]) -> list[WorkOutcome]:
    """Return how the runs ended that drew on a prepaid quota; their run id is the request id of the charge."""
    paying = [row for row in ended if row.quota_id is not None and row.cost_micro]
    prepaid = await ledger.prepaid_among(connection, {str(row.quota_id) for row in paying})
    return [
        WorkOutcome(
            str(row.quota_id), row.run_id, row.status is Status.OK, row.error_type or _why(row), row.error
        )
        for row in paying
        if row.quota_id in prepaid
    ]


def _why(row: Trace) -> str | None:
    return None if row.status is Status.OK else str(row.status)


async def _is_open(connection: AsyncConnection, rows: Sequence[Trace]) -> dict[str, bool]:
    query = select(traces.c.run_id, traces.c.status)
    known = await fetch_in(connection, query, traces.c.run_id, [row.run_id for row in rows])
    return {run_id: not status.is_final for run_id, status in known}


async def _insert(connection: AsyncConnection, rows: Sequence[Trace]) -> dict[str, Trace]:
    """Insert what is new; return what is not there afterwards, because another run owns its tick."""
    written = await insert_new(connection, traces, rows)
    if written == len(rows):
        return {}
    missing = {row.run_id: row for row in rows}
    for (run_id,) in await fetch_in(connection, select(traces.c.run_id), traces.c.run_id, list(missing)):
        del missing[run_id]
    return missing


async def _bury_claims(connection: AsyncConnection, rows: list[Trace], now_us: int) -> tuple[int, int]:
    """Keep claim and end of a run whose tick belongs to another; count the run once."""
    letters = {f"{row.run_id}/{'end' if row.status.is_final else 'claim'}": row for row in rows}
    known = await _known_letters(
        connection, [f"{row.run_id}/{part}" for row in rows for part in ("claim", "end")]
    )
    fresh = {row.run_id for row in rows} - {event_id.rpartition("/")[0] for event_id in known}
    await meta.increase(connection, meta.DOUBLE_CLAIMS, len(fresh))
    dead = [
        DeadLetter(event_id, json.dumps(row._asdict()), DOUBLE_CLAIM) for event_id, row in letters.items()
    ]
    return len(fresh), await _bury(connection, dead, now_us)


async def _bury(connection: AsyncConnection, letters: Iterable[DeadLetter], now_us: int) -> int:
    """Insert the dead letters that are new and return how many."""
    rows = {letter.event_id: (letter.event_id, letter.payload, letter.error, now_us) for letter in letters}
    for known in await _known_letters(connection, list(rows)):
        del rows[known]
    await insert_new(connection, dead_letters, list(rows.values()))
    return len(rows)


async def _known_letters(connection: AsyncConnection, event_ids: list[str]) -> list[str]:
    c = dead_letters.c.event_id
    return [event_id for (event_id,) in await fetch_in(connection, select(c), c, event_ids)]
