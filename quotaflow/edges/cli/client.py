"""Ask the daemon: over the socket in its data directory, without a token, or at a URL with one."""

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer

from quotaflow.edges.cli.main import complain
from quotaflow.edges.cli.show import Item, Output, Show
from quotaflow.edges.cli.words import say
from quotaflow.edges.http.place import find_socket
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.settings import load

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

    def __init__(
        self,
        data_dir: Path,
        url: str | None = None,
        token: str | None = None,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Ask at `url` with `token` if it is given, else over the socket in `data_dir`."""
        import httpx  # noqa: PLC0415  0.2 s that run, demo and --help do without

        self._broken = httpx.TransportError, httpx.InvalidURL
        self._where = url or str(find_socket(data_dir))
        if url is None and not Path(self._where).exists():
            raise self._silent("nothing is there")
        headers = {"Authorization": f"Bearer {token}"} if url and token else {}
        transport = None if url else httpx.HTTPTransport(uds=self._where, verify=False)
        base = url or "http://localhost"
        self._client = httpx.Client(
            base_url=base,
            headers=headers,
            transport=transport,
            timeout=deadline_s,
            verify=not base.lower().startswith("http://"),  # reading certificates takes 0.1 s
        )

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Item | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> Any:
        """Return the JSON of the answer; None for an empty one. Bytes are sent as they are.

        :param deadline_s: for what takes longer than others.

        :raises Unavailable: nobody answers, or somebody else.
        """
        try:
            answer = self._client.request(
                method,
                path,
                content=_content(body),
                params=query,
                headers=headers,
                timeout=deadline_s or self._client.timeout,
            )
        except self._broken as error:
            raise self._silent(f"{type(error).__name__}: {error}") from error
        if answer.is_error:
            refused(answer.status_code, answer.text)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise Unavailable(say("{where} is no quotaflow daemon", where=self._where)) from None

    @contextlib.contextmanager
    def stream(
        self,
        path: str,
        query: Item | None = None,
        *,
        method: str = "GET",
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Give the body of an answer as it comes.

        :raises Unavailable: nobody answers, or stops in the middle.
        """
        try:
            with self._client.stream(
                method, path, content=_content(body), params=query, headers=headers
            ) as answer:
                if answer.is_error:
                    refused(answer.status_code, answer.read().decode())
                yield answer.iter_bytes()
        except self._broken as error:
            raise self._silent(f"{type(error).__name__}: {error}") from error

    def _silent(self, why: str) -> Unavailable:
        return Unavailable(
            say(
                "no daemon answers at {where} ({why}); start one with: quotaflow run",
                where=self._where,
                why=why,
            )
        )

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def ask_all(self, path: str, query: Item | None = None) -> dict[str, Any]:
        """Return a whole list, page after page."""
        page = self.ask("GET", path, query=query)
        items = list(page["items"])
        while page.get("next_cursor"):
            page = self.ask("GET", path, query={**(query or {}), "cursor": page["next_cursor"]})
            items += page["items"]
        return {"items": items, "next_cursor": None}


def route(kind: str, name: str, *act: str) -> str:
    """Return the route of one thing, whatever characters are in its id."""
    return "/".join(["/api", kind, quote(name, safe=""), *act])


Command = Callable[..., None]


def command(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Declare a command; the first line of its docstring is its help, in the language chosen."""

    def declare(function: Command) -> Command:
        app.command(name, help=say(str(function.__doc__).split("\n", 1)[0]))(function)
        return function

    return declare


def remote(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Declare a command that asks a daemon: `daemon` and `show` come first, from options that all of these have."""

    def declare(function: Command) -> Command:
        def run(
            config: Config = None,
            data_dir: DataDir = None,
            url: Url = None,
            token: Token = None,
            output: Format = Output.TABLE,
            **own: object,
        ) -> None:
            settings = load(config, data_dir=data_dir)
            with contextlib.closing(Daemon(settings.data_dir, url, token)) as daemon:
                function(daemon, Show(output), **own)

        own = list(inspect.signature(function).parameters.values())[2:]
        shared = list(inspect.signature(run).parameters.values())[:-1]
        parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *shared)]
        vars(run)["__signature__"] = inspect.Signature(parameters)  # typer reads these two
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__doc__ = function.__doc__
        command(app, name)(run)
        return function

    return declare


def _content(body: object) -> str | bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return json.dumps(body)  # NaN too: the daemon says what is wrong with it


def refused(status: int, text: str) -> NoReturn:
    """End the command with what the daemon says: `code: detail`."""
    try:
        problem = dict(json.loads(text))
    except ValueError:
        problem = {}
    code = str(problem.get("code", status))
    complain(f"{code}: {problem.get('detail') or problem.get('title') or text[:200]}")
    raise typer.Exit(EXIT_CODES.get(code, USAGE if status < HTTPStatus.INTERNAL_SERVER_ERROR else 1))


def _exit_codes(kind: type[QuotaflowError]) -> dict[str, int]:
    codes = {kind.code: kind.exit_code}
    for leaf in kind.__subclasses__():
        codes |= _exit_codes(leaf)
    return codes


# Refusals that are answers, not errors.
_REFUSED = ("quota_exhausted", "quota_expired", "token_expired", "token_disabled", "request_cancelled")
EXIT_CODES = _exit_codes(QuotaflowError) | dict.fromkeys(_REFUSED, 1)
