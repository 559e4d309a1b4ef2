"""What is due within a span: as many moments as asking for one after the other finds, in few bands."""

import random
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from quotaflow.control.timeline import CAP, HOUR_S, SECOND_US, Band, due_within, upcoming
from quotaflow.schedule.cron import next_after, parse
from tests.schedule import cron_cases as cases

DAY_US = 86_400 * SECOND_US
START_US = 1_750_000_000 * SECOND_US  # 2025-06-15 15:06:40 UTC, a Sunday
MIDNIGHT_US = START_US - START_US % DAY_US
UTC = ZoneInfo("UTC")


def bands(expression: str, zone: ZoneInfo = UTC, since_us: int = START_US, cap: int = CAP) -> list[Band]:
    return due_within({"t": (parse(expression), zone)}, since_us, since_us + DAY_US, cap)["t"]


def one_by_one(expression: str, zone: ZoneInfo, since_us: int) -> list[int]:
    cron, found, at_us = parse(expression), [], since_us - 1
    while (at_us := next_after(cron, zone, at_us)) < since_us + DAY_US:
        found.append(at_us)
    return found


def test_few_moments_are_bands_of_one() -> None:
    evening_us, morning_us = (MIDNIGHT_US + hour * HOUR_S * SECOND_US for hour in (18, 33))
    assert bands("0 9,18 * * *") == [Band(evening_us, evening_us, 1), Band(morning_us, morning_us, 1)]


def test_every_second_of_a_day_is_one_band() -> None:
    assert bands("* * * * * *") == [Band(START_US, START_US + DAY_US - SECOND_US, 86_400)]


def test_working_hours_are_one_band_and_a_pause_makes_two() -> None:
    assert [band.times for band in bands("* 9-16 * * *", since_us=MIDNIGHT_US)] == [480]
    assert [band.times for band in bands("* 9-11,14-16 * * *", since_us=MIDNIGHT_US)] == [180, 180]


def test_nothing_is_due_on_another_day() -> None:
    assert bands("* * * * FRI") == []


def test_what_is_due_at_the_end_is_not_in_it_and_at_the_beginning_is() -> None:
    tomorrow_us = MIDNIGHT_US + DAY_US
    assert bands("0 0 * * *", since_us=MIDNIGHT_US) == [Band(MIDNIGHT_US, MIDNIGHT_US, 1)]
    assert bands("0 0 * * *", since_us=MIDNIGHT_US + 1) == [Band(tomorrow_us, tomorrow_us, 1)]


@pytest.mark.parametrize("zone", cases.ZONES)
def test_the_moments_are_those_that_are_found_one_by_one(zone: str) -> None:
    """Around the clock's shifts, and at any time; a few expressions of each kind at each."""
    tz, chance = ZoneInfo(zone), random.Random(zone)  # noqa: S311  the same in every run
    moments = [shift_s - chance.randrange(86_400) for shift_s in cases.shifts(zone)][:8]
    moments += [chance.randrange(cases.FROM_S, cases.UNTIL_S) for _ in range(2)]
    for since_s in moments:
        since_us = since_s * SECOND_US + chance.randrange(SECOND_US)
        kinds = (cases.RHYTHMS, cases.FIXED, cases.CALENDAR)
        for expression in [expression for kind in kinds for expression in chance.sample(kind, 2)]:
            expected = one_by_one(expression, tz, since_us)
            assert [band.first_us for band in bands(expression, tz, since_us, cap=10_000)] == expected
            merged = bands(expression, tz, since_us, cap=0)
            assert sum(band.times for band in merged) == len(expected), (expression, since_s)
            assert {at for band in merged for at in band[:2]} <= set(expected)
            gaps = [later.first_us - earlier.last_us for earlier, later in pairwise(merged)]
            assert all(gap > HOUR_S * SECOND_US for gap in gaps)


def test_two_hundred_dense_tasks_are_a_band_or_two_each() -> None:
    crons = {
        f"t{number}": (parse(f"0-{number % 59 + 1} * {number // 59}-23 * * *"), UTC) for number in range(200)
    }
    found = due_within(crons, START_US, START_US + DAY_US)
    assert {len(row) for row in found.values()} <= {1, 2}


def test_what_comes_of_several_tasks_is_in_the_order_of_time() -> None:
    crons = {"b": (parse("*/20 * * * * *"), UTC), "a": (parse("*/30 * * * * *"), UTC)}
    minute_us = START_US - START_US % (60 * SECOND_US) + 60 * SECOND_US
    found = [
        ((at_us - minute_us) // SECOND_US, task_id)
        for at_us, task_id in islice(upcoming(crons, minute_us), 5)
    ]
    assert found == [(20, "b"), (30, "a"), (40, "b"), (60, "a"), (60, "b")]
    assert list(upcoming({}, START_US)) == []
