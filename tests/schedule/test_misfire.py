"""What becomes of moments that nobody claimed in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.errors import InvalidInput
from quotaflow.schedule.misfire import COALESCE, SKIP, Misfire, Verdict, decide, parse_misfire

NOW_US = 1_790_000_000_000_000
GRACE_US = 60_000_000
POLICIES = ("skip", "coalesce", "catchup(1)", "catchup(3)", "catchup(1000)")


def late(*by_us: int) -> list[int]:
    return [NOW_US - us for us in by_us]


@pytest.mark.parametrize(
    ("policy", "late_us", "runs"),
    [
        ("skip", (), []),
        ("skip", (0,), [True]),
        ("skip", (GRACE_US,), [True]),
        ("skip", (GRACE_US + 1,), [False]),
        ("skip", (GRACE_US, 0), [False, True]),
        ("skip", (3 * GRACE_US, 2 * GRACE_US), [False, False]),
        ("coalesce", (), []),
        ("coalesce", (0,), [True]),
        ("coalesce", (9 * GRACE_US, 8 * GRACE_US, 7 * GRACE_US), [False, False, True]),
        ("catchup(1)", (9 * GRACE_US, 8 * GRACE_US), [False, True]),
        ("catchup(2)", (9 * GRACE_US, 8 * GRACE_US, 7 * GRACE_US), [False, True, True]),
        ("catchup(5)", (9 * GRACE_US, 0), [True, True]),
        ("catchup(1000)", (9 * GRACE_US,), [True]),
    ],
)
def test_the_policy_decides_which_overdue_moments_run(
    policy: str, late_us: tuple[int, ...], runs: list[bool]
) -> None:
    due = late(*late_us)
    expected = [Verdict(moment_us, run) for moment_us, run in zip(due, runs, strict=True)]
    assert decide(due, NOW_US, parse_misfire(policy), GRACE_US) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_one_moment_within_the_grace_runs_under_every_policy(policy: str) -> None:
    assert decide(late(GRACE_US), NOW_US, parse_misfire(policy), GRACE_US) == [(NOW_US - GRACE_US, True)]


@given(
    late_us=st.lists(st.integers(0, 10 * GRACE_US), unique=True, max_size=50),
    policy=st.sampled_from(POLICIES),
    grace_us=st.integers(0, 10 * GRACE_US),
)
def test_every_moment_gets_one_verdict_and_none_older_runs_than_one_that_is_missed(
    late_us: list[int], policy: str, grace_us: int
) -> None:
    due = late(*sorted(late_us, reverse=True))
    verdicts = decide(due, NOW_US, parse_misfire(policy), grace_us)
    assert [verdict.scheduled_for_us for verdict in verdicts] == due
    assert [verdict.runs for verdict in verdicts] == sorted(verdict.runs for verdict in verdicts)
    assert sum(verdict.runs for verdict in verdicts) <= parse_misfire(policy).keep


def test_policies_are_values() -> None:
    assert parse_misfire("skip") is SKIP
    assert parse_misfire("coalesce") is COALESCE
    assert parse_misfire("catchup(12)") == Misfire(keep=12, however_late=True)
    assert parse_misfire("catchup(1)") == COALESCE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Skip",
        "skip ",
        "run",
        "catchup",
        "catchup()",
        "catchup(0)",
        "catchup(01)",
        "catchup(1001)",
        "catchup(-1)",
        "catchup(1.5)",
        "catchup(٥)",
        "catchup(5)\n",
        "catchup(" + "9" * 5_000 + ")",
        None,
        True,
        5,
    ],
)
def test_any_other_policy_is_refused_in_one_short_line(text: object) -> None:
    with pytest.raises(InvalidInput, match=r"^misfire must be skip, coalesce or catchup\(1\)") as caught:
        parse_misfire(text)
    assert caught.value.field == "misfire"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120
