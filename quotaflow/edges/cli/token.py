"""`quotaflow token`: access tokens of customers; make them, look, recharge, export what they used."""

import os
import sys
from typing import Annotated, Any

import typer

from quotaflow.edges.cli.client import Daemon, remote, route
from quotaflow.edges.cli.export import COLUMNS as LOG_COLUMNS
from quotaflow.edges.cli.export import Action, FileFormat, Kind, Out, Until, export
from quotaflow.edges.cli.quota import Amount, Enabled, Operation, RecordId
from quotaflow.edges.cli.show import Columns, Show, utc
from quotaflow.edges.cli.trace import Limit, Since, given
from quotaflow.edges.cli.words import say
from quotaflow.errors import TokenRefused
from quotaflow.ledger import QuotaType
from quotaflow.secret import known_of
from quotaflow.settings import ACCESS_TOKEN

app = typer.Typer(no_args_is_help=True, help=say("Access tokens: make, look, change, recharge, use."))

COLUMNS: Columns = {
    "id": "id",
    "token": "prefix",
    "workspace": "ws_id",
    "email": "email",
    "type": "quota_type",
    "remaining": "remaining_quota",
    "total": "total_quota",
    "expires (UTC)": utc("expires_at"),
    "active": "active",
}


Id = Annotated[str, typer.Argument(metavar="ID", help=say("The token's id: tok_..."))]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help=say("The request id of a charge"))]
Workspace = Annotated[str | None, typer.Option("--ws-id", help=say("Whose it is: a workspace"))]
Email = Annotated[str | None, typer.Option(help=say("Whose it is: an address"))]
Type = Annotated[QuotaType | None, typer.Option("--type", help=say("What ends it: time, units, or both"))]
Total = Annotated[float | None, typer.Option(help=say("The units it begins with; not of type time"))]
Days = Annotated[int | None, typer.Option(help=say("Valid so many days, or so many more"))]
Date = Annotated[str | None, typer.Option("--until", help=say("Valid until this date or moment"))]
Unlimited = Annotated[bool, typer.Option("--unlimited", help=say("Valid without end"))]
PerMinute = Annotated[int | None, typer.Option(help=say("Requests a minute; 0 removes the limit"))]
Burst = Annotated[int | None, typer.Option(help=say("Requests at once; default as many as a minute"))]


@remote(app, "list")
def list_tokens(
    daemon: Daemon,
    show: Show,
    ws_id: Workspace = None,
    email: Email = None,
    quota_type: Type = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help=say("Only those switched on, or off"))
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help=say("Deleted ones too"))] = False,
    limit: Limit = 100,
) -> None:
    """List access tokens, newest first."""
    switched = None if active is None else str(active).lower()
    wanted = given({"ws_id": ws_id, "email": email, "quota_type": quota_type, "active": switched})
    query = wanted | {"deleted": str(deleted).lower(), "limit": limit}
    show.items(daemon.ask("GET", "/api/tokens", query=query), COLUMNS)


@remote(app, "show")
def show_token(daemon: Daemon, show: Show, token_id: Id) -> None:
    """Show one access token."""
    show.one(daemon.ask("GET", route("tokens", token_id)))


@remote(app, "create")
def create(
    daemon: Daemon,
    show: Show,
    ws_id: Annotated[str, typer.Option("--ws-id", help=say("Whose it is: a workspace"))],
    email: Annotated[str, typer.Option(help=say("Whose it is: an address"))],
    quota_type: Type = None,
    total: Total = None,
    days: Days = None,
    until: Date = None,
    unlimited: Unlimited = False,
    per_minute: PerMinute = None,
    burst: Burst = None,
) -> None:
    """Make an access token; its secret is shown only now."""
    body = terms(days, until, unlimited)
    body |= {"ws_id": ws_id, "email": email, "quota_type": quota_type, "total_quota": total}
    body |= {"rate_limit_per_minute": per_minute, "rate_limit_burst": burst}
    made = daemon.ask("POST", "/api/tokens", {key: value for key, value in body.items() if value is not None})
    show.one({"id": made.pop("id"), "secret": made.pop("secret"), **made})
    show.note(say("The secret is shown only now and kept nowhere: give it to its owner."))


@remote(app, "set")
def change(
    daemon: Daemon,
    show: Show,
    token_id: Id,
    ws_id: Workspace = None,
    email: Email = None,
    quota_type: Type = None,
    total: Total = None,
    days: Days = None,
    until: Date = None,
    unlimited: Unlimited = False,
    per_minute: PerMinute = None,
    burst: Burst = None,
    active: Enabled = None,
) -> None:
    """Change an access token; it acts at once."""
    body: dict[str, Any] = {"ws_id": ws_id, "email": email, "quota_type": quota_type, "active": active}
    body |= {"total_quota": total}
    body |= {"rate_limit_per_minute": per_minute, "rate_limit_burst": burst}
    body = {key: value for key, value in body.items() if value is not None} | terms(days, until, unlimited)
    if per_minute == 0:
        body["rate_limit_per_minute"] = None
    show.one(daemon.ask("PATCH", route("tokens", token_id), body))


