"""What a decorator may say about how its task runs, and what it becomes."""

from collections.abc import Callable
from typing import Any

import pytest

from quotaflow import LimitTask, Retry, SchedulerTask
from quotaflow.errors import InvalidInput
from quotaflow.runner.options import (
    FOREVER_S,
    LONGEST_WAIT_S,
    Isolation,
    RunOptions,
    TimeLimits,
    check_names,
    fields_of,
    merged,
    wait_of,
)

NONE = TimeLimits()


@pytest.mark.parametrize(
    ("call", "task", "config", "expected"),
    [
        (NONE, NONE, NONE, NONE),
        (NONE, NONE, TimeLimits(60, 50), TimeLimits(60, 50)),
        (NONE, TimeLimits(30, 20), TimeLimits(60, 50), TimeLimits(30, 20)),
        (TimeLimits(10, 5), TimeLimits(30, 20), TimeLimits(60, 50), TimeLimits(10, 5)),
        (TimeLimits(None, 5), TimeLimits(30, None), TimeLimits(60, 50), TimeLimits(30, 5)),
        (TimeLimits(100, None), NONE, TimeLimits(60, 50), TimeLimits(100, 50)),
        (NONE, TimeLimits(5, 5), NONE, TimeLimits(5, 5)),
        (NONE, TimeLimits(None, 5), NONE, TimeLimits(None, 5)),
    ],
)
def test_the_call_has_the_first_word_then_the_task_then_the_configuration(
    call: TimeLimits, task: TimeLimits, config: TimeLimits, expected: TimeLimits
) -> None:
    assert merged(call, task, config) == expected


@pytest.mark.parametrize(
    ("call", "task", "config"),
    [
        (NONE, TimeLimits(5, 6), NONE),
        (TimeLimits(10, None), TimeLimits(30, 20), NONE),
        (NONE, TimeLimits(30, None), TimeLimits(60, 50)),
        (TimeLimits(None, 61), NONE, TimeLimits(60, None)),
    ],
)
def test_a_soft_limit_after_the_hard_one_is_found_whoever_set_them(
    call: TimeLimits, task: TimeLimits, config: TimeLimits
) -> None:
    """The task and the configuration are fine each by itself; together they are not."""
    with pytest.raises(InvalidInput, match="less than or equal to time_limit") as caught:
        merged(call, task, config)
    assert caught.value.field == "soft_time_limit"


@pytest.mark.parametrize("limit", [0, -1, True, "5", float("nan"), float("inf")])
def test_a_limit_that_is_no_time_is_refused_by_name(limit: Any) -> None:
    for limits, field in ((TimeLimits(limit), "time_limit"), (TimeLimits(None, limit), "soft_time_limit")):
        with pytest.raises(InvalidInput) as caught:
            merged(NONE, limits, NONE)
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("on_limit", "seconds"),
    [
        ("skip", 0),
        ("wait", FOREVER_S),
        ("wait(5)", 5),
        ("wait(0.000001)", 0.000001),
        ("wait(2592000)", LONGEST_WAIT_S),
    ],
)
def test_a_refused_run_is_skipped_or_waits(on_limit: str, seconds: float) -> None:
    assert wait_of(on_limit) == seconds


@pytest.mark.parametrize(
    "on_limit",
    [
        "",
        "queue",
        "wait()",
        "wait(0)",
        "wait(-1)",
        "wait(1e3)",
        "wait( 5 )",
        "wait(2592001)",
        "WAIT",
        5,
        None,
        True,
    ],
)
def test_any_other_word_for_a_refused_run_is_refused(on_limit: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        wait_of(on_limit)
    assert caught.value.field == "on_limit"


@pytest.mark.parametrize(
    ("options", "max_running", "queues"),
    [
        ({}, None, False),
        ({"overlap": "allow"}, None, False),
        ({"overlap": "skip"}, 1, False),
        ({"overlap": "queue(1)"}, 1, True),
        ({"max_running": 3}, 3, False),
        ({"max_running": 3, "overlap": "skip"}, 3, False),
        ({"max_running": 3, "overlap": "queue(1)"}, 3, True),
        ({"max_running": None, "overlap": None}, None, False),
        ({"max_running": 1_000_000}, 1_000_000, False),
    ],
)
def test_overlap_without_a_number_means_one_at_a_time(
    options: RunOptions, max_running: int | None, queues: bool
) -> None:
    fields = fields_of(options)
    assert (fields["max_running"], fields["queues_overlap"]) == (max_running, queues)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("overlap", {"overlap": "queue"}),
        ("overlap", {"overlap": "queue(2)"}),
        ("overlap", {"overlap": "allow", "max_running": 3}),
        ("overlap", {"overlap": 1}),
        ("max_running", {"max_running": 0}),
        ("max_running", {"max_running": 1_000_001}),
        ("max_running", {"max_running": 2.0}),
        ("max_running", {"max_running": True}),
        ("isolation", {"isolation": "fiber"}),
        ("isolation", {"isolation": None}),
        ("jitter", {"jitter": -1}),
        ("jitter", {"jitter": "5"}),
        ("spread", {"spread": float("inf")}),
        ("spread", {"spread": LONGEST_WAIT_S + 1}),
        ("max_crashes", {"max_crashes": 0}),
        ("max_crashes", {"max_crashes": 1_001}),
        ("retry", {"retry": 3}),
        ("retry", {"retry": Retry}),
        ("rate_limit", {"rate_limit": "fast"}),
        ("rate_burst", {"rate_limit": "5/s", "rate_burst": 0}),
    ],
)
def test_an_option_that_cannot_be_used_is_named(field: str, options: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        fields_of(options)
    assert caught.value.field == field


def test_what_is_not_said_stays_as_the_task_has_it() -> None:
    assert fields_of({}) == {
        "rate": None,
        "max_running": None,
        "queues_overlap": False,
        "isolation": Isolation.THREAD,
    }


def test_what_is_said_becomes_fields_of_the_task() -> None:
    retry = Retry(attempts=2)
    fields = fields_of(
        {
            "soft_time_limit": 5,
            "time_limit": None,
            "isolation": "process",
            "rate_limit": "10/m",
            "rate_burst": 3,
            "retry": retry,
            "jitter": 0,
            "spread": 2.5,
            "rerun_lost": True,
            "max_crashes": 3,
        }
    )
    rate = fields.pop("rate")
    assert (rate.text, rate.pace) == ("10/m burst 3", (6_000_000, 3))
    assert fields == {
        "soft_time_limit": 5,
        "time_limit": None,
        "isolation": Isolation.PROCESS,
        "max_running": None,
        "queues_overlap": False,
        "retry": retry,
        "jitter": 0,
        "spread": 2.5,
        "rerun_lost": True,
        "max_crashes": 3,
    }


@pytest.mark.parametrize(
    "decorate",
    [
        lambda options: SchedulerTask(id="a", name="A", cron="@daily", **options),
        lambda options: LimitTask(id="a", name="A", quota_name="api", **options),
        check_names,
    ],
)
def test_an_option_that_there_is_not_is_a_type_error_at_the_call(decorate: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'timelimit'"):
        decorate({"timelimit": 5})
