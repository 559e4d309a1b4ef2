"""`quotaflow quota`: look at quotas, define them, change them, take units."""

from typing import Annotated, Any, Literal

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.export import COLUMNS as LOG_COLUMNS
from quotaflow.edges.cli.export import Action, FileFormat, Kind, Out, Until, export
from quotaflow.edges.cli.show import Columns, Show
from quotaflow.edges.cli.trace import Limit, Since, given
from quotaflow.edges.cli.words import say
from quotaflow.model import QuotaKind

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
Total = Annotated[float | None, typer.Option(help=say("Of an allowance: the units it begins with"))]
ResetCron = Annotated[
    str | None, typer.Option(help=say('Of an allowance: when it has its total again; "" never'))
]
Timezone = Annotated[str | None, typer.Option(help=say("Of --reset-cron, like Asia/Shanghai"))]
Amount = Annotated[float | None, typer.Argument(metavar="AMOUNT", help=say("Units"))]
Operation = Annotated[
    Literal["add", "set", "reset"], typer.Option(help=say("add (default), set what remains, or reset"))
]
RecordId = Annotated[str | None, typer.Option("--request-id", help=say("With the same one it happens once"))]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help=say("Switch it on or off"))]
MaxConcurrent = Annotated[
    int | None, typer.Option(help=say("Runs and calls under way at the same time; 0 is no limit"))
]
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
    capacity: Capacity = None,
    refill_rate: RefillRate = None,
    name: Annotated[str | None, typer.Option(help=say("What tasks call it; default the id"))] = None,
    kind: Annotated[
        QuotaKind, typer.Option("--kind", help=say("A bucket refills by itself, an allowance is prepaid"))
    ] = QuotaKind.BUCKET,
    total: Total = None,
    reset_cron: ResetCron = None,
    timezone: Timezone = None,
    max_concurrent: MaxConcurrent = None,
    mirrors: Annotated[
        str | None, typer.Option(help=say("The provider whose upstream keys' balance an allowance has"))
    ] = None,
) -> None:
    """Define a quota; it is in force at once."""
    body = {"id": quota_id, "name": name or quota_id, "kind": kind}
    body |= told(capacity, refill_rate, total, reset_cron, timezone, max_concurrent)
    body |= {} if mirrors is None else {"mirrors": mirrors}
    show.one(daemon.ask("POST", "/api/quotas", body))


@remote(app, "set")
def change(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    capacity: Capacity = None,
    refill_rate: RefillRate = None,
    enabled: Enabled = None,
    total: Total = None,
    reset_cron: ResetCron = None,
    timezone: Timezone = None,
    max_concurrent: MaxConcurrent = None,
) -> None:
    """Change a quota; it acts at once."""
    body = told(capacity, refill_rate, total, reset_cron, timezone, max_concurrent)
    body |= {} if enabled is None else {"enabled": enabled}
    show.one(daemon.ask("PATCH", route("quotas", quota_id), body))


@remote(app, "refill")
def refill(daemon: Daemon, show: Show, quota_id: Id) -> None:
    """Fill a quota to its capacity."""
    show.one(daemon.ask("POST", route("quotas", quota_id, "refill")))


@remote(app, "recharge")
def recharge(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    amount: Amount = None,
    operation: Operation = "add",
    request_id: RecordId = None,
) -> None:
    """Add units to a prepaid quota, set what remains, or reset it."""
    body = {"operation": operation, "amount": amount, "request_id": request_id}
    show.one(daemon.ask("POST", route("quotas", quota_id, "recharge"), body))


@remote(app, "logs")
def logs(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
) -> None:
    """List what changed the units of a prepaid quota, newest first."""
    query = given({"action": action, "since": since, "until": until}) | {"limit": limit}
    show.items(daemon.ask("GET", route("quotas", quota_id, "logs"), query=query), LOG_COLUMNS)


@remote(app, "export")
def export_logs(
    daemon: Daemon,
    show: Show,
    quota_id: Id,
    out: Out,
    kind: Kind = FileFormat.CSV,
    action: Action = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write what changed the units of a prepaid quota to a file."""
    query = given({"action": action, "since": since, "until": until})
    export(daemon, show, route("quotas", quota_id, "logs", "export"), query, kind, out)


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


def told(
    capacity: float | None,
    refill_rate: float | None,
    total: float | None,
    reset_cron: str | None,
    timezone: str | None,
    max_concurrent: int | None,
) -> dict[str, Any]:
    """Return what was given, as the daemon is told; an empty text removes, and so does `max_concurrent` 0."""
    amounts = {"capacity": capacity, "refill_rate": refill_rate, "total": total}
    removable = given({"reset_cron": reset_cron, "timezone": timezone, "max_concurrent": max_concurrent})
    found = {key: value for key, value in amounts.items() if value is not None}
    return found | {key: value or None for key, value in removable.items()}
