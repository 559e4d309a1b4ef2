"""All commands. Imported once the language is chosen."""

from importlib import metadata
from typing import Annotated

import typer

from quotaflow.edges.cli import db, demo, doctor, quota, run, task, trace
from quotaflow.edges.cli.client import Daemon, remote
from quotaflow.edges.cli.show import Show
from quotaflow.edges.cli.words import say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=say("Scheduled and on-demand work under quotas."),
)
app.command("run", help=say("Run the daemon."))(run.run)
app.command("demo", help=say("Run the daemon with example tasks and watch it work."))(demo.demo)
app.add_typer(quota.app, name="quota")
app.add_typer(task.app, name="task")
app.add_typer(trace.app, name="trace")
app.command("doctor", help=say("Check the servers and files that a daemon would use."))(doctor.doctor)
app.add_typer(db.app, name="db")


@app.callback()
def start(
    lang: Annotated[str | None, typer.Option(help=say("Language: en or zh; default by LC_ALL and LANG"))] = None,
) -> None:
    """Take the options of every command; `--lang` was read before, by `words.choose`."""


@app.command(help=say("Show how the daemon is doing."))
@remote
def stats(daemon: Daemon, show: Show) -> None:
    show.one(daemon.ask("GET", "/api/stats"))


@app.command(help=say("Show the version."))
def version() -> None:
    """Print the installed version."""
    typer.echo(metadata.version("quotaflow"))
