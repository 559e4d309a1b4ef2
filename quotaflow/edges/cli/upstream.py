"""`quotaflow upstream`: keys of other people's services; store them, look, change, refresh their balances."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from quotaflow.balances import KeyStatus
from quotaflow.edges.cli.client import Daemon, command, remote, route
from quotaflow.edges.cli.events import refreshed
from quotaflow.edges.cli.quota import Enabled
from quotaflow.edges.cli.show import Columns, Show, utc
from quotaflow.edges.cli.trace import given
from quotaflow.edges.cli.words import say
from quotaflow.errors import ConfigError, InvalidInput, NotFound

app = typer.Typer(
    no_args_is_help=True, help=say("Upstream keys: keys of other people's services, and what they have left.")
)

KIND = "upstream-keys"
PATH = f"/api/{KIND}"
PAGE = 1000
LONGEST_S = 60.0  # for thousands of secrets
COLUMNS: Columns = {
    "id": "id",
    "provider": "provider",
    "name": "name",
    "key": "key",
    "status": "status",
    "remaining": "remaining",
    "reserved": "reserved",
    "limit": "plan_limit",
    "enabled": "enabled",
    "checked (UTC)": utc("last_checked_at"),
    "error": "last_error",
}
ROW_ERRORS: Columns = {"row": "row", "error": "error"}
KEY_ERRORS: Columns = {"provider": "provider", "name": "name", "error": "error"}

Id = Annotated[str, typer.Argument(metavar="ID", help=say("Its id, or provider/name"))]
Name = Annotated[
    str | None, typer.Option(help=say("What people call it; default the key's first and last characters"))
]
Provider = Annotated[str | None, typer.Option(help=say("Only this provider"))]
File = Annotated[
    str, typer.Argument(metavar="FILE", help=say("CSV with a header, or JSON; - is standard input"))
]


@remote(app, "list")
def list_keys(
    daemon: Daemon,
    show: Show,
    provider: Provider = None,
    status: Annotated[
        KeyStatus | None, typer.Option(help=say("Only this status, as of the last check"))
    ] = None,
) -> None:
    """List upstream keys, newest first."""
    query = given({"provider": provider, "status": status, "limit": PAGE})
    show.items(daemon.ask_all(PATH, query), COLUMNS)


@remote(app, "add")
def add(
    daemon: Daemon,
    show: Show,
    provider: Annotated[
        str, typer.Argument(metavar="PROVIDER", help=say("Whose service it is, like tavily"))
    ],
    name: Name = None,
    secret: Annotated[
        str | None,
        typer.Option(
            help=say(
                "env:NAME, file:/path, or - to read the API key from standard input; default: it is asked for"
            )
        ),
    ] = None,
    enabled: Enabled = None,
) -> None:
    """Store an API key of a service, and ask for its balance."""
    body = {"provider": provider, "secret": secret_of(secret)} | given({"name": name, "enabled": enabled})
    show.one(daemon.ask("POST", PATH, body))


@remote(app, "show")
def show_key(daemon: Daemon, show: Show, key_id: Id) -> None:
    """Show one upstream key."""
    show.one(daemon.ask("GET", route(KIND, id_of(daemon, key_id))))


@remote(app, "change")
def change(
    daemon: Daemon,
    show: Show,
    key_id: Id,
    name: Name = None,
    secret: Annotated[
        str | None, typer.Option(help=say("env:NAME, file:/path, or - for another API key"))
    ] = None,
    enabled: Enabled = None,
) -> None:
    """Change an upstream key; it acts at once."""
    other = None if secret is None else secret_of(secret)
    body = given({"name": name, "secret": other, "enabled": enabled})
    show.one(daemon.ask("PATCH", route(KIND, id_of(daemon, key_id)), body))


@remote(app, "remove")
def remove(daemon: Daemon, show: Show, key_id: Id) -> None:
    """Forget an upstream key and its secret."""
    daemon.ask("DELETE", route(KIND, id_of(daemon, key_id)))
    show.done(say("removed: {name}", name=key_id))


@remote(app, "import")
def import_keys(daemon: Daemon, show: Show, file: File) -> None:
    """Store the keys of a CSV or JSON file; exit code 1 when some could not be."""
    report = daemon.ask("POST", f"{PATH}/import", contents(file), deadline_s=LONGEST_S)
    counts = {"success": report["success"], "failed": report["failed"]}
    show.report(report, ROW_ERRORS, say("{success} keys stored, {failed} rows not", **counts))
    if report["failed"]:
        raise typer.Exit(1)


@remote(app, "refresh")
def refresh(daemon: Daemon, show: Show, provider: Provider = None) -> None:
    """Ask services for the balances of all keys now; exit code 1 when some did not say."""
    report = refreshed(daemon, provider)
    sentence = say(
        "{success} of {total} keys in {seconds} s, {failed} failed",
        success=report["success"],
        total=report["total_keys"],
        seconds=report["elapsed_seconds"],
        failed=report["failed"],
    )
    show.report(report, KEY_ERRORS, sentence)
    if report["failed"]:
        raise typer.Exit(1)


@remote(app, "rotate")
def rotate(daemon: Daemon, show: Show) -> None:
    """Encrypt every stored secret under the newest key."""
    show.one(daemon.ask("POST", f"{PATH}/rotate", deadline_s=LONGEST_S))


@command(app, "new-key")
def new_key() -> None:
    """Make a key for QUOTAFLOW_UPSTREAM__SECRET_KEY; no daemon is asked."""
    from quotaflow.upstream import vault  # noqa: PLC0415  0.1 s that other commands do without

    typer.echo(vault.new_key())


def secret_of(text: str | None) -> str:
    """Return what is to be stored: a reference, or an API key, which is never an argument that others can see.

    :raises InvalidInput: an API key was given as an argument, or nobody can be asked for it.
    """
    if text is not None and text.startswith(("env:", "file:")):
        return text
    if text not in (None, "-"):
        raise InvalidInput(
            say("--secret takes env:NAME, file:/path or -; an API key given here could be seen by others"),
            field="secret",
        )
    if sys.stdin.isatty():
        return str(typer.prompt(say("API key"), hide_input=True, err=True)).strip()
    if text is None:
        raise InvalidInput(
            say(
                "no terminal to ask for the API key: give --secret env:NAME, file:/path, or - for standard input"
            ),
            field="secret",
        )
    return sys.stdin.readline().strip()


def contents(file: str) -> bytes:
    """Read a file, or standard input for `-`.

    :raises ConfigError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(say("{file} cannot be read: {why}", file=file, why=error.strerror)) from error


def id_of(daemon: Daemon, text: str) -> str:
    """Return the id of a key; `provider/name` is looked for. Both may have slashes in them.

    :raises NotFound: no key is called so.
    """
    if "/" not in text:
        return text
    for at in (at for at, char in enumerate(text) if char == "/" and at):
        for item in daemon.ask_all(PATH, {"provider": text[:at], "limit": PAGE})["items"]:
            if item["name"] == text[at + 1 :]:
                return str(item["id"])
    raise NotFound(say('no upstream key is called "{name}"', name=text))
