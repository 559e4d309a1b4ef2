"""`quotaflow task`: look at tasks, pause them, change when they run, run them now."""

from typing import Annotated

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.show import Columns, Show
from quotaflow.edges.cli.words import say

app = typer.Typer(no_args_is_help=True, help=say("Tasks: look, pause, reschedule, run now."))

COLUMNS: Columns = {
    "id": "id",
    "name": "name",
    "cron": lambda task: task["cron_override"] or task["cron"],
    "quota": "quota_name",
    "enabled": "enabled",
    "paused": "paused",
    "last": "last_status",
    "next (UTC)": lambda task: " ".join(task["next_runs"][:1])[:19].replace("T", " "),
}

Id = Annotated[str, typer.Argument(metavar="ID", help=say("The task's id"))]


@remote(app, "list")
def list_tasks(daemon: Daemon, show: Show) -> None:
    """List all tasks with when they run next."""
    show.items(daemon.ask_all("/api/tasks"), COLUMNS)


@remote(app, "show")
def show_task(daemon: Daemon, show: Show, task_id: Id) -> None:
    """Show one task."""
    show.one(daemon.ask("GET", route("tasks", task_id)))


@remote(app, "pause")
def pause(daemon: Daemon, show: Show, task_id: Id) -> None:
    """Pause a task on all daemons."""
    show.one(daemon.ask("PATCH", route("tasks", task_id), {"paused": True}))


@remote(app, "resume")
def resume(daemon: Daemon, show: Show, task_id: Id) -> None:
    """Let a paused task run again."""
    show.one(daemon.ask("PATCH", route("tasks", task_id), {"paused": False}))


@remote(app, "cron")
def cron(
    daemon: Daemon,
    show: Show,
    task_id: Id,
    expression: Annotated[
        str | None, typer.Argument(help=say("Five fields, or six with seconds first, quoted"))
    ] = None,
) -> None:
    """Run a task by another cron expression; without one, by the code's again."""
    show.one(daemon.ask("PATCH", route("tasks", task_id), {"cron": expression}))


@remote(app, "trigger")
def trigger(daemon: Daemon, show: Show, task_id: Id) -> None:
    """Run a task now, under its quota."""
    show.one(daemon.ask("POST", route("tasks", task_id, "trigger")))
