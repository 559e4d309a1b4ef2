"""When quotas run out if their use goes on as it was in the last hour. Pure."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from quotaflow.amounts import MICRO
from quotaflow.control.quotas import QuotaView
from quotaflow.model import QuotaKind
from quotaflow.store import MinuteFigures

HOUR_US = 3_600 * MICRO
LEAST_US = (
    300 * MICRO
)  # a level is known to the minute: over less time a pace would be off by more than a fifth
FURTHEST_US = 366 * 86_400 * MICRO  # what lasts longer does not run out
SOON_US = 86_400 * MICRO
LOW, LOWEST = 0.5, 0.2  # of the whole: what is looked at, and what is shown whatever its pace

Point = tuple[int, float]  # moment in microseconds, units left


class NearEnd(NamedTuple):
    """A quota that is nearly used up: which part of it is left, and when nothing will be, None for not soon.

    `is_known`: it was watched for long enough to tell.
    """

    view: QuotaView
    share: float
    ends_us: int | None
    is_known: bool


def runs_out(points: Sequence[Point], remaining: float, now_us: int, kind: QuotaKind) -> int | None:
    """Return the moment when nothing is left, None when that does not come within a year or cannot be told.

    The pace is what an allowance lost, whatever it was recharged, and what a bucket lost after its refills.

    :param points: levels of the last hour, oldest first.
    """
    if remaining <= 0:
        return now_us
    known = [*points, (now_us, remaining)]
    took_us = now_us - known[0][0]
    if not has_pace(points, now_us):
        return None
    if kind is QuotaKind.ALLOWANCE:
        lost = sum(max(0.0, earlier - later) for (_, earlier), (_, later) in pairwise(known))
    else:
        lost = known[0][1] - remaining
    if lost * FURTHEST_US <= remaining * took_us:
        return None
    return now_us + round(remaining / lost * took_us)


def has_pace(points: Sequence[Point], now_us: int) -> bool:
    """Say whether the levels reach back far enough to tell a pace."""
    return bool(points) and now_us - points[0][0] >= LEAST_US


def points_of(minutes: Sequence[MinuteFigures], now_us: int) -> list[Point]:
    """Return the levels of the last hour."""
    return [
        (minute.minute_us, minute.remaining)
        for minute in minutes
        if minute.remaining is not None and now_us - HOUR_US <= minute.minute_us <= now_us
    ]


def share_left(view: QuotaView) -> float | None:
    """Return which part of a quota is left; None while Redis is away, and of one that never had anything."""
    if view.level is None:
        return None
    whole = view.level.total if view.level.total is not None else view.quota.capacity
    return view.level.remaining / whole if whole > 0 else None


def near_their_end(
    views: Sequence[QuotaView], minutes: Mapping[str, Sequence[MinuteFigures]], now_us: int
) -> list[NearEnd]:
    """Return enabled quotas with less than a half that run out within a day, or less than a fifth; soonest first.

    :param minutes: by quota id; needed only where `share_left` is less than `LOW`.
    """
    near = []
    for view in views:
        share = share_left(view)
        if view.level is None or share is None or share >= LOW or not view.quota.enabled:
            continue
        points = points_of(minutes.get(view.quota.id, ()), now_us)
        ends_us = runs_out(points, view.level.remaining, now_us, view.quota.kind)
        if ends_us is not None and ends_us - now_us > SOON_US:
            ends_us = None
        if ends_us is not None or share < LOWEST:
            near.append(NearEnd(view, share, ends_us, has_pace(points, now_us)))
    return sorted(near, key=_urgency)


def _urgency(near: NearEnd) -> tuple[bool, int, float, str]:
    return near.ends_us is None, near.ends_us or 0, near.share, near.view.quota.id
