"""What is due in a span of time, counted from the fields of the expressions. Pure.

To ask for one moment after the other takes 30 us each, and some tasks have 86,400 in a day. Here a day is asked for
once; which hours, minutes and seconds match in it, the fields say.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from heapq import merge
from typing import NamedTuple
from zoneinfo import ZoneInfo

from quotaflow.schedule.cron import Cron, next_after

SECOND_US = 1_000_000
HOUR_S, DAY_S = 3_600, 86_400
STEP_S = 6 * HOUR_S  # no zone shifts its clock twice within days
CAP = 48  # so many moments are shown one by one
DAYS = 16_384  # answers kept, three for each expression in a span of 24 hours

Zoned = tuple[Cron, ZoneInfo]


class Band(NamedTuple):
    """Moments that follow each other by an hour at most: the first, the last, and how many they are (`times`)."""

    first_us: int
    last_us: int
    times: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """In which hours of a day an expression matches, and in which seconds of an hour."""

    cron: Cron
    hours: tuple[int, ...]
    seconds: tuple[int, ...]


class Piece(NamedTuple):
    """A span of time in which the wall clock is ahead by the same, and by how much it was before. In seconds."""

    from_s: int
    until_s: int
    offset_s: int
    before_s: int


class Hour(NamedTuple):
    """When a task is due in an hour of the wall clock, in seconds after its beginning."""

    begin_s: int
    seconds: Sequence[int]


def due_within(
    crons: Mapping[str, Zoned], since_us: int, until_us: int, cap: int = CAP
) -> dict[str, list[Band]]:
    """Return when each task is due, since <= moment < until: single moments, or bands where there are more than `cap`.

    :param crons: expression and zone by task id. A single moment is a band of one.
    """
    since_s, until_s = -(-since_us // SECOND_US), -(-until_us // SECOND_US)
    pieces = {zone: _pieces(zone, since_s, until_s) for zone in {zone for _, zone in crons.values()}}
    found: dict[Zoned, list[Band]] = {}
    for cron, zone in set(crons.values()):
        hours = list(_hours(cron, pieces[zone], since_s))
        is_sparse = sum(len(hour.seconds) for hour in hours) <= cap
        found[cron, zone] = _moments(hours) if is_sparse else _bands(hours)
    return {task_id: found[zoned] for task_id, zoned in crons.items()}


def upcoming(crons: Mapping[str, Zoned], after_us: int) -> Iterator[tuple[int, str]]:
    """Yield when any of these tasks is due after this moment, and its id; soonest first, without end."""
    return merge(*[_ticks(task_id, zoned, after_us) for task_id, zoned in crons.items()])


def _ticks(task_id: str, zoned: Zoned, after_us: int) -> Iterator[tuple[int, str]]:
    while True:
        after_us = next_after(*zoned, after_us)
        yield after_us, task_id


def _moments(hours: Sequence[Hour]) -> list[Band]:
    moments = [(hour.begin_s + second) * SECOND_US for hour in hours for second in hour.seconds]
    return [Band(moment, moment, 1) for moment in moments]


def _bands(hours: Sequence[Hour]) -> list[Band]:
    bands: list[Band] = []
    for begin_s, seconds in hours:
        first_us, last_us = (begin_s + seconds[0]) * SECOND_US, (begin_s + seconds[-1]) * SECOND_US
        if bands and first_us - bands[-1].last_us <= HOUR_S * SECOND_US:
            before = bands.pop()
            bands.append(Band(before.first_us, last_us, before.times + len(seconds)))
        else:
            bands.append(Band(first_us, last_us, len(seconds)))
    return bands


def _hours(cron: Cron, pieces: Sequence[Piece], since_s: int) -> Iterator[Hour]:
    """Yield the hours in which anything is due, oldest first; see `next_after` for clocks that are moved."""
    pattern = _pattern(cron)
    for piece in pieces:
        ahead_s = max(piece.before_s, piece.offset_s) if cron.fixed else piece.offset_s
        resumed_s = piece.from_s + ahead_s
        if cron.fixed and piece.from_s >= since_s:
            gap = _matching(pattern, piece.from_s + piece.before_s, resumed_s)
            if any(gap) and not any(_matching(pattern, resumed_s, resumed_s + 1)):
                yield Hour(piece.from_s, (0,))
        from_s = max(resumed_s, since_s + piece.offset_s)
        for begin_s, seconds in _matching(pattern, from_s, piece.until_s + piece.offset_s):
            yield Hour(begin_s - piece.offset_s, seconds)


def _pattern(cron: Cron) -> Pattern:
    second, minute, hour, *_ = (
        range(size) if "*" in allowed else sorted(value for value in allowed if isinstance(value, int))
        for size, allowed in zip((60, 60, 24), cron.values, strict=False)
    )
    return Pattern(cron, tuple(hour), tuple(at * 60 + past for at in minute for past in second))


def _matching(pattern: Pattern, from_s: int, until_s: int) -> Iterator[Hour]:
    """Yield what matches when the wall clock goes from one reading to another, hour by hour."""
    for day_s in range(from_s - from_s % DAY_S, until_s, DAY_S):
        if not _has(pattern.cron, day_s):
            continue
        for hour in pattern.hours:
            begin_s = day_s + hour * HOUR_S
            first = bisect_left(pattern.seconds, from_s - begin_s)
            end = bisect_left(pattern.seconds, until_s - begin_s)
            if first < end:
                yield Hour(begin_s, pattern.seconds[first:end])


@lru_cache(maxsize=DAYS)
def _has(cron: Cron, day_s: int) -> bool:
    """Say whether a day of the wall clock has anything due. To find the next day of a yearly one takes 0.4 ms."""
    return cron.next_wall_s(day_s - 1) < day_s + DAY_S


def _pieces(zone: ZoneInfo, since_s: int, until_s: int) -> list[Piece]:
    """Cut the time at each shift of the clock, from a day before on: what was passed once is not due again."""
    from_s = at_s = max(0, since_s - DAY_S)
    offset_s = before_s = _offset_s(zone, from_s)
    pieces = []
    while at_s < until_s:
        ahead_s = min(at_s + STEP_S, until_s)
        if _offset_s(zone, ahead_s) != offset_s:
            shift_s = _first_shift(zone, at_s, ahead_s, offset_s)
            pieces.append(Piece(from_s, shift_s, offset_s, before_s))
            from_s, before_s, offset_s = shift_s, offset_s, _offset_s(zone, shift_s)
        at_s = ahead_s
    return [*pieces, Piece(from_s, until_s, offset_s, before_s)]


def _first_shift(zone: ZoneInfo, after_s: int, until_s: int, offset_s: int) -> int:
    seconds = range(after_s + 1, until_s + 1)
    return seconds[bisect_left(seconds, True, key=lambda at_s: _offset_s(zone, at_s) != offset_s)]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    return round((datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta()).total_seconds())
