"""`quotaflow operator`: who may look after the installation."""

from typing import Annotated

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.show import Columns, Show, utc
from quotaflow.edges.cli.words import say
from quotaflow.operators import Role

app = typer.Typer(no_args_is_help=True, help=say("Operators: people with a token and a role of their own."))

KIND = "operators"
PATH = f"/api/{KIND}"
COLUMNS: Columns = {
    "id": "id",
    "name": "name",
    "role": "role",
    "token": "prefix",
    "created (UTC)": utc("created_at"),
    "revoked (UTC)": utc("revoked_at"),
}


@remote(app, "list")
def list_operators(daemon: Daemon, show: Show) -> None:
    """List operators, newest first, revoked ones too."""
    show.items(daemon.ask_all(PATH), COLUMNS)


@remote(app, "add")
def add(
    daemon: Daemon,
    show: Show,
    name: Annotated[str, typer.Argument(metavar="NAME", help=say("What the record of changes calls it"))],
    role: Annotated[
        Role, typer.Option(help=say("viewer looks at everything and changes nothing; admin does everything"))
    ] = Role.VIEWER,
) -> None:
    """Make an operator; its token is shown only now."""
    show.one(daemon.ask("POST", PATH, {"name": name, "role": role}))


@remote(app, "revoke")
def revoke(
    daemon: Daemon,
    show: Show,
    operator_id: Annotated[str, typer.Argument(metavar="ID", help=say("Its id"))],
) -> None:
    """Refuse an operator's token, and sign its browsers out."""
    daemon.ask("DELETE", route(KIND, operator_id))
    show.done(say("revoked: {name}", name=operator_id))
