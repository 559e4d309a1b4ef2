"""The two tables at the end of the demo."""

import typer

from quotaflow.edges.cli.show import Columns, Item, table
from quotaflow.edges.cli.tally import QuotaTally, Tally, TaskTally
from quotaflow.edges.cli.words import say
from quotaflow.model import Status

SHOWN = (Status.OK, Status.FAILED, Status.LIMITED, Status.SKIPPED, Status.MISSED)
_TASKS: Columns = {
    "task": "task",
    "due": "due",
    **{status: status for status in SHOWN},
    "other": "other",
    "": "mark",
}
_QUOTAS: Columns = {"quota": "quota", "Redis": "redis", "/api/stats": "http", "SQL": "sql", "": "mark"}
_MARKS = {True: "✓", False: "✗"}


def _task_item(counted: TaskTally) -> Item:
    named: dict[str, int] = {status: counted.by_status.get(status, 0) for status in SHOWN}
    other = sum(counted.by_status.values()) - sum(named.values())
    return {
        "task": counted.task_id,
        "due": counted.due,
        **named,
        "other": other,
        "mark": _MARKS[counted.agrees],
    }


def _quota_item(counted: QuotaTally) -> Item:
    witnesses = {"redis": counted.redis, "http": counted.http, "sql": counted.sql}
    shown = {name: "/".join(map(str, seen)) if seen else None for name, seen in witnesses.items()}
    return {"quota": counted.quota_id, **shown, "mark": _MARKS[counted.agrees]}


def summarize(counted: Tally) -> None:
    """Show what was counted."""
    typer.echo()
    table(_TASKS, [_task_item(each) for each in counted.tasks])
    typer.echo("\n" + say("Decisions of each quota, allowed/limited, as three witnesses have them:"))
    table(_QUOTAS, [_quota_item(each) for each in counted.quotas])
    agreed, differing = say("every tick has its trace, and all counts agree"), say("the counts differ")
    typer.echo(f"\n{_MARKS[counted.agrees]} {agreed if counted.agrees else differing}")
