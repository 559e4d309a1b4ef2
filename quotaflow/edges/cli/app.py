"""All commands. Imported once the language is chosen."""

import contextlib
from importlib import metadata
from typing import Annotated

import typer

from quotaflow.edges.cli import (
    changes,
    cleanup,
    db,
    demo,
    doctor,
    ledger,
    operator,
    quota,
    run,
    task,
    token,
    trace,
    upstream,
)
from quotaflow.edges.cli.client import Daemon, command, remote
from quotaflow.edges.cli.show import Show
from quotaflow.edges.cli.words import say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=say("Scheduled and on-demand work under quotas."),
)
command(app, "run")(run.run)
command(app, "demo")(demo.demo)
app.add_typer(quota.app, name="quota")
app.add_typer(token.app, name="token")
app.add_typer(upstream.app, name="upstream")
app.add_typer(operator.app, name="operator")
app.add_typer(changes.app, name="changes")
app.add_typer(task.app, name="task")
app.add_typer(trace.app, name="trace")
command(app, "doctor")(doctor.doctor)
app.add_typer(ledger.app, name="ledger")
app.add_typer(db.app, name="db")
app.add_typer(cleanup.app, name="cleanup")


@app.callback()
def start(
    lang: Annotated[
        str | None, typer.Option(help=say("Language: en or zh; default by LC_ALL and LANG"))
    ] = None,
) -> None:
    """Take the options of every command; `--lang` was read before, by `words.choose`."""


@remote(app, "stats")
def stats(daemon: Daemon, show: Show) -> None:
    """Show how the daemon is doing."""
    show.one(daemon.ask("GET", "/api/stats"))


@command(app, "version")
def version() -> None:
    """Show the version."""
    with contextlib.suppress(metadata.PackageNotFoundError):  # run from its source, not installed
        typer.echo(metadata.version("quotaflow"))
