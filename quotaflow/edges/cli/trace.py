"""`quotaflow trace`: what became of every tick, run and limited call."""

import contextlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.show import Columns, Item, Show, utc
from quotaflow.edges.cli.words import say
from quotaflow.model import Status

app = typer.Typer(no_args_is_help=True, help=say("Traces: what became of every tick, run and limited call."))

COLUMNS: Columns = {
    "run": "run_id",
    "task": "task_id",
    "trigger": "trigger",
    "claimed (UTC)": utc("claimed_at"),
    "status": "status",
    "ms": "latency_ms",
    "why": lambda trace: trace.get("error") or trace.get("reason"),
}
SUMMARY: Columns = {
    "task": "task_id",
    "runs": "count",
    "ok": "ok",
    "failed": "failed",
    "limited": "limited",
    "skipped": "skipped",
    "missed": "missed",
    "lost": "lost",
    "p50 ms": "p50_ms",
    "p95 ms": "p95_ms",
}
TAIL_EVERY_S = 1.0
TAIL_PAGE = 500
REMEMBERED = 5_000  # run ids; a run that ends shows once, when it has ended

Since = Annotated[str | None, typer.Option(help=say("Moment, or how long ago: 90s, 15m, 1h, 7d"))]
Limit = Annotated[int, typer.Option(min=1, max=1000, help=say("How many at most"))]
TaskId = Annotated[str | None, typer.Option("--task", help=say("Only this task"))]
QuotaId = Annotated[str | None, typer.Option("--quota", help=say("Only this quota"))]
Wanted = Annotated[
    str | None, typer.Option("--status", help=say("Only this status: ok, failed, limited, ..."))
]


@remote(app, "list")
def list_traces(
    daemon: Daemon,
    show: Show,
    task: TaskId = None,
    quota: QuotaId = None,
    status: Wanted = None,
    since: Since = None,
    text: Annotated[str | None, typer.Option(help=say("Words in the error"))] = None,
    limit: Limit = 20,
) -> None:
    """List traces, newest first."""
    wanted = {"task": task, "quota": quota, "status": status, "since": since, "text": text}
    show.items(daemon.ask("GET", "/api/traces", query=given(wanted) | {"limit": limit}), COLUMNS)


@remote(app, "show")
def show_trace(
    daemon: Daemon,
    show: Show,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help=say("The run's id"))],
) -> None:
    """Show one trace."""
    show.one(daemon.ask("GET", route("traces", run_id)))


@remote(app, "cancel")
def cancel(
    daemon: Daemon,
    show: Show,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help=say("The run's id"))],
) -> None:
    """End a run, wherever it waits or runs."""
    show.one(daemon.ask("POST", route("traces", run_id, "cancel")))


@remote(app, "summary")
def summary(daemon: Daemon, show: Show) -> None:
    """Show how each task fared over its newest 10,000 runs."""
    show.items(daemon.ask("GET", "/api/traces/summary"), SUMMARY)


@remote(app, "tail")
def tail(
    daemon: Daemon, show: Show, task: TaskId = None, quota: QuotaId = None, status: Wanted = None
) -> None:
    """Show traces as runs end, until Ctrl-C."""
    wanted = given({"task": task, "quota": quota, "status": status}) | {"limit": TAIL_PAGE}
    seen: OrderedDict[str, None] = OrderedDict()
    fresh(daemon.ask("GET", "/api/traces", query=wanted)["items"], seen)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(TAIL_EVERY_S)
            for trace in fresh(daemon.ask("GET", "/api/traces", query=wanted)["items"], seen):
                show.line(trace, COLUMNS)


def fresh(newest_first: Sequence[Item], seen: OrderedDict[str, None]) -> list[Item]:
    """Return the runs that have ended and were not seen before, oldest first, and remember them."""
    ended = [trace for trace in reversed(newest_first) if Status(trace["status"]).is_final]
    new = [trace for trace in ended if trace["run_id"] not in seen]
    seen.update(dict.fromkeys(trace["run_id"] for trace in new))
    while len(seen) > REMEMBERED:
        seen.popitem(last=False)
    return new


def given(wanted: Mapping[str, str | int | None]) -> dict[str, Any]:
    """Leave out what was not asked for."""
    return {key: value for key, value in wanted.items() if value is not None}
