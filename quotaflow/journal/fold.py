"""Turn journal facts into rows. Pure: the same facts always give the same rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from quotaflow import facts
from quotaflow.model import Reason, Status, Trigger

UNCHARGED = (Status.LIMITED, Status.SKIPPED, Status.MISSED)  # nothing was taken, whatever was asked

Columns = dict[str, Any]  # the columns of one trace; moments in microseconds, cost in micro-units


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact as it stands in the stream."""

    event_id: str
    line: str


@dataclass(frozen=True, slots=True)
class Dead:
    """A fact that cannot be stored, with the reason."""

    event_id: str
    payload: str
    error: str


@dataclass(slots=True)
class Folded:
    """What a batch of facts comes to."""

    opened: list[Columns] = field(default_factory=list)
    closed: list[Columns] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)


def fold(batch: Iterable[Fact]) -> Folded:
    """Read facts into trace rows. The end of a run stands for its beginning when the batch has both."""
    opened: dict[str, Columns] = {}
    closed: dict[str, Columns] = {}
    folded = Folded()
    for fact in batch:
        try:
            kind, fields = facts.decode(fact.line)
            row = columns(fields)
            if row["status"] in UNCHARGED:
                row["cost_micro"] = 0
            # The first end stands: a run that was closed as lost stays lost, however late it finishes.
            {facts.OPEN: opened, facts.CLOSE: closed}[kind].setdefault(row["run_id"], row)
        except (KeyError, ValueError) as error:
            folded.dead.append(Dead(fact.event_id, fact.line, f"not a fact: {type(error).__name__}: {error}"))
    folded.opened = [row for run_id, row in opened.items() if run_id not in closed]
    folded.closed = list(closed.values())
    return folded


def columns(fields: dict[str, str]) -> Columns:
    """Read one fact's fields.

    :raises KeyError: a field is missing.
    :raises ValueError: a number is not one, or a word is not known.
    """
    return {
        "run_id": fields["run"],
        "task_id": fields["task"],
        "quota_id": fields.get("quota"),
        "trigger": Trigger(fields["trigger"]),
        "scheduled_for_us": _integer(fields.get("at")),
        "claimed_us": int(fields["claimed"]),
        "started_us": _integer(fields.get("started")),
        "finished_us": _integer(fields.get("finished")),
        "status": Status(fields["status"]),
        "reason": Reason(fields["reason"]) if "reason" in fields else None,
        "attempt": int(fields["attempt"]),
        "latency_ms": _number(fields.get("latency_ms")),
        "wait_ms": _number(fields.get("wait_ms")),
        "cost_micro": int(fields["cost"]),
        "error_type": fields.get("error_type"),
        "error": fields.get("error"),
        "instance_id": fields["instance"],
    }


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
