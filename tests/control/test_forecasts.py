"""When quotas run out: the pace of the last hour, and which are shown."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.control.forecasts import FURTHEST_US, LEAST_US, NearEnd, Point, near_their_end, runs_out
from quotaflow.control.quotas import QuotaView
from quotaflow.model import Level, QuotaKind, make_quota
from quotaflow.store import MinuteFigures

NOW = 1_750_000_020_000_000
MINUTE = 60_000_000


def points(*levels: float) -> list[Point]:
    """Make levels of every tenth minute, the last one ten minutes ago."""
    return [(NOW - (len(levels) - place) * 10 * MINUTE, level) for place, level in enumerate(levels)]


@pytest.mark.parametrize("kind", list(QuotaKind))
def test_a_steady_use_ends_in_its_time(kind: QuotaKind) -> None:
    """Ten units in ten minutes: 60 more last an hour."""
    assert runs_out(points(80, 70), 60, NOW, kind) == NOW + 60 * MINUTE


def test_a_recharge_hides_no_use_and_refills_do() -> None:
    levels = points(100, 40, 100)
    assert runs_out(levels, 40, NOW, QuotaKind.ALLOWANCE) == NOW + 10 * MINUTE
    assert runs_out(levels, 40, NOW, QuotaKind.BUCKET) == NOW + 20 * MINUTE
    assert runs_out(points(40, 10, 40), 40, NOW, QuotaKind.BUCKET) is None


def test_what_rests_grows_or_lasts_for_years_does_not_run_out() -> None:
    for kind in QuotaKind:
        assert runs_out(points(5, 5), 5, NOW, kind) is None
        assert runs_out(points(1, 2), 3, NOW, kind) is None
        assert runs_out(points(1e9, 1e9), 1e9 - 1, NOW, kind) is None


def test_a_few_minutes_are_no_pace() -> None:
    assert runs_out([], 5, NOW, QuotaKind.BUCKET) is None
    assert runs_out([(NOW - LEAST_US + 1, 100)], 5, NOW, QuotaKind.BUCKET) is None


def test_what_is_used_up_has_run_out() -> None:
    assert runs_out([], 0, NOW, QuotaKind.ALLOWANCE) == NOW


LEVELS = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)
KINDS = st.sampled_from(QuotaKind)


def each_minute(levels: Sequence[float]) -> list[Point]:
    return [(NOW - (len(levels) - place) * MINUTE, level) for place, level in enumerate(levels)]


@given(LEVELS, st.floats(0, 1e6), KINDS)
def test_the_end_is_ahead_and_within_a_year_or_not_known(
    levels: list[float], remaining: float, kind: QuotaKind
) -> None:
    ends_us = runs_out(each_minute(levels), remaining, NOW, kind)
    assert ends_us is None or NOW <= ends_us <= NOW + FURTHEST_US


@given(LEVELS, st.floats(1, 1e6), KINDS)
def test_the_end_does_not_depend_on_the_unit(levels: list[float], remaining: float, kind: QuotaKind) -> None:
    one = runs_out(each_minute(levels), remaining, NOW, kind)
    double = runs_out(each_minute([level * 2 for level in levels]), remaining * 2, NOW, kind)
    assert one == double


@given(LEVELS, st.floats(1, 1e6))
def test_an_allowance_never_outlasts_a_bucket_with_the_same_levels(
    levels: list[float], remaining: float
) -> None:
    bucket = runs_out(each_minute(levels), remaining, NOW, QuotaKind.BUCKET)
    allowance = runs_out(each_minute(levels), remaining, NOW, QuotaKind.ALLOWANCE)
    slack_us = MINUTE  # sums of floats
    assert bucket is None or bucket > NOW + FURTHEST_US - slack_us or (allowance or 0) <= bucket + slack_us


def view(
    quota_id: str, remaining: float | None, *, total: float | None = None, enabled: bool = True
) -> QuotaView:
    kind = QuotaKind.BUCKET if total is None else QuotaKind.ALLOWANCE
    amounts = {"capacity": 100, "refill_rate": 1} if total is None else {"total": total}
    level = None if remaining is None else Level(quota_id, remaining, 0, 0, 0, 1, total=total)
    return QuotaView(make_quota(id=quota_id, enabled=enabled, kind=kind, **amounts), level)


def hour(first: float, last: float) -> list[MinuteFigures]:
    """Make two levels, an hour and half an hour ago."""
    return [
        MinuteFigures(NOW - back * MINUTE, 0, 0, 0, 0, level) for back, level in ((60, first), (30, last))
    ]


def test_the_nearest_end_is_first_and_whatever_has_time_is_left_out() -> None:
    views = [
        view("plenty", 60),
        view("low", 15),
        view("lowest", 10),
        view("slow", 45),
        view("soon", 40),
        view("sooner", 30, total=100),
        view("off", 1, enabled=False),
        view("unknown", None),
    ]
    minutes = {
        "plenty": hour(100, 80),
        "slow": hour(45.1, 45.05),  # 0.1 an hour: 450 hours
        "soon": hour(60, 50),  # 20 an hour: two hours
        "sooner": hour(90, 60),  # 60 an hour
        "off": hour(90, 50),
    }
    found = near_their_end(views, minutes, NOW)
    by_id = {view.quota.id: view for view in views}
    assert found == [
        NearEnd(by_id["sooner"], 0.3, NOW + 30 * MINUTE, True),
        NearEnd(by_id["soon"], 0.4, NOW + 120 * MINUTE, True),
        NearEnd(by_id["lowest"], 0.1, None, False),
        NearEnd(by_id["low"], 0.15, None, False),
    ]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100)), max_size=8))
def test_every_quota_shown_has_a_reason(levels: list[tuple[float, float, float]]) -> None:
    views = [view(f"q{number}", now) for number, (_, _, now) in enumerate(levels)]
    minutes = {f"q{number}": hour(first, last) for number, (first, last, _) in enumerate(levels)}
    found = near_their_end(views, minutes, NOW)
    for near in found:
        assert near.share < 0.2 or (near.share < 0.5 and near.ends_us is not None)
        assert near.ends_us is None or near.ends_us - NOW <= 86_400_000_000
    shown = {near.view.quota.id for near in found}
    assert {quota.quota.id for quota in views if quota.level and quota.level.remaining < 20} <= shown
    ends = [near.ends_us for near in found if near.ends_us is not None]
    assert ends == sorted(ends)
    assert [near.ends_us for near in found[len(ends) :]] == [None] * (len(found) - len(ends))
