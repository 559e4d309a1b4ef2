"""Figures from samples."""

import math
import statistics
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import Redis

Row = tuple[int, int, int]  # task number, scheduled for, body started; moments in microseconds


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, P95, P99 and the greatest, rounded for people; NaN when nothing was measured."""
    points = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    if not values:
        return dict.fromkeys(points, math.nan)
    return {name: round(quantile(values, share), 2) for name, share in points.items()}


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {name: round(statistics.median(found[name] for found in rounds), 2) for name in rounds[0]}


def read_rows(path: Path) -> list[Row]:
    """Read what a child recorded of its runs, in the order in which their bodies started."""
    numbers = array("q", path.read_bytes())
    return list(zip(*[iter(numbers)] * 3, strict=True))


def lateness_ms(rows: Sequence[Row]) -> list[float]:
    """From the moment a run was due to the first line of its body."""
    return [(started_us - due_us) / 1e3 for _, due_us, started_us in rows]


def within(rows: Sequence[Row], from_s: int, seconds: int) -> list[Row]:
    """Keep the runs that were due in these seconds."""
    return [row for row in rows if from_s <= row[1] // 1_000_000 < from_s + seconds]


def cpu_s(server: Redis) -> float:
    """Return the CPU time that a server has used."""
    used: Any = server.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
