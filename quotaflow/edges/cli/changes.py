"""`quotaflow changes`: what people changed, and taking it back."""

from typing import Annotated

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.show import Columns, Show, utc
from quotaflow.edges.cli.trace import Limit, given
from quotaflow.edges.cli.words import say
from quotaflow.operators import Subject

app = typer.Typer(no_args_is_help=True, help=say("Changes: who changed what, before and after; undo."))

KIND = "admin-audit"
COLUMNS: Columns = {
    "id": "id",
    "at (UTC)": utc("at"),
    "actor": "actor",
    "act": "act",
    "kind": "kind",
    "subject": lambda entry: entry["subject"].replace("\n", " / "),
    "before": "before",
    "after": "after",
    "undoes": "undoes",
}

Id = Annotated[str, typer.Argument(metavar="ID", help=say("The change's id"))]


@remote(app, "list")
def list_changes(
    daemon: Daemon,
    show: Show,
    kind: Annotated[Subject | None, typer.Option(help=say("Only changes of this kind of thing"))] = None,
    subject: Annotated[
        str | None, typer.Option(help=say("Only what has this id, and the overrides of that quota"))
    ] = None,
    limit: Limit = 100,
) -> None:
    """List what people changed, newest first."""
    query = given({"kind": kind, "subject": subject, "limit": limit})
    show.items(daemon.ask("GET", f"/api/{KIND}", query=query), COLUMNS)


@remote(app, "undo")
def undo(daemon: Daemon, show: Show, entry_id: Id) -> None:
    """Take a change back, if nobody has changed the same since."""
    show.one(daemon.ask("POST", route(KIND, entry_id, "undo")))
