"""The ledger in SQL: rows are only added, and what each allowance has follows them in the same transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.ledger import TOKEN_PREFIX, Action, Balance, LedgerEntry, WorkOutcome, checksum_of
from quotaflow.model import QuotaKind
from quotaflow.store.statements import ALWAYS, fetch_in, insert_new, update
from quotaflow.store.tables import access_tokens, quotas, token_quota_logs

_c = token_quota_logs.c
_BALANCE = ("id", "remaining_micro", "epoch", "seq", "synced_us")
_TOTAL = ("id", "total_micro")
_OUTCOME = ("event_id", "execution_success", "execution_error_type", "execution_error_message")

Place = tuple[int, int]  # epoch, seq


class LedgerPlan(NamedTuple):
    """What changes mean for the rows that are there."""

    fresh: list[LedgerEntry]  # they continue the chain of their allowance
    old: list[LedgerEntry]  # at or before its end: written before, or orphans


def decide_ledger(entries: Iterable[LedgerEntry], ends: Mapping[str, Place]) -> LedgerPlan:
    """Tell what continues each chain from what does not. `ends` knows where the stored chains end."""
    plan = LedgerPlan([], [])
    reached = dict(ends)
    for entry in entries:
        place = (entry.epoch, entry.seq)
        if place > reached.get(entry.subject, (0, 0)):
            reached[entry.subject] = place
            plan.fresh.append(entry)
        else:
            plan.old.append(entry)
    return plan


def balances_of(entries: Iterable[LedgerEntry]) -> list[Balance]:
    """Return what each allowance has after these changes."""
    last: dict[str, LedgerEntry] = {}
    totals: dict[str, int] = {}
    for entry in entries:
        last[entry.subject] = entry
        if entry.total_micro is not None:
            totals[entry.subject] = entry.total_micro
    return [
        Balance(subject, entry.after_micro, entry.epoch, entry.seq, entry.created_us, totals.get(subject))
        for subject, entry in last.items()
    ]


async def write_ledger(
    connection: AsyncConnection, entries: Sequence[LedgerEntry], now_us: int
) -> tuple[LedgerEntry, ...]:
    """Add rows and return the orphans among them. The caller holds the journal's lock."""
    if not entries:
        return ()
    ends = await _ends(connection, {entry.subject for entry in entries})
    plan = decide_ledger(entries, ends)
    await insert_new(connection, token_quota_logs, [row_of(entry) for entry in plan.fresh])
    await set_balances(connection, balances_of(plan.fresh), now_us)
    return await _orphans(connection, plan.old)


def row_of(entry: LedgerEntry) -> tuple[Any, ...]:
    """Return the row of a change, in the table's column order."""
    return (*entry[:-1], checksum_of(entry), None, None, None)


async def set_balances(connection: AsyncConnection, balances: Sequence[Balance], now_us: int) -> None:
    """Let tokens and prepaid quotas show what they have."""
    for table in (access_tokens, quotas):
        some = [balance for balance in balances if _table_of(balance.subject) is table]
        rows = [(found.subject, found.remaining_micro, found.epoch, found.seq, now_us) for found in some]
        await update(connection, table, _BALANCE, ALWAYS, rows)
        totals = [(found.subject, found.total_micro) for found in some if found.total_micro is not None]
        await update(connection, table, _TOTAL, ALWAYS, totals)


def _table_of(subject: str) -> Table:
    return access_tokens if subject.startswith(TOKEN_PREFIX) else quotas


async def _ends(connection: AsyncConnection, subjects: Collection[str]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for table in (access_tokens, quotas):
        some = [subject for subject in subjects if _table_of(subject) is table]
        query = select(table.c.id, table.c.epoch, table.c.seq)
        rows = await fetch_in(connection, query, table.c.id, some)
        found |= {subject: (epoch, seq) for subject, epoch, seq in rows}
    return found


async def _orphans(connection: AsyncConnection, old: Sequence[LedgerEntry]) -> tuple[LedgerEntry, ...]:
    """Record what nobody recorded in its time, and return all of it, also what was recorded as an orphan before."""
    known = await fetch_in(
        connection, select(_c.event_id, _c.action), _c.event_id, [entry.event_id for entry in old]
    )
    actions = {row.event_id: row.action for row in known}
    orphans = [entry for entry in old if actions.get(entry.event_id, Action.ORPHAN) is Action.ORPHAN]
    rows = [row_of(entry._replace(action=Action.ORPHAN)) for entry in orphans]
    await insert_new(connection, token_quota_logs, rows)
    return tuple(orphans)


async def write_outcomes(connection: AsyncConnection, outcomes: Sequence[WorkOutcome]) -> None:
    """Write how paid work ended on the row of its charge; the last word stands."""
    if not outcomes:
        return
    words = {(outcome.subject, outcome.request_id): outcome for outcome in outcomes}
    query = select(_c.event_id, _c.subject, _c.request_id).where(_c.action == Action.CONSUME)
    rows = await fetch_in(connection, query, _c.request_id, list({request_id for _, request_id in words}))
    told = [_outcome_row(row, words) for row in rows if (row.subject, row.request_id) in words]
    await update(connection, token_quota_logs, _OUTCOME, ALWAYS, told)


def _outcome_row(row: Row[Any], words: Mapping[tuple[str, str], WorkOutcome]) -> tuple[Any, ...]:
    outcome = words[row.subject, row.request_id]
    return (row.event_id, outcome.success, outcome.error_type, outcome.error_message)


async def prepaid_among(connection: AsyncConnection, quota_ids: Iterable[str]) -> set[str]:
    """Return which of these quotas are prepaid."""
    query = select(quotas.c.id).where(quotas.c.kind == QuotaKind.ALLOWANCE)
    return {quota_id for (quota_id,) in await fetch_in(connection, query, quotas.c.id, list(quota_ids))}


async def quota_balances(connection: AsyncConnection) -> dict[str, Balance]:
    """Return where the chain of every prepaid quota ends."""
    c = quotas.c
    query = select(c.id, c.remaining_micro, c.epoch, c.seq, c.synced_us, c.total_micro)
    rows = await connection.execute(query.where(c.kind == QuotaKind.ALLOWANCE))
    return {
        subject: Balance(subject, remaining or 0, epoch, seq, at_us or 0, total)
        for subject, remaining, epoch, seq, at_us, total in rows
    }
