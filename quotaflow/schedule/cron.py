"""A cron expression and a time zone give the next moment. Pure; moments are whole microseconds UTC.

croniter reads the fields and searches the calendar, on wall time alone. Two things are added here: messages
that name the field, and what happens when the wall clock is moved.

The dialect is Debian's, with seconds, `L` and `a/n` added:

- 5 fields, or 6 with seconds first; lists, ranges, steps; names JAN-DEC and SUN-SAT; 0 and 7 are Sunday.
- `a/n` counts from `a` to the end of the field. A range never runs backwards (`FRI-SUN` is `FRI-7`).
- Day of month and weekday must both match if either field begins with `*`; otherwise one is enough.
- `L` is the last day of the month. `W`, `#`, `?`, hashed, random and year fields, and `@reboot` are refused.
"""

import re
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import croniter

from quotaflow.errors import InvalidCron, InvalidInput

SHOWN_CHARS = 60
MAX_CHARS = 1_000  # every list of every field written out in full takes 530
REMEMBERED = 4_096  # expressions, and moments: each is well under 10 kB
SECOND_US = 1_000_000
# A zone shifts its clock by 24 h at most, and since 1970 never twice within 6 days (tzdata 2026).
HORIZON_S = 2 * 86_400

_ALIASES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_TERM = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # the first stands for `low`


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAY = _Field("day of month", 1, 31)
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _DAY,
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Cron:
    """A valid expression, to be shared. Make it with `parse`.

    `expression` is the normalised text: upper case, single spaces, aliases written out. `fixed` says that it
    names times of day (neither minute nor hour begins with `*`) rather than a rhythm; see `next_after`.
    """

    expression: str
    fixed: bool = field(compare=False, repr=False)
    _calendar: Any = field(compare=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @property
    def values(self) -> tuple[frozenset[int | str], ...]:
        """What each field allows: second, minute, hour, day of month, month, weekday. "*" is all, "l" the last day."""
        minute, hour, day, month, weekday, *second = map(frozenset, self._calendar.expanded)
        return (second[0] if second else frozenset({0}), minute, hour, day, month, weekday)

    def next_wall_s(self, wall_s: int) -> int:
        """Return the first match after `wall_s`; both are what a clock without a zone shows, in seconds."""
        with self._lock:  # a croniter keeps its position while it searches, and threads may share this one
            return int(self._calendar.get_next(float, wall_s, update_current=False))


def parse(expression: object) -> Cron:
    """Read a cron expression; texts that differ in case, spacing or alias give the same object.

    :raises InvalidCron: one line with the field and the reason; also for a date that never is (30 February).
    """
    text = _normal(expression)
    try:
        return _parse(_ALIASES.get(text, text))
    except ValueError as problem:
        raise InvalidCron(f'cron "{text[:SHOWN_CHARS]}": {problem}', field="cron") from None


def next_after(cron: Cron, zone: ZoneInfo, after_us: int) -> int:
    """Return the first due moment strictly after `after_us` (microseconds UTC, years 1970 to 9900).

    Where the wall clock jumps, a fixed time of day is due exactly once: on the first pass of a repeated hour,
    or at the end of the gap it falls into, together with all others that fall there. A rhythm goes on as time
    passes: it is due whenever the wall clock shows a match, twice in a repeated hour and never in a gap.
    """
    return _next_s(cron, zone, after_us // SECOND_US) * SECOND_US


def load_zone(name: object) -> ZoneInfo:
    """Return the time zone with this IANA name.

    :raises InvalidInput: naming the nearest zone there is, if any is near.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"timezone must be text, not {type(name).__name__}", field="timezone")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown; not a relative path; a folder ("America")
        shown = f"{name[:SHOWN_CHARS]!a}"
        raise InvalidInput(f"timezone {shown} is unknown{_nearest(name)}", field="timezone") from None


def _nearest(name: str) -> str:
    zones = {zone.casefold(): zone for zone in available_timezones()}
    near = get_close_matches(name[:SHOWN_CHARS].casefold(), zones, n=1)
    return f"; did you mean {zones[near[0]]}?" if near else ""


def _normal(expression: object) -> str:
    if not isinstance(expression, str):
        raise InvalidCron(f"cron must be text, not {type(expression).__name__}", field="cron")
    if len(expression) > MAX_CHARS:
        raise InvalidCron(f"cron must be at most {MAX_CHARS} characters, not {len(expression)}", field="cron")
    text = expression.replace("\t", " ")
    if not (text.isascii() and text.isprintable()):
        raise InvalidCron(f"cron {text[:SHOWN_CHARS]!a}: only printable ASCII is allowed", field="cron")
    return " ".join(text.upper().split())


@lru_cache(maxsize=REMEMBERED)
def _parse(text: str) -> Cron:
    if text.startswith("@"):
        raise ValueError(f"unknown name; there are {' '.join(_ALIASES).lower()}")
    written = text.split(" ")
    if len(written) not in (5, 6):
        raise ValueError("write 5 fields (minute hour day month weekday), or 6 with seconds first")
    plain = [_plain_field(*pair) for pair in zip(_FIELDS[-len(written) :], written, strict=True)]
    minute, hour, day, month, weekday = written[-5:]
    if not _day_exists(plain[-3], plain[-2]):
        if day.startswith("*") or weekday.startswith("*"):
            raise ValueError(f"day of month {day} does not exist in month {month}")
        plain[-3] = "*"  # the weekday alone can match; for the day croniter would search 50 years (5 ms)
    calendar = croniter(" ".join(plain), 0.0, second_at_beginning=True, implement_cron_bug=True)
    return Cron(text, fixed=not (minute.startswith("*") or hour.startswith("*")), _calendar=calendar)


def _plain_field(spec: _Field, text: str) -> str:
    """Rewrite a field so that croniter and Debian read it alike, or say what is wrong with it."""
    first, *rest = (_plain_term(spec, term) for term in text.split(","))
    if first == "*":
        return first
    # For croniter a field with `*` anywhere in its list begins with one.
    return ",".join([first, *(term.replace("*", f"{spec.low}-{spec.high}") for term in rest)])


def _plain_term(spec: _Field, text: str) -> str:
    if spec is _DAY and text == "L":
        return text
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f'{spec.name} "{text}" cannot be read')
    if match["step"] and int(match["step"]) == 0:
        raise ValueError(f"{spec.name} {text} has step 0")
    if match["low"] is None:
        return text
    low = _number(spec, match["low"])
    high = _number(spec, match["high"]) if match["high"] else spec.high if match["step"] else low
    if low > high:
        raise ValueError(f"{spec.name} {text} runs backwards")
    # For croniter an equal range is the whole field, and the end of `5/2` among weekdays is 6.
    return f"{low}-{high}/{match['step'] or 1}" if low < high else f"{low}"


def _number(spec: _Field, word: str) -> int:
    if word in spec.names:
        return spec.low + spec.names.index(word)
    if word.isdigit() and spec.low <= int(word) <= spec.high:
        return int(word)
    names = f" or {spec.names[0]}-{spec.names[-1]}" if spec.names else ""
    raise ValueError(f"{spec.name} {word} is not in {spec.low}-{spec.high}{names}")


def _day_exists(day: str, month: str) -> bool:
    return "L" in day or bool(croniter.is_valid(f"0 0 {day} {month} *", strict=True))


@lru_cache(maxsize=REMEMBERED)
def _next_s(cron: Cron, zone: ZoneInfo, after_s: int) -> int:
    """Search as if the offset stayed; at each shift of the clock before the match, go on from there."""
    wall_s, offset_s = _reading(zone, after_s, first_pass_only=cron.fixed)
    while True:
        now_s, due_s = wall_s - offset_s, cron.next_wall_s(wall_s) - offset_s
        seen_s = min(due_s, now_s + HORIZON_S)
        if _offset_s(zone, seen_s) != offset_s:
            shift_s = _first_shift(zone, now_s, seen_s, offset_s)
            before_s, offset_s = offset_s, _offset_s(zone, shift_s)
            if cron.fixed and due_s < shift_s + offset_s - before_s:
                return shift_s  # it falls into the gap
            resumed_s = max(before_s, offset_s) if cron.fixed else offset_s
            wall_s = shift_s + resumed_s - 1
        elif seen_s == due_s:
            return due_s
        else:  # nothing is due before `due_s`, whatever shifts lie between: look again from close by
            wall_s, offset_s = _reading(zone, max(seen_s, due_s - HORIZON_S), first_pass_only=False)


def _reading(zone: ZoneInfo, at_s: int, *, first_pass_only: bool) -> tuple[int, int]:
    """Return what the wall clock shows, and its offset; in a second pass, if asked, the end of the first."""
    local = datetime.fromtimestamp(at_s, zone)
    offset_s = _seconds(local.utcoffset())
    if not (first_pass_only and local.fold):
        return at_s + offset_s, offset_s
    before_s = _seconds(local.replace(fold=0).utcoffset())
    shift_s = _first_shift(zone, at_s - (before_s - offset_s), at_s, before_s)
    return shift_s + before_s - 1, offset_s


def _first_shift(zone: ZoneInfo, after_s: int, until_s: int, offset_s: int) -> int:
    """Return the first second in (after, until] with another offset; there is one, and only one shift."""
    seconds = range(after_s + 1, until_s + 1)
    return seconds[bisect_left(seconds, True, key=lambda at_s: _offset_s(zone, at_s) != offset_s)]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    return _seconds(datetime.fromtimestamp(at_s, zone).utcoffset())


def _seconds(offset: timedelta | None) -> int:
    return offset.days * 86_400 + offset.seconds if offset else 0
