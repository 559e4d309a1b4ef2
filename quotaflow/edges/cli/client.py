"""Ask the daemon: over the socket in its data directory, without a token, or at a URL with one."""

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer

from quotaflow.edges.cli.main import complain
from quotaflow.edges.cli.show import Output, Show
from quotaflow.edges.cli.words import say
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.settings import load

SOCKET = "http.sock"
DEADLINE_S = 10.0
USAGE = 2  # exit code

Config = Annotated[Path | None, typer.Option(help=say("The daemon's config.toml; default ./config.toml"))]
DataDir = Annotated[Path | None, typer.Option(help=say("The daemon's data directory, where http.sock is"))]
Url = Annotated[str | None, typer.Option(help=say("Ask a daemon at http://host:port instead"))]
Token = Annotated[
    str | None,
    typer.Option(envvar="QUOTAFLOW_ADMIN_TOKEN", help=say("For --url; better set in the environment")),
]
Format = Annotated[Output, typer.Option("--output", "-o", help=say("A table for people, JSON for programs"))]


class Daemon:
    """The HTTP routes of a running daemon. What it refuses ends the command: one line, and an exit code."""

    def __init__(self, data_dir: Path | None, url: str | None = None, token: str | None = None) -> None:
        import httpx  # noqa: PLC0415  0.2 s that run, demo and --help do without

        self._broken = httpx.TransportError, httpx.InvalidURL
        self.where = url or str(data_dir / SOCKET if data_dir else SOCKET)
        headers = {"Authorization": f"Bearer {token}"} if url and token else {}
        transport = None if url else httpx.HTTPTransport(uds=self.where)
        self._client = httpx.Client(
            base_url=url or "http://localhost", headers=headers, transport=transport, timeout=DEADLINE_S
        )

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Return the JSON of the answer; None for an empty one."""
        try:
            answer = self._client.request(method, path, **request)
        except self._broken as error:
            why = f"{type(error).__name__}: {error}"
            raise Unavailable(
                say("no daemon answers at {where} ({why}); start one with: quotaflow run", where=self.where, why=why)
            ) from error
        if answer.is_error:
            _refused(answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def ask_all(self, path: str) -> dict[str, Any]:
        """Return a whole list, page after page."""
        page = self.ask("GET", path)
        items = list(page["items"])
        while page.get("next_cursor"):
            page = self.ask("GET", path, params={"cursor": page["next_cursor"]})
            items += page["items"]
        return {"items": items, "next_cursor": None}


def route(kind: str, name: str, *act: str) -> str:
    """Return the route of one thing, whatever characters are in its id."""
    return "/".join(["/api", kind, quote(name, safe=""), *act])


def remote(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which daemon to ask and how to show what it answers.

    The command itself takes `daemon` and `show` first.
    """

    @functools.wraps(command)
    def run(
        config: Config = None,
        data_dir: DataDir = None,
        url: Url = None,
        token: Token = None,
        output: Format = Output.TABLE,
        **own: object,
    ) -> None:
        where = None if url else load(config, data_dir=data_dir).data_dir
        command(Daemon(where, url, token), Show(output), **own)

    own = list(inspect.signature(command).parameters.values())[2:]
    shared = list(inspect.signature(run, follow_wrapped=False).parameters.values())[:-1]
    parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *shared)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  typer reads this
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _refused(status: int, text: str) -> NoReturn:
    """End the command with what the daemon says: `code: detail`."""
    try:
        problem = dict(json.loads(text))
    except ValueError:
        problem = {}
    code = str(problem.get("code", status))
    complain(f"{code}: {problem.get('detail') or problem.get('title') or text[:200]}")
    raise typer.Exit(EXIT_CODES.get(code, USAGE if status < 500 else 1))


def _exit_codes(kind: type[QuotaflowError]) -> dict[str, int]:
    codes = {kind.code: kind.exit_code}
    for leaf in kind.__subclasses__():
        codes |= _exit_codes(leaf)
    return codes


EXIT_CODES = _exit_codes(QuotaflowError)
