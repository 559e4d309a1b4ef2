"""Rate limits as people write them become a pace in whole microseconds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.errors import InvalidInput
from quotaflow.rates import LONGEST_S, MAX_BURST, PERIODS_S, pace_of, parse_rate


def interval_us(value: object) -> int:
    rate = parse_rate(value)
    assert rate is not None
    return rate.pace.interval_us


@pytest.mark.parametrize(
    ("value", "expected_us"),
    [
        ("10/s", 100_000),
        ("100/m", 600_000),
        ("60/h", 60_000_000),
        ("0.5/h", 7_200_000_000),
        ("2.5/s", 400_000),
        ("1/3/h", 3 * 3_600_000_000),
        ("3/2/s", 666_667),
        ("05/s", 200_000),
        (" 10 / m ", 6_000_000),
        (10, 100_000),
        (0.5, 2_000_000),
        (4.0, 250_000),
    ],
)
def test_a_number_a_slash_and_a_period_or_a_plain_number_per_second(value: object, expected_us: int) -> None:
    assert interval_us(value) == expected_us


@pytest.mark.parametrize("value", [None, 0, 0.0, "0/s", "0/m", "0.0/h", "0/7/s"])
def test_nothing_and_zero_limit_nothing(value: object) -> None:
    assert parse_rate(value) is None


def test_it_remembers_how_it_was_written() -> None:
    texts = [rate.text for rate in map(parse_rate, ("1/3/h", " 10 / m", 5, 0.25)) if rate is not None]
    assert texts == ["1/3/h", "10/m", "5/s", "0.25/s"]


@pytest.mark.parametrize("value", ["1/s", "7/s", "3/s", "7/9/m", "9999999/s"])
def test_intervals_are_rounded_up_so_that_nothing_is_faster_than_asked_for(value: str) -> None:
    number, _, period = value.rpartition("/")
    exact = Fraction(PERIODS_S[period] * 1_000_000) / Fraction(number)
    assert 0 <= interval_us(value) - exact < 1


@given(st.integers(1, 9_999_999), st.integers(1, 1_000), st.sampled_from("smh"))
def test_no_fraction_is_ever_faster_than_asked_for(above: int, below: int, period: str) -> None:
    exact = Fraction(PERIODS_S[period] * 1_000_000 * below, above)
    assert 0 <= interval_us(f"{above}/{below}/{period}") - exact < 1


@pytest.mark.parametrize("burst", [1, 2, MAX_BURST])
def test_starts_that_may_come_at_once_are_kept_beside_the_interval(burst: int) -> None:
    rate = parse_rate("10/s", burst)
    assert rate is not None
    assert rate.pace == (100_000, burst)


@pytest.mark.parametrize(
    ("value", "burst", "expected", "text"),
    [
        ("10/m burst 5", 1, 5, "10/m burst 5"),
        ("10/m", 5, 5, "10/m burst 5"),
        ("10/mburst5", 3, 5, "10/m burst 5"),
        ("1/3/h burst 1", 1, 1, "1/3/h"),
        (10, 2, 2, "10/s burst 2"),
    ],
)
def test_the_text_says_how_many_may_come_at_once_and_can_be_read_again(
    value: object, burst: int, expected: int, text: str
) -> None:
    rate = parse_rate(value, burst)
    assert rate is not None
    assert (rate.text, rate.pace.burst) == (text, expected)
    assert pace_of(text) == rate.pace


@pytest.mark.parametrize("burst", [0, -1, MAX_BURST + 1, 2.0, True, "2", None])
def test_a_burst_that_is_no_number_of_starts_is_refused(burst: object) -> None:
    for value in ("10/s", None):
        with pytest.raises(InvalidInput) as caught:
            parse_rate(value, burst)
        assert caught.value.field == "rate_burst"


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "10",
            "１/m",
            "/s",
            "10/",
            "10/d",
            "10/S",
            "10/sec",
            "-1/s",
            "+1/s",
            "1e3/s",
            ".5/s",
            "1./s",
            "1,5/s",
            "ten/s",
        ),
        *(
            "1/2/3/s",
            "0.5/2/s",
            "nan/s",
            "inf/s",
            "1234567890/s",
            "0.1234567/s",
            "10/s\n",
            "10/s;",
            "10/s burst",
            "10/s burst 0",
            "10/s burst 1000001",
        ),
        *("1/0/s", "5/00/s", "0/0/s", "1/000000000/h"),
        *(-1, -0.5, 1e-7, 1e9, float("nan"), float("inf"), True, False, b"10/s", [10], ("10", "s")),
    ],
)
def test_what_is_no_rate_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_rate(value)
    assert caught.value.field == "rate_limit"


def test_the_slowest_is_one_start_a_year() -> None:
    hours = LONGEST_S // 3600
    assert interval_us(f"1/{hours}/h") == LONGEST_S * 1_000_000
    with pytest.raises(InvalidInput, match="one start a year"):
        parse_rate(f"1/{hours + 1}/h")
