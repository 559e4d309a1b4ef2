"""The picture of what is due: where things are drawn, and what is said of them."""

from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from quotaflow.control.timeline import Band, due_within
from quotaflow.edges.web.reader import Reader
from quotaflow.edges.web.timeline import LABEL, MARGIN, MARK, SPAN_US, WIDTH, timeline_of
from quotaflow.edges.web.words import Words
from quotaflow.schedule.cron import parse

HOUR_US = 3_600_000_000
NOON = round(
    datetime(2026, 3, 28, 12, 15, tzinfo=UTC).timestamp() * 1e6
)  # Berlin's clock is moved that night


def reader(zone: tzinfo = UTC, language: str = "en") -> Reader:
    return Reader(Words(language), zone, NOON)


def test_a_moment_is_a_tick_where_it_is_in_the_day_and_many_are_a_band() -> None:
    due = {
        "once": [Band(NOON + 12 * HOUR_US, NOON + 12 * HOUR_US, 1)],
        "often": [Band(NOON, NOON + 6 * HOUR_US, 1_234)],
        "never": [],
    }
    drawn = timeline_of({"often": "Often", "never": "Never", "once": "Once", "gone": "Gone"}, due, reader())
    assert [row.name for row in drawn.rows] == ["Often", "Once"]
    (band,), (tick,) = (row.marks for row in drawn.rows)
    day = WIDTH - LABEL - MARGIN
    assert (band.shape, band.x) == ("band", LABEL)
    assert band.width == pytest.approx(day / 4, abs=0.1)
    assert (tick.shape, tick.width) == ("tick", MARK)
    assert tick.x == pytest.approx(LABEL + day / 2, abs=0.1)
    assert band.said == "Often: 1,234 times, 12:15:00 – 18:15:00"
    assert tick.said == "Once, 2026-03-29 00:15:00"


def test_it_is_said_in_the_language_of_the_page() -> None:
    drawn = timeline_of({"a": "每晚"}, {"a": [Band(NOON, NOON + HOUR_US, 60)]}, reader(language="zh"))
    assert drawn.rows[0].said == "每晚：60 次，12:15:00 – 13:15:00"


@pytest.mark.parametrize(
    ("zone", "first", "labels"),
    [
        ("UTC", 0.75, ["", "14:00", "", "16:00"]),
        ("Asia/Kolkata", 0.25, ["18:00", "", "20:00", ""]),
        ("Asia/Kathmandu", 1.0, ["", "20:00", "", "22:00"]),
    ],
)
def test_hours_are_those_of_the_readers_clock(zone: str, first: float, labels: list[str]) -> None:
    hours = timeline_of({}, {}, reader(ZoneInfo(zone))).hours
    assert hours[0].x == pytest.approx(LABEL + first / 24 * (WIDTH - LABEL - MARGIN), abs=0.1)
    assert [hour.label for hour in hours[:4]] == labels


def test_an_hour_that_the_clock_leaves_out_is_not_shown() -> None:
    labels = [hour.label for hour in timeline_of({}, {}, reader(ZoneInfo("Europe/Berlin"))).hours]
    assert "02:00" not in labels
    assert labels[labels.index("00:00") :][:4] == ["00:00", "", "", "04:00"]


def test_every_task_has_a_row_of_its_own_inside_the_picture() -> None:
    cron = parse("0 3 * * *"), ZoneInfo("UTC")
    names = {str(number): f"Task {number}" for number in range(30)}
    drawn = timeline_of(names, due_within(dict.fromkeys(names, cron), NOON, NOON + SPAN_US), reader())
    assert [row.name for row in drawn.rows] == list(names.values())
    assert all(before.y < after.y for before, after in pairwise(drawn.rows))
    assert drawn.height > drawn.rows[-1].y


@pytest.mark.parametrize(
    ("name", "label"),
    [("short", "short"), ("x" * 26, "x" * 26), ("x" * 27, "x" * 25 + "…"), ("每" * 14, "每" * 12 + "…")],
)
def test_a_long_name_is_cut_by_its_width(name: str, label: str) -> None:
    drawn = timeline_of({"a": name}, {"a": [Band(NOON, NOON, 1)]}, reader())
    assert (drawn.rows[0].label, drawn.rows[0].name) == (label, name)
