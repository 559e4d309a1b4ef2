"""Write a ledger to a file, however long it is: row by row, with a count on the terminal."""

import contextlib
import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from quotaflow.edges.cli.client import Daemon
from quotaflow.edges.cli.show import Columns, Item, Show, utc
from quotaflow.edges.cli.words import say
from quotaflow.errors import ConfigError

COLUMNS: Columns = {
    "at (UTC)": utc("created_at"),
    "action": "action",
    "before": "quota_before",
    "change": "quota_change",
    "after": "quota_after",
    "request": "request_id",
    "by": "actor",
    "succeeded": "execution_success",
    "why": lambda row: row["execution_error_message"] or row["execution_error_type"],
}
STEP = 500  # rows between two looks at the count


class FileFormat(StrEnum):
    """What the file is."""

    CSV = "csv"
    JSONL = "jsonl"


Action = Annotated[str | None, typer.Option(help=say("Only this action: consume, refund, recharge, ..."))]
Until = Annotated[str | None, typer.Option(help=say("Before this moment, or how long ago"))]
Kind = Annotated[FileFormat, typer.Option("--format", help=say("CSV for spreadsheets, a JSON object a line"))]
Out = Annotated[Path, typer.Option(help=say("The file to write"))]


def export(daemon: Daemon, show: Show, path: str, query: Item, kind: FileFormat, out: Path) -> None:
    """Write what the daemon sends to `out`, which is there only when it is whole."""
    part = out.with_name(f"{out.name}.part")
    try:
        with (
            daemon.stream(path, {**query, "format": kind.value}) as chunks,
            part.open("wb") as file,
            counting() as counted,
        ):
            count = write(chunks, file, kind, counted)
        part.replace(out)
    except OSError as error:
        raise ConfigError(say("{file} cannot be written: {why}", file=out, why=error.strerror)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    show.done(say("{count} rows in {file}", count=count, file=out))


def write(chunks: Iterable[bytes], file: BinaryIO, kind: FileFormat, counted: Callable[[int], None]) -> int:
    """Write the chunks as they come and return how many rows they are; a row of CSV may have line ends in it."""

    def written() -> Iterator[bytes]:
        for line in lines(chunks):
            file.write(line)
            yield line

    rows: Iterable[object] = written()
    if kind is FileFormat.CSV:
        rows = csv.reader(line.decode() for line in written())
    heading = int(kind is FileFormat.CSV)
    count = 0
    for number, _ in enumerate(rows, 1 - heading):
        count = number
        if count and count % STEP == 0:
            counted(count)
    counted(count)
    return count


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut chunks at line feeds, and nowhere else."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


@contextlib.contextmanager
def counting() -> Iterator[Callable[[int], None]]:
    """Show a growing count on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console  # noqa: PLC0415  0.1 s that other commands do without
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    count = TextColumn("{task.completed:,.0f} {task.description}")
    with Progress(BarColumn(), count, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(say("rows"), total=None)
        yield lambda done: progress.update(task, completed=done)
