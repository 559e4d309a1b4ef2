"""What was found, against what was asked for."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: a figure, and whether it is kept."""

    name: str
    found: float
    asked: str
    kept: bool


@dataclass(slots=True)
class Report:
    """Everything that one run of the benchmark found."""

    machine: dict[str, object]
    quick: bool
    bars: list[Bar] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    def at_most(self, name: str, found: float, limit: float, unit: str = "") -> None:
        """Hold a figure against an upper limit."""
        self.bars.append(Bar(name, round(found, 3), f"<= {limit:g} {unit}".strip(), found <= limit))

    def at_least(self, name: str, found: float, limit: float, unit: str = "") -> None:
        """Hold a figure against a lower limit."""
        self.bars.append(Bar(name, round(found, 3), f">= {limit:g} {unit}".strip(), found >= limit))

    def show(self, title: str, found: dict[str, dict[str, object]]) -> None:
        """Keep one line of figures per subject, and print them as a table."""
        self.figures[title] = found
        columns = list(dict.fromkeys(name for figures in found.values() for name in figures))
        rows = [
            [subject, *[_text(figures.get(name)) for name in columns]] for subject, figures in found.items()
        ]
        _table([title, *columns], rows)

    def show_bars(self) -> None:
        """Print every promise and what came of it."""
        rows = [[bar.name, _text(bar.found), bar.asked, "yes" if bar.kept else "NO"] for bar in self.bars]
        _table(["bar", "found", "asked", "kept"], rows)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def _text(value: object) -> str:
    return "" if value is None else f"{value:,.6g}" if isinstance(value, int | float) else str(value)


def _table(head: list[str], rows: Iterable[list[str]]) -> None:
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    print()
    for line in lines:
        first, *rest = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join([first.strip().ljust(widths[0]), *rest]).rstrip())
