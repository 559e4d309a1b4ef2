"""The invariants, checked from SQL, Redis and the customers' logs; nothing of quotaflow's own code decides here."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from chaoslab.world import Sql


class Row(NamedTuple):
    """One row of the ledger, amounts in units."""

    subject: str
    epoch: int
    seq: int
    action: str
    before: float
    change: float
    after: float
    request_id: str | None
    event_id: str


LEDGER = (
    "SELECT subject, epoch, seq, action, quota_before, quota_change, quota_after, request_id, event_id"
    " FROM token_quota_logs ORDER BY subject, epoch, seq, event_id"
)
TOKENS = "SELECT id, remaining_quota, epoch, seq FROM access_tokens"


def violations(sql: Sql, redis: Redis, logs: Iterable[Path]) -> list[str]:
    """Return every violation as a line."""
    rows = [Row(*row) for row in sql.rows(LEDGER)]
    notes = [line.split() for log in logs if log.exists() for line in log.read_text().splitlines()]
    return [
        *chains(rows),
        *balances(rows, sql.rows(TOKENS), redis),
        *acknowledged(rows, notes),
        *phantoms(rows, notes),
        *unexplained(rows),
        *[f"dead letter {row}" for row in sql.rows("SELECT event_id, error FROM dead_letters")],
    ]


def chains(rows: list[Row]) -> Iterator[str]:
    """Complete: no gap, no fork, each row begins where the one before ended; never below zero."""
    last: Row | None = None
    for row in rows:
        if row.after < 0:
            yield f"over-admission: {row}"
        if abs(row.before + row.change - row.after) > 1e-9:
            yield f"sum: {row}"
        if last is not None and last.subject == row.subject:
            follows = row.seq == last.seq + 1 if row.epoch == last.epoch else row.seq == 1
            if not follows:
                yield f"missing or forked between {last} and {row}"
            elif row.before != last.after:
                yield f"broken between {last} and {row}"
        elif row.seq != 1:
            yield f"chain begins late: {row}"
        last = row


def balances(rows: list[Row], tokens: list[tuple[Any, ...]], redis: Redis) -> Iterator[str]:
    """Conservation: the sum of all changes is what the token shows, and what Redis has."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row.subject] += round(row.change * 1e6)
    for token_id, remaining, epoch, seq in tokens:
        found = redis.hmget(f"qf:{{p0}}:allowance:{token_id}", ["remaining", "epoch", "seq"])
        in_redis = tuple(int(value or -1) for value in found)
        shown = (round(remaining * 1e6), epoch, seq)
        if sums[token_id] != shown[0]:
            yield f"conservation: {token_id} has {shown[0]}, its rows sum to {sums[token_id]}"
        if in_redis != shown:
            yield f"redis and sql differ: {token_id} {in_redis} against {shown}"


def acknowledged(rows: list[Row], notes: list[list[str]]) -> Iterator[str]:
    """No lost acknowledgement, none counted twice: an acked id has one row, with what was left after it."""
    charged = by_request(row for row in rows if row.action == "consume")
    refunded = by_request(row for row in rows if row.action == "refund")
    for words in notes:
        found = charged.get(words[1], [])
        if words[0] == "ack" and (len(found) != 1 or found[0].after != float(words[2])):
            yield f"lost acknowledgement: {words}, rows {found}"
        if words[0] == "refunded" and words[1] not in refunded:
            yield f"lost refund: {words}"
    for request_id, found in [*charged.items(), *refunded.items()]:
        if len(found) > 1:
            yield f"done twice: {request_id}, rows {found}"


def by_request(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by request id."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.request_id or row.event_id, []).append(row)
    return found


def phantoms(rows: list[Row], notes: list[list[str]]) -> Iterator[str]:
    """Nothing that nobody asked for: a customer's id in the ledger was asked for, of that token, at that cost."""
    asked = {words[1]: (words[2], float(words[3])) for words in notes if words[0] == "intent"}
    for row in rows:
        is_customers = row.request_id is not None and row.request_id.startswith("c")
        if (
            is_customers
            and row.action == "consume"
            and asked.get(row.request_id or "") != (row.subject, -row.change)
        ):
            yield f"phantom: {row}"


def unexplained(rows: list[Row]) -> Iterator[str]:
    """In this world SQL always has everything before Redis loses it, so nothing may stay unexplained."""
    for row in rows:
        if row.action in ("gap", "orphan"):
            yield f"unexplained: {row}"
