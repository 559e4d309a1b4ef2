"""`quotaflow cleanup`: the daemon's removal of old rows."""

from typing import Annotated

import typer

from quotaflow.edges.cli.client import Daemon, remote
from quotaflow.edges.cli.show import Show
from quotaflow.edges.cli.words import say

app = typer.Typer(no_args_is_help=True, help=say("Old rows: remove them now, see when it was done."))

Days = Annotated[
    int | None, typer.Option(min=1, max=36_500, help=say("How long rows are kept; default retention.days"))
]
Force = Annotated[bool, typer.Option("--force", help=say("Also when retention.enabled is false"))]


@remote(app, "run")
def run(daemon: Daemon, show: Show, days: Days = None, force: Force = False) -> None:
    """Remove old rows now; the daemon goes on with it by itself."""
    show.one(daemon.ask("POST", "/api/cleanup/run", {"days": days, "force": force}))


@remote(app, "stats")
def stats(daemon: Daemon, show: Show) -> None:
    """Show how long rows are kept, and when they were and will be removed."""
    show.one(daemon.ask("GET", "/api/cleanup/stats"))
