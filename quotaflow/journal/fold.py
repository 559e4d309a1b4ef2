"""Turn journal facts into rows. Pure: the same facts always give the same rows."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from quotaflow import facts
from quotaflow.ledger import Action, LedgerEntry, WorkOutcome
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Batch, DeadLetter, Trace

UNCHARGED = (
    Status.LIMITED,
    Status.SKIPPED,
    Status.MISSED,
    Status.WAITING,
)  # nothing was taken, whatever was asked


class Fact(NamedTuple):
    """One fact as it stands in the stream."""

    event_id: str
    line: str


def fold(some: Sequence[Fact]) -> Batch:
    """Read facts into traces. The end of a run stands for its beginning when both are there."""
    dead: list[DeadLetter] = []
    some, prepaid = _parted(some)
    closed = _read([fact for fact in some if fact.line.startswith(facts.CLOSE)], facts.CLOSE, dead)
    # Usually both are there; what is in `closed` need not be read.
    others = [fact for fact in some if not fact.line.startswith(facts.CLOSE) and _run_id(fact) not in closed]
    opened = _read(others, facts.OPEN, dead)
    runs = Batch(
        [row for run_id, row in opened.items() if run_id not in closed], [*closed.values()], dead=dead
    )
    return _with_prepaid(runs, prepaid) if prepaid else runs


def _parted(some: Sequence[Fact]) -> tuple[list[Fact], list[Fact]]:
    """Tell the facts about runs from those about prepaid units."""
    runs: list[Fact] = []
    prepaid: list[Fact] = []
    for fact in some:
        (prepaid if fact.line.startswith(_PREPAID) else runs).append(fact)
    return runs, prepaid


_PREPAID = (f"{facts.LEDGER} ", f"{facts.WORK} ")


def _with_prepaid(batch: Batch, some: Sequence[Fact]) -> Batch:
    for fact in some:
        try:
            if fact.line.startswith(facts.LEDGER):
                batch.ledger.append(entry(fact))
            else:
                batch.outcomes.append(outcome(facts.decode(fact.line)[1]))
        except (KeyError, ValueError) as error:
            batch.dead.append(_letter(fact, error))
    return batch


def _letter(fact: Fact, error: Exception) -> DeadLetter:
    return DeadLetter(fact.event_id, fact.line, f"not a fact: {type(error).__name__}: {error}")


def entry(fact: Fact) -> LedgerEntry:
    """Read one ledger fact, which a script wrote in this order.

    :raises ValueError: it is not one, or its amounts do not fit together.
    """
    found = _LEDGER(fact.line)
    if found is None:
        raise ValueError("its fields are not those of a ledger fact")
    subject, action, before_, change_, after_, epoch, seq, at, rest = found.groups()
    before, change, after = int(before_), int(change_), int(after_)
    if before + change != after:
        raise ValueError("before and change do not make after")
    if "%" in subject:
        subject = unquote(subject)
    more = facts.decode(facts.LEDGER + rest)[1] if rest else {}
    total, get = more.get("total"), more.get
    return _new(
        LedgerEntry,
        (
            fact.event_id, subject, _ACTIONS[action], before, change, after, int(epoch), int(seq),
            get("request"), get("actor"), int(at), None if total is None else int(total),
        ),
    )  # fmt: skip


_LEDGER = re.compile(
    r"ledger subject=(\S+) action=(\w+) before=(\d+) change=(-?\d+) after=(\d+) epoch=(\d+) seq=(\d+) at=(\d+)( .+)?"
).fullmatch
_ACTIONS = {str(action): action for action in Action}  # a fifth of what Action(word) takes
_new = tuple.__new__  # what NamedTuple's own way calls in the end, at a third of the time


def outcome(fields: dict[str, str]) -> WorkOutcome:
    """Read how work ended; fails as `trace` does."""
    return WorkOutcome(
        fields["subject"],
        fields["request"],
        fields["success"] == "1",
        fields.get("error_type"),
        fields.get("error"),
    )


def _run_id(fact: Fact) -> str:
    return fact.event_id.removesuffix(".open")


def _read(some: Sequence[Fact], wanted: str, dead: list[DeadLetter]) -> dict[str, Trace]:
    rows: dict[str, Trace] = {}
    for fact in some:
        try:
            kind, fields = facts.decode(fact.line)
            if kind != wanted:
                raise ValueError(kind)  # noqa: TRY301  one place buries what is no fact
            row = trace(fields)
            earlier = rows.get(row.run_id)
            # The first end stands: a run that was closed as lost stays lost, however late it finishes.
            if earlier is None or not earlier.status.is_final:
                rows[row.run_id] = row
        except (KeyError, ValueError) as error:
            dead.append(_letter(fact, error))
    return rows


def trace(fields: dict[str, str]) -> Trace:
    """Read one fact's fields.

    :raises KeyError: a field is missing.
    :raises ValueError: a number is not one, or a word is not known.
    """
    get = fields.get
    status = Status(fields["status"])
    return Trace(
        run_id=fields["run"],
        task_id=fields["task"],
        trigger=Trigger(fields["trigger"]),
        status=status,
        claimed_us=int(fields["claimed"]),
        quota_id=get("quota"),
        scheduled_for_us=_integer(get("at")),
        started_us=_integer(get("started")),
        finished_us=_integer(get("finished")),
        reason=Reason(fields["reason"]) if "reason" in fields else None,
        attempt=int(fields["attempt"]),
        latency_ms=_number(get("latency_ms")),
        wait_ms=_number(get("wait_ms")),
        cost_micro=_spent(get("plan")) if status in UNCHARGED else int(fields["cost"]),
        error_type=get("error_type"),
        error=get("error"),
        instance_id=fields["instance"],
        due_us=_integer(get("due")),
        tries=get("tries"),
        plan=None if status.is_final else get("plan"),
    )


def _spent(plan: str | None) -> int:
    """Return what earlier attempts were charged."""
    return 0 if plan is None else int(json.loads(plan).get("spent_micro", 0))


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