@remote(app, "delete")
def delete(daemon: Daemon, show: Show, token_id: Id) -> None:
    """Delete an access token; its ledger stays."""
    daemon.ask("DELETE", route("tokens", token_id))
    show.done(say("deleted: {name}", name=token_id))


@remote(app, "recharge")
def recharge(
    daemon: Daemon,
    show: Show,
    token_id: Id,
    amount: Amount = None,
    operation: Operation = "add",
    request_id: RecordId = None,
) -> None:
    """Add units to an access token, set what remains, or reset it."""
    body = {"operation": operation, "amount": amount, "request_id": request_id}
    show.one(daemon.ask("POST", route("tokens", token_id, "recharge"), body))


@remote(app, "expire")
def expire(daemon: Daemon, show: Show, token_id: Id) -> None:
    """End an access token now; nothing remains."""
    show.one(daemon.ask("POST", route("tokens", token_id, "expire")))


@remote(app, "quota")
def quota(daemon: Daemon, show: Show, token_id: Id) -> None:
    """Show what an access token has left."""
    show.one(daemon.ask("GET", route("tokens", token_id, "quota")))


@remote(app, "logs")
def logs(
    daemon: Daemon,
    show: Show,
    token_id: Id,
    action: Action = None,
    since: Since = None,
    until: Until = None,
    request: Annotated[str | None, typer.Option("--request", help=say("Only this request id"))] = None,
    limit: Limit = 20,
) -> None:
    """List what changed the units of an access token, newest first."""
    query = given({"action": action, "since": since, "until": until, "request_id": request})
    path = route("tokens", token_id, "quota", "logs")
    show.items(daemon.ask("GET", path, query=query | {"limit": limit}), LOG_COLUMNS)


@remote(app, "export")
def export_logs(
    daemon: Daemon,
    show: Show,
    token_id: Id,
    out: Out,
    kind: Kind = FileFormat.CSV,
    action: Action = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write what changed the units of an access token to a file."""
    query = given({"action": action, "since": since, "until": until})
    export(daemon, show, route("tokens", token_id, "quota", "logs", "export"), query, kind, out)


@remote(app, "consume")
def consume(
    daemon: Daemon,
    show: Show,
    cost: Annotated[float, typer.Option(help=say("Units to take; 0 only looks"))] = 1,
    request_id: RecordId = None,
    quotas: Annotated[
        list[str] | None, typer.Option("--quota", help=say("A shared quota to charge too; may be repeated"))
    ] = None,
) -> None:
    """Take units as a customer does; the secret comes from QUOTAFLOW_ACCESS_TOKEN, or is asked for."""
    body = {"cost": cost, "quotas": quotas or []} | given({"request_id": request_id})
    show.one(daemon.ask("POST", "/api/consume", body, headers={"access-token": secret()}))


@remote(app, "refund")
def refund(daemon: Daemon, show: Show, token_id: Id, request_id: RequestId, amount: Amount = None) -> None:
    """Give back what a request was charged, or part of it, once."""
    body = {"token_id": token_id, "request_id": request_id, "amount": amount}
    show.one(daemon.ask("POST", "/api/refund", body))


@remote(app, "cancel")
def cancel(daemon: Daemon, show: Show, token_id: Id, request_id: RequestId) -> None:
    """Cancel a request: what it was charged goes back, and a late command is refused."""
    show.one(daemon.ask("DELETE", route("tokens", token_id, "requests", request_id)))


@remote(app, "request")
def request(daemon: Daemon, show: Show, token_id: Id, request_id: RequestId) -> None:
    """Show what became of a request id."""
    show.one(daemon.ask("GET", route("tokens", token_id, "requests", request_id)))


def terms(days: int | None, until: str | None, unlimited: bool) -> dict[str, Any]:
    """Return until when it is to be valid, as the daemon is told; of several the daemon says what does not fit."""
    operation = "unlimited" if unlimited else "set" if until is not None else "add"
    said: dict[str, Any] = {"operation": operation, "days": days, "specific_date": until}
    found = {key: value for key, value in said.items() if value is not None}
    return found if unlimited or len(found) > 1 else {}


def secret() -> str:
    """Return the secret of a token: never an argument, which others can see in the list of processes.

    :raises TokenRefused: it is none.
    """
    text = os.environ.get(ACCESS_TOKEN)
    if text is None and sys.stdin.isatty():
        text = typer.prompt(say("Access token"), hide_input=True, err=True)
    text = (sys.stdin.readline() if text is None else text).strip()
    if known_of(text) is None:
        raise TokenRefused(say("this is not an access token; one begins with qf_ and has 54 characters"))
    return text
