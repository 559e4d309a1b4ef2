"""`quotaflow quota`: look at quotas, define them, change them, take units."""

from typing import Annotated

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.show import Columns, Show
from quotaflow.edges.cli.words import say

app = typer.Typer(no_args_is_help=True, help=say("Quotas: look, define, change, take units."))

COLUMNS: Columns = {
    "id": "id",
    "name": "name",
    "remaining": "remaining",
    "capacity": "capacity",
    "refill/s": "refill_rate",
    "enabled": "enabled",
    "allowed": "allowed",
    "limited": "limited",
}

Id = Annotated[str, typer.Argument(metavar="ID", help=say("The quota's id"))]
Capacity = Annotated[float | None, typer.Option(help=say("The most it holds, in units"))]
RefillRate = Annotated[float | None, typer.Option(help=say("Units it gains each second"))]


@app.command("list", help=say("List all quotas with what they hold."))
@remote
def list_quotas(daemon: Daemon, show: Show) -> None:
    show.items(daemon.ask_all("/api/quotas"), COLUMNS)


@app.command("show", help=say("Show one quota."))
@remote
def show_quota(daemon: Daemon, show: Show, quota_id: Id) -> None:
    show.one(daemon.ask("GET", route("quotas", quota_id)))


@app.command("create", help=say("Define a quota; it is in force at once."))
@remote
def create(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    capacity: Annotated[float, typer.Option(help=say("The most it holds, in units"))],
    refill_rate: Annotated[float, typer.Option(help=say("Units it gains each second"))],
    name: Annotated[str | None, typer.Option(help=say("What tasks call it; default the id"))] = None,
) -> None:
    body = {"id": quota_id, "name": name or quota_id, "capacity": capacity, "refill_rate": refill_rate}
    show.one(daemon.ask("POST", "/api/quotas", json=body))


@app.command("set", help=say("Change a quota; it acts at once."))
@remote
def change(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    capacity: Capacity = None,
    refill_rate: RefillRate = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help=say("Switch it on or off"))] = None,
) -> None:
    given = {"capacity": capacity, "refill_rate": refill_rate, "enabled": enabled}
    body = {key: value for key, value in given.items() if value is not None}
    show.one(daemon.ask("PATCH", route("quotas", quota_id), json=body))


@app.command("refill", help=say("Fill a quota to its capacity."))
@remote
def refill(daemon: Daemon, show: Show, quota_id: Id) -> None:
    show.one(daemon.ask("POST", route("quotas", quota_id, "refill")))


@app.command("delete", help=say("Delete a quota; its history stays."))
@remote
def delete(daemon: Daemon, show: Show, quota_id: Id) -> None:
    daemon.ask("DELETE", route("quotas", quota_id))
    show.done(say("deleted: {name}", name=quota_id))


@app.command("acquire", help=say("Take units; exit code 1 when the quota refuses."))
@remote
def acquire(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    cost: Annotated[float, typer.Option(help=say("Units to take; 0 only looks"))] = 1,
) -> None:
    show.one(daemon.ask("POST", route("quotas", quota_id, "acquire"), json={"cost": cost}))
