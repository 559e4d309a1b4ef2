"""`quotaflow task`: look at tasks, pause them, change when they run, run them now."""

import json
from typing import Annotated, Any

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.show import Columns, Show
from quotaflow.edges.cli.words import say
from quotaflow.errors import InvalidInput

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


@remote(app, "skip")
def skip(
    daemon: Daemon,
    show: Show,
    task_id: Id,
    undo: Annotated[bool, typer.Option("--undo", help=say("Let it run after all"))] = False,
) -> None:
    """Leave out the next tick of a task, on all daemons."""
    show.one(daemon.ask("PATCH", route("tasks", task_id), {"skip_next": not undo}))


@remote(app, "rate")
def rate(
    daemon: Daemon,
    show: Show,
    task_id: Id,
    limit: Annotated[
        str | None, typer.Argument(metavar="RATE", help=say("Like 10/s, 100/m, 0.5/h; 0/s is no limit"))
    ] = None,
) -> None:
    """Let a task start so often, over all daemons; without a rate, as the code says."""
    show.one(daemon.ask("PATCH", route("tasks", task_id), {"rate_limit": limit}))


@remote(app, "trigger")
def trigger(
    daemon: Daemon,
    show: Show,
    task_id: Id,
    args: Annotated[
        str | None, typer.Option(help=say("Its arguments as JSON: a list, or an object of names"))
    ] = None,
    countdown: Annotated[float | None, typer.Option(help=say("Start in so many seconds"))] = None,
    eta: Annotated[str | None, typer.Option(help=say("Start at this moment, in ISO 8601"))] = None,
    expires: Annotated[
        float | None, typer.Option(help=say("Not worth starting after so many seconds"))
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help=say("End it after so many seconds"))] = None,
    soft_time_limit: Annotated[
        float | None, typer.Option(help=say("Tell it to end after so many seconds"))
    ] = None,
) -> None:
    """Run a task under its quota, now or later."""
    body = {
        "args": read_args(args),
        "countdown": countdown,
        "eta": eta,
        "expires": expires,
        "time_limit": time_limit,
        "soft_time_limit": soft_time_limit,
    }
    given = {name: value for name, value in body.items() if value is not None}
    show.one(daemon.ask("POST", route("tasks", task_id, "trigger"), given))


def read_args(text: str | None) -> Any:
    """Read arguments.

    :raises InvalidInput: it is not JSON.
    """
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--args is not JSON: {error}", field="args") from error
