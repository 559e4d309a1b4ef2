"""The line that opens a run, and back: what waits in Redis or SQL is such a line, and no more is needed to run it."""

import json
from collections.abc import Mapping
from typing import Any

from quotaflow import facts
from quotaflow.model import Trigger
from quotaflow.records import Trace
from quotaflow.runs import PLAIN, Outcome, Plan, Run

ERROR_CHARS = 200  # of each earlier attempt's error
MAX_TRIES = 100

_KEPT = tuple(field for field in Plan._fields if field != "tries")


def opening(run: Run, instance: str, *, kind: str = facts.OPEN) -> str:
    """Write the line that opens a run; the script adds status, reason and moments. `kind` CLOSE moves one on."""
    fields = {**identity(run, instance), "plan": plan_text(run.plan), "tries": run.plan.tries}
    return facts.encode(kind, fields)


def identity(run: Run, instance: str) -> dict[str, facts.Value]:
    """Return what every line about a run says of it."""
    return {
        "run": run.run_id,
        "task": run.task_id,
        "quota": run.quota_id,
        "trigger": run.trigger,
        "at": run.scheduled_for_us,
        "cost": run.charged_micro,
        "attempt": run.attempt,
        "instance": instance,
    }


def reopening(row: Trace, *, kind: str = facts.OPEN) -> str:
    """Write it again from SQL."""
    fields: dict[str, facts.Value] = {
        "run": row.run_id,
        "task": row.task_id,
        "quota": row.quota_id,
        "trigger": row.trigger,
        "at": row.scheduled_for_us,
        "cost": row.cost_micro,
        "attempt": row.attempt,
        "instance": row.instance_id,
        "plan": row.plan,
        "tries": row.tries,
    }
    return facts.encode(kind, fields)


def run_of(line: str) -> Run:
    """Read a line that opens a run. Its cost, and whether it is claimed, are not in it.

    :raises KeyError, ValueError: it is not one.
    """
    _, fields = facts.decode(line)
    at = fields.get("at")
    return Run(
        run_id=fields["run"],
        task_id=fields["task"],
        trigger=Trigger(fields["trigger"]),
        scheduled_for_us=None if at is None else int(at),
        claimed_us=int(fields.get("claimed", 0)),
        quota_id=fields.get("quota"),
        cost_micro=0,
        attempt=int(fields["attempt"]),
        plan=plan_of(fields),
    )


def plan_text(plan: Plan) -> str | None:
    """Write what is particular to a run; None for nothing."""
    kept = {field: getattr(plan, field) for field in _KEPT if getattr(plan, field) != getattr(PLAIN, field)}
    return json.dumps(kept, separators=(",", ":")) if kept else None


def plan_of(fields: Mapping[str, str]) -> Plan:
    """Read it back from the fields of a line."""
    kept: dict[str, Any] = json.loads(fields["plan"]) if "plan" in fields else {}
    known = {field: value for field, value in kept.items() if field in _KEPT}  # another version may say more
    return Plan(**known, tries=fields.get("tries"))


def with_try(tries: str | None, outcome: Outcome) -> str:
    """Add an attempt to those before it: when it began and ended, its status and its error."""
    before: list[Any] = json.loads(tries) if tries else []
    this = [
        outcome.started_us,
        outcome.finished_us,
        outcome.status,
        outcome.error_type,
        (outcome.error or "")[:ERROR_CHARS] or None,
    ]
    return json.dumps([*before, this][-MAX_TRIES:], separators=(",", ":"), ensure_ascii=False)


def next_attempt(run: Run, tries: str, until_us: int, *, is_paid: bool) -> Run:
    """Return the run as it is tried again: what this attempt was charged is spent."""
    plan = run.plan._replace(tries=tries, until_us=until_us, is_paid=is_paid, spent_micro=run.charged_micro)
    return run._replace(attempt=run.attempt + 1, plan=plan)


def put_back(run: Run) -> Run:
    """Return an admitted run that could not begin: it keeps what it was charged, and is another leg of its attempt."""
    plan = run.plan._replace(is_paid=True, spent_micro=run.charged_micro, put_back=run.plan.put_back + 1)
    return run._replace(plan=plan)
