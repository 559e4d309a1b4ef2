"""One batch of the journal, one transaction. Writing the same batch again changes nothing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.store import meta, metrics
from quotaflow.store.batch import (
    ERROR_CHARS,
    ERROR_TYPE_CHARS,
    OPEN,
    Batch,
    BatchResult,
    DeadLetter,
    TraceRow,
    storable,
)
from quotaflow.store.locks import Lock, lock
from quotaflow.store.statements import fetch_in, insert_new
from quotaflow.store.tables import dead_letters, traces

DOUBLE_CLAIM = "double_claim"

_COLUMNS = tuple(field.name for field in fields(TraceRow))
_values = attrgetter(*_COLUMNS)
_BIRTH = ("run_id", "task_id", "trigger", "scheduled_for_us", "claimed_us")  # what the end of a run cannot change
_CLOSE = traces.update().where(traces.c.run_id == bindparam("of_run"), traces.c.status.in_(OPEN))


class Plan(NamedTuple):
    """What a batch means for the rows that are there."""

    insert: list[TraceRow]
    update: list[TraceRow]


def decide(batch: Batch, is_open: Mapping[str, bool]) -> Plan:
    """Find the last word on each run. `is_open` knows the stored runs; a final word is never taken back."""
    words = {row.run_id: row for row in reversed(batch.opened)}
    updates: dict[str, TraceRow] = {}
    for row in batch.closed:
        if row.run_id not in is_open:
            _speak(words, row)
        elif is_open[row.run_id]:
            _speak(updates, row)
    return Plan([row for row in words.values() if row.run_id not in is_open], list(updates.values()))


def _speak(words: dict[str, TraceRow], row: TraceRow) -> None:
    before = words.get(row.run_id)
    if before is None or not before.status.is_final:
        words[row.run_id] = row


async def write_batch(connection: AsyncConnection, batch: Batch, now_us: int) -> BatchResult:
    """Write traces, dead letters, and the outcomes of the runs that become final here, which count once."""
    await lock(connection, Lock.JOURNAL)
    plan = decide(batch, await _is_open(connection, batch))
    await insert_new(connection, traces, [_as_row(row) for row in plan.insert])
    refused = await _refused(connection, plan.insert)
    await _update(connection, plan.update)
    inserted = [row for row in plan.insert if row.run_id not in refused]
    ended = [row for row in (*inserted, *plan.update) if row.status.is_final]
    await metrics.grow(connection, metrics.count_ended(ended))
    claims, letters = await _bury_claims(connection, list(refused.values()), now_us)
    letters += await _bury(connection, batch.dead, now_us)
    return BatchResult(inserted=len(inserted), ended=len(ended), double_claims=claims, dead=letters)


async def _is_open(connection: AsyncConnection, batch: Batch) -> dict[str, bool]:
    runs = list({row.run_id for rows in (batch.opened, batch.closed) for row in rows})
    known = await fetch_in(connection, select(traces.c.run_id, traces.c.status), traces.c.run_id, runs)
    return {run_id: not status.is_final for run_id, status in known}


async def _refused(connection: AsyncConnection, inserted: Sequence[TraceRow]) -> dict[str, TraceRow]:
    """Return the rows that are not there although just inserted: another run owns their tick."""
    ticks = {row.run_id: row for row in inserted if row.scheduled_for_us is not None}
    for (run_id,) in await fetch_in(connection, select(traces.c.run_id), traces.c.run_id, list(ticks)):
        del ticks[run_id]
    return ticks


async def _update(connection: AsyncConnection, rows: Sequence[TraceRow]) -> None:
    if rows:
        values = [
            {"of_run": row.run_id} | {k: v for k, v in _as_row(row).items() if k not in _BIRTH} for row in rows
        ]
        await connection.execute(_CLOSE, values)


def _as_row(row: TraceRow) -> dict[str, Any]:
    columns = dict(zip(_COLUMNS, _values(row), strict=True))
    if row.error is not None:
        columns["error"] = storable(row.error, ERROR_CHARS)
    if row.error_type is not None:
        columns["error_type"] = storable(row.error_type, ERROR_TYPE_CHARS)
    return columns


async def _bury_claims(connection: AsyncConnection, rows: list[TraceRow], now_us: int) -> tuple[int, int]:
    """Keep claim and end of a run whose tick belongs to another; count the run once."""
    letters = {f"{row.run_id}/{'end' if row.status.is_final else 'claim'}": row for row in rows}
    known = await _known_letters(connection, [f"{row.run_id}/{part}" for row in rows for part in ("claim", "end")])
    fresh = {row.run_id for row in rows} - {event_id.rpartition("/")[0] for event_id in known}
    await meta.increase(connection, meta.DOUBLE_CLAIMS, len(fresh))
    dead = [DeadLetter(event_id, json.dumps(_as_row(row)), DOUBLE_CLAIM) for event_id, row in letters.items()]
    return len(fresh), await _bury(connection, dead, now_us)


async def _bury(connection: AsyncConnection, letters: Iterable[DeadLetter], now_us: int) -> int:
    """Insert the dead letters that are new and return how many."""
    rows = {
        letter.event_id: {
            "event_id": letter.event_id,
            "payload": storable(letter.payload),
            "error": storable(letter.error, ERROR_CHARS),
            "created_us": now_us,
        }
        for letter in letters
    }
    for known in await _known_letters(connection, list(rows)):
        del rows[known]
    await insert_new(connection, dead_letters, list(rows.values()))
    return len(rows)


async def _known_letters(connection: AsyncConnection, event_ids: list[str]) -> list[str]:
    c = dead_letters.c.event_id
    return [event_id for (event_id,) in await fetch_in(connection, select(c), c, event_ids)]
