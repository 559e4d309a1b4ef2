"""When a failed attempt is tried again. The waits are tenacity's; what the other side asks for is believed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tenacity import wait_chain, wait_exponential, wait_fixed, wait_none, wait_random
from tenacity.wait import wait_base, wait_exception

from quotaflow import Retry
from quotaflow.errors import RegistrationError, Unavailable
from quotaflow.runner.retry import LONGEST_WAIT_S

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOUBLING = wait_exponential(multiplier=1, min=1, max=10)


class AskedError(Exception):
    """The other side says when to come again."""

    def __init__(self, retry_after: object) -> None:
        self.retry_after = retry_after


def answered(headers: Mapping[str, str]) -> httpx.HTTPStatusError:
    """An answer that httpx turned into an error."""
    response = httpx.Response(429, headers=dict(headers))
    return httpx.HTTPStatusError("429", request=httpx.Request("GET", "http://h"), response=response)


def delays(retry: Retry) -> list[float | None]:
    return [retry.delay_s(attempt, ValueError(), NOW) for attempt in range(1, 6)]


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (wait_exponential(), [1, 2, 4, 8]),
        (DOUBLING, [1, 2, 4, 8]),
        (wait_exponential(multiplier=0.5, max=3), [0.5, 1, 2, 3]),
        (wait_fixed(3) + wait_none(), [3, 3, 3, 3]),
        (wait_chain(wait_fixed(1), wait_fixed(5)), [1, 5, 5, 5]),
        (wait_exception(lambda error: 7 if isinstance(error, ValueError) else 0), [7, 7, 7, 7]),
    ],
)
def test_every_wait_of_tenacity_gives_its_own_delays_and_the_last_attempt_none(
    wait: wait_base, expected: list[float]
) -> None:
    assert delays(Retry(attempts=5, wait=wait)) == [*expected, None]


def test_the_usual_wait_doubles_with_up_to_a_second_by_chance() -> None:
    first, second, last, *_ = delays(Retry())
    assert first is not None
    assert second is not None
    assert 1 <= first <= 2 <= second <= 3
    assert last is None


def test_one_attempt_is_never_followed_by_another() -> None:
    assert Retry(attempts=1).delay_s(1, ValueError(), NOW) is None


def test_what_did_not_fail_is_not_tried_again() -> None:
    assert Retry().delay_s(1, None, NOW) is None


@pytest.mark.parametrize(
    ("on", "error", "is_worth_it"),
    [
        (Exception, ValueError(), True),
        (Exception, KeyboardInterrupt(), False),
        (LookupError, KeyError(), True),
        (LookupError, ValueError(), False),
        ((LookupError, OSError), TimeoutError(), True),
    ],
)
def test_only_the_errors_it_is_for_are_worth_another_try(
    on: Any, error: BaseException, is_worth_it: bool
) -> None:
    assert (Retry(on=on).delay_s(1, error, NOW) is not None) is is_worth_it


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AskedError(30), 30),
        (AskedError(2.5), 2.5),
        (AskedError("30"), 30),
        (Unavailable("away", retry_after=4), 4),
        (answered({"Retry-After": "120"}), 120),
        (answered({"retry-after": "120"}), 120),
        (answered({"Retry-After": "Sun, 01 Mar 2026 12:01:30 GMT"}), 90),
        (answered({"Retry-After": "Sun Mar  1 12:01:30 2026"}), 90),
        (answered({"Retry-After": "Sun, 01 Mar 2026 13:01:30 +0100"}), 90),
    ],
)
def test_who_says_when_to_come_again_is_believed(error: Exception, expected: float) -> None:
    assert Retry(wait=DOUBLING).delay_s(1, error, NOW) == expected


def test_headers_are_also_looked_for_on_the_error_itself() -> None:
    error = ValueError()
    error.headers = {"Retry-After": "9"}  # type: ignore[attr-defined]
    assert Retry(wait=DOUBLING).delay_s(1, error, NOW) == 9


@pytest.mark.parametrize(
    "error",
    [
        AskedError(0.5),
        answered({"Retry-After": "0"}),
        answered({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}),
    ],
)
def test_being_asked_to_come_sooner_shortens_no_wait(error: Exception) -> None:
    assert Retry(wait=DOUBLING).delay_s(1, error, NOW) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        " ",
        "soon",
        "-5",
        "nan",
        "inf",
        "1e400",
        "Mon, 99 Foo 2026",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_nonsense_in_a_header_changes_nothing(nonsense: str) -> None:
    assert Retry(wait=DOUBLING).delay_s(2, answered({"Retry-After": nonsense}), NOW) == 2


@pytest.mark.parametrize("nonsense", [None, True, -3, float("nan"), float("inf"), [5], object(), 10**400])
def test_nonsense_on_an_error_changes_nothing(nonsense: object) -> None:
    assert Retry(wait=DOUBLING).delay_s(2, AskedError(nonsense), NOW) == 2


def test_nobody_waits_longer_than_a_month() -> None:
    for retry, error in ((Retry(wait=wait_fixed(1e12)), ValueError()), (Retry(), AskedError(1e12))):
        assert retry.delay_s(1, error, NOW) == LONGEST_WAIT_S


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("attempts", {"attempts": 0}),
        ("attempts", {"attempts": 101}),
        ("attempts", {"attempts": 2.0}),
        ("attempts", {"attempts": True}),
        ("attempts", {"attempts": "3"}),
        ("wait", {"wait": 5}),
        ("wait", {"wait": None}),
        ("on", {"on": ()}),
        ("on", {"on": "ValueError"}),
        ("on", {"on": ValueError()}),
        ("on", {"on": (ValueError, int)}),
    ],
)
def test_an_argument_that_is_none_is_refused_by_name(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(RegistrationError, match=f"Retry: {field} must be"):
        Retry(**options)


def test_the_bounds_are_accepted() -> None:
    assert [Retry(attempts=attempts).attempts for attempts in (1, 100)] == [1, 100]
    assert Retry(wait=wait_random(0, 0)).delay_s(1, ValueError(), NOW) == 0
