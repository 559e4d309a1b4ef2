"""Rate limits of tasks: `10/m` and friends. Pure."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from quotaflow.errors import InvalidInput

PERIODS_S = {"s": 1, "m": 60, "h": 3600}
NO_RATE = "0/s"  # as what limits nothing is kept
LONGEST_S = 366 * 86_400  # between two starts
MAX_BURST = 1_000_000

# What is kept of it has at most 32 characters.
_TEXT = re.compile(r"(\d{1,7}(?:\.\d{1,6})?|\d{1,7}/\d{1,7})/([smh])(?:burst(\d{1,7}))?", re.ASCII).fullmatch
_NOTHING = re.compile(r".*/0+").fullmatch  # nobody can divide by it


class Pace(NamedTuple):
    """What Redis keeps to: microseconds from start to start, and how many may start at once."""

    interval_us: int
    burst: int


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a task may start, across all daemons. `text` is how a person wrote it."""

    text: str
    pace: Pace


def parse_rate(value: object, burst: object = 1) -> Rate | None:
    """Read 'N/s', 'N/m' or 'N/h' as Celery writes them; N is a whole number, a decimal or a fraction such as 1/3.

    A plain number is per second; None and 0 limit nothing. Intervals are rounded up: never faster than asked for.

    :param burst: starts that may come at once after a rest; 1 spaces them evenly. "10/m burst 5" says it too.
    :raises InvalidInput: it is none of these, or slower than once a year.
    """
    if not _is_count(burst) or not 1 <= int(str(burst)) <= MAX_BURST:
        raise InvalidInput(f"rate_burst must be a whole number from 1 to {MAX_BURST}", field="rate_burst")
    if value is None:
        return None
    text = f"{value}/s" if isinstance(value, int | float) and not isinstance(value, bool) else value
    found = _TEXT(text.replace(" ", "")) if isinstance(text, str) else None
    if found is None or _NOTHING(found[1]) or not 1 <= int(found[3] or 1) <= MAX_BURST:
        raise InvalidInput(
            "rate_limit must be like 10/s, 100/m or 0.5/h: a number, a slash and s, m or h",
            field="rate_limit",
        )
    per_period = Fraction(found[1])
    if not per_period:
        return None
    interval_us = -(-PERIODS_S[found[2]] * 1_000_000 // per_period)
    if interval_us > LONGEST_S * 1_000_000:
        raise InvalidInput("rate_limit must allow at least one start a year", field="rate_limit")
    many = int(found[3] or str(burst))
    text = f"{found[1]}/{found[2]}" + (f" burst {many}" if many > 1 else "")
    return Rate(text, Pace(max(1, interval_us), max(1, many)))


def rate_text(value: str) -> str:
    """Return a rate as it is kept; NO_RATE for none.

    :raises InvalidInput: it is no rate.
    """
    rate = parse_rate(value)
    return NO_RATE if rate is None else rate.text


def pace_of(text: str | None) -> Pace | None:
    """Return what Redis keeps to, of a rate that was checked before."""
    rate = parse_rate(text)
    return None if rate is None else rate.pace


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
