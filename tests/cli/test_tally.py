"""The demo's count finds what is missing, and says so."""

from collections import Counter

import pytest

from quotaflow.control.tasks import TaskView
from quotaflow.edges.cli.summary import summarize
from quotaflow.edges.cli.tally import QuotaTally, Tally, TaskTally, tally_task
from quotaflow.model import Status, TaskKind, Trigger
from quotaflow.records import Trace
from quotaflow.store import TaskRow

SECOND = 1_000_000
ROW = TaskRow("a", "A", TaskKind.SCHEDULER, "m:a", cron="* * * * * *", timezone="UTC", updated_us=5)
VIEW = TaskView(ROW, None, ())


def ran(second: int | None, status: Status = Status.OK) -> Trace:
    at_us = None if second is None else second * SECOND
    return Trace(f"r{second}", "a", Trigger.CRON, status, claimed_us=1, scheduled_for_us=at_us)


def test_every_tick_with_a_trace_agrees() -> None:
    counted = tally_task(VIEW, [ran(12), ran(11, Status.LIMITED), ran(10), ran(None)], steady_us=9)
    assert (counted.due, counted.by_status) == (4, {Status.OK: 3, Status.LIMITED: 1})
    assert counted.agrees


def test_a_tick_without_a_trace_is_found() -> None:
    counted = tally_task(VIEW, [ran(10), ran(12)], steady_us=9)
    assert (counted.due, counted.agrees) == (3, False)


def test_a_run_that_never_ended_is_found() -> None:
    assert not tally_task(VIEW, [ran(10, Status.RUNNING)], steady_us=9).agrees


def test_a_task_that_was_changed_meanwhile_is_only_counted() -> None:
    assert tally_task(VIEW, [ran(10), ran(12)], steady_us=3).due == 2


@pytest.mark.parametrize(
    ("http", "sql", "agrees"),
    [((1, 2), (1, 2), True), ((1, 2), (1, 1), False), ((0, 2), (1, 2), False), (None, None, False)],
)
def test_three_witnesses_must_say_the_same(
    http: tuple[int, int] | None,
    sql: tuple[int, int] | None,
    agrees: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counted = Tally(0, [TaskTally("a", 1, Counter([Status.LOST]))], [QuotaTally("q", (1, 2), http, sql)])
    assert counted.agrees is agrees
    summarize(counted)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["a", "1", "0", "0", "0", "0", "0", "1", "✓"]
    assert lines[-1].startswith("✓" if agrees else "✗ the counts differ")


def test_counts_that_are_not_all_in_sql_are_not_final() -> None:
    assert Tally(0, [], []).agrees
    assert not Tally(1, [], []).agrees
