"""Draw an answer: a table for people, the bare JSON for programs. No name can break a table or the terminal."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from quotaflow.edges.cli.words import say
from quotaflow.log import printable

if TYPE_CHECKING:
    from rich.text import Text

Item = Mapping[str, Any]
Columns = Mapping[str, str | Callable[[Item], object]]  # heading -> key, or what to make of the item

PIPE_WIDTH = 1_000  # columns; nothing is cut when the reader is a program
COLOURS = {
    "ok": "green",
    "✓": "green",
    "warn": "yellow",
    "limited": "yellow",
    "failed": "red",
    "error": "red",
    "✗": "red",
}


class Output(StrEnum):
    """How to show an answer."""

    TABLE = "table"
    JSON = "json"


class Show:
    """Shows what a command was answered."""

    def __init__(self, output: Output = Output.TABLE) -> None:
        self._is_json = output is Output.JSON

    def items(self, answer: Item, columns: Columns) -> None:
        """Show `{"items": [...]}`."""
        if self._is_json:
            emit_json(answer)
        else:
            table(columns, answer["items"])

    def line(self, item: Item, columns: Columns) -> None:
        """Show one item at once, as a line of its own."""
        values = [printable(plain(_value(item, source))) for source in columns.values()]
        sys.stdout.write((json.dumps(item) if self._is_json else "  ".join(values)) + "\n")
        sys.stdout.flush()

    def one(self, answer: Item) -> None:
        """Show one object, a line for each of its members."""
        if self._is_json:
            emit_json(answer)
        else:
            pairs = [{"key": key, "value": value} for key, value in answer.items()]
            table({"member": "key", "value": "value"}, pairs, with_headings=False)

    def report(self, answer: Item, columns: Columns, sentence: str) -> None:
        """Show what was done: a row for each of its `errors`, then a sentence."""
        if self._is_json:
            emit_json(answer)
            return
        if answer["errors"]:
            table(columns, answer["errors"])
        self.note(sentence)

    def note(self, sentence: str) -> None:
        """Add a word for people; programs know."""
        if not self._is_json:
            sys.stdout.write(printable(sentence) + "\n")

    def done(self, sentence: str) -> None:
        """Confirm what has no answer of its own."""
        if self._is_json:
            emit_json({})
        else:
            sys.stdout.write(printable(sentence) + "\n")


def emit_json(answer: object) -> None:
    """Print one JSON document in plain ASCII."""
    sys.stdout.write(json.dumps(answer) + "\n")


def table(columns: Columns, items: Iterable[Item], *, with_headings: bool = True) -> None:
    """Draw a table as wide as it must be; only a terminal folds long cells."""
    from rich.console import Console  # noqa: PLC0415  0.1 s that commands without tables do without
    from rich.table import Table  # noqa: PLC0415

    headings = [say(heading) for heading in columns]
    drawn = Table(*headings, box=None, pad_edge=False, show_header=with_headings)
    for item in items:
        drawn.add_row(*[cell(_value(item, source)) for source in columns.values()])
    if sys.stdout.isatty():
        Console(highlight=False).print(drawn)
        return
    console = Console(width=PIPE_WIDTH, highlight=False, no_color=True)
    with console.capture() as lines:
        console.print(drawn)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines.get().splitlines()))


def cell(value: object) -> "Text":
    """Return what a cell shows; nothing in it is taken for markup or control."""
    from rich.text import Text  # noqa: PLC0415

    text = printable(plain(value))
    return Text(text, style=COLOURS.get(text, ""))


def plain(value: object) -> str:
    """Write a value of JSON for people."""
    match value:
        case None:
            return "-"
        case bool():
            return say("yes") if value else say("no")
        case float():
            return str(value).removesuffix(".0")
        case dict():
            return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "-"
        case list():
            return ", ".join(map(plain, value)) or "-"
        case _:
            return str(value)


def utc(key: str) -> Callable[[Item], object]:
    """Show a moment to the second; the heading says that it is UTC."""
    return lambda item: item[key] and item[key][:19].replace("T", " ")


def _value(item: Item, source: str | Callable[[Item], object]) -> object:
    return item.get(source) if isinstance(source, str) else source(item)
