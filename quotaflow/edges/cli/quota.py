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


@remote(app, "list")
def list_quotas(daemon: Daemon, show: Show) -> None:
    """List all quotas with what they hold."""
    show.items(daemon.ask_all("/api/quotas"), COLUMNS)


@remote(app, "show")
def show_quota(daemon: Daemon, show: Show, quota_id: Id) -> None:
    """Show one quota."""
    show.one(daemon.ask("GET", route("quotas", quota_id)))


@remote(app, "create")
def create(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    capacity: Annotated[float, typer.Option(help=say("The most it holds, in units"))],
    refill_rate: Annotated[float, typer.Option(help=say("Units it gains each second"))],
    name: Annotated[str | None, typer.Option(help=say("What tasks call it; default the id"))] = None,
) -> None:
    """Define a quota; it is in force at once."""
    body = {"id": quota_id, "name": name or quota_id, "capacity": capacity, "refill_rate": refill_rate}
    show.one(daemon.ask("POST", "/api/quotas", body))


@remote(app, "set")
def change(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    capacity: Capacity = None,
    refill_rate: RefillRate = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help=say("Switch it on or off"))
    ] = None,
) -> None:
    """Change a quota; it acts at once."""
    given = {"capacity": capacity, "refill_rate": refill_rate, "enabled": enabled}
    body = {key: value for key, value in given.items() if value is not None}
    show.one(daemon.ask("PATCH", route("quotas", quota_id), body))


@remote(app, "refill")
def refill(daemon: Daemon, show: Show, quota_id: Id) -> None:
    """Fill a quota to its capacity."""
    show.one(daemon.ask("POST", route("quotas", quota_id, "refill")))


@remote(app, "delete")
def delete(daemon: Daemon, show: Show, quota_id: Id) -> None:
    """Delete a quota; its history stays."""
    daemon.ask("DELETE", route("quotas", quota_id))
    show.done(say("deleted: {name}", name=quota_id))


@remote(app, "acquire")
def acquire(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    cost: Annotated[float, typer.Option(help=say("Units to take; 0 only looks"))] = 1,
    key: Annotated[str | None, typer.Option(help=say("One of the quota's many buckets"))] = None,
) -> None:
    """Take units; exit code 1 when refused, 2 when there never are as many."""
    body = {"cost": cost} if key is None else {"cost": cost, "key": key}
    show.one(daemon.ask("POST", route("quotas", quota_id, "acquire"), body))


Key = Annotated[str, typer.Argument(metavar="KEY", help=say("One of the quota's many buckets"))]


@remote(app, "overrides")
def overrides(daemon: Daemon, show: Show, quota_id: Id) -> None:
    """List the keys that have a capacity and rate of their own."""
    columns: Columns = {"key": "key", "capacity": "capacity", "refill/s": "refill_rate"}
    show.items(daemon.ask("GET", route("quotas", quota_id, "overrides")), columns)


@remote(app, "override")
def override(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    key: Key,
    capacity: Annotated[float, typer.Option(help=say("The most it holds, in units"))],
    refill_rate: Annotated[float, typer.Option(help=say("Units it gains each second"))],
) -> None:
    """Give one key a capacity and rate of its own."""
    body = {"capacity": capacity, "refill_rate": refill_rate}
    show.one(daemon.ask("PUT", route("quotas", quota_id, "overrides", key), body))


@remote(app, "reset")
def reset(daemon: Daemon, show: Show, quota_id: Id, key: Key) -> None:
    """Give a key the quota's own capacity and rate again."""
    daemon.ask("DELETE", route("quotas", quota_id, "overrides", key))
    show.done(say("as the quota again: {name}", name=key))
