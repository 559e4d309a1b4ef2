"""Follow a refresh of upstream keys to its report: a bar on the terminal grows as the daemon tells how far it is."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from quotaflow.edges.cli.client import Daemon, refused
from quotaflow.edges.cli.export import lines
from quotaflow.edges.cli.words import say
from quotaflow.errors import Unavailable

ACCEPT = {"accept": "text/event-stream"}


def refreshed(daemon: Daemon, provider: str | None) -> dict[str, Any]:
    """Refresh and return the report.

    :raises Unavailable: the daemon stops before.
    """
    path, wish = "/api/upstream-keys/refresh", {"provider": provider}
    with daemon.stream(path, method="POST", body=wish, headers=ACCEPT) as chunks, drawing() as draw:
        for name, text in events(chunks):
            data: dict[str, Any] = json.loads(text)
            if name == "report":
                return data
            if name == "error":
                refused(data["status"], text)
            draw(data["done"], data["total_keys"])
    raise Unavailable(say("the daemon stopped before the refresh was over"))


def events(chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Read Server-Sent Events: the name and the data of each."""
    name = ""
    for line in lines(chunks):
        word, _, value = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            name = value
        elif word == "data":
            yield name, value


@contextlib.contextmanager
def drawing() -> Iterator[Callable[[int, int], None]]:
    """Draw how many of how many are done on stderr, if that is a terminal; nothing stays of it."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415  0.1 s that other commands do without
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(say("keys"), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
