"""What becomes of a run whose daemon died, decided from the line that opened it."""

import json

import pytest

from quotaflow import facts
from quotaflow.amounts import MICRO
from quotaflow.control.closing import after_loss
from quotaflow.control.plans import opening, run_of
from quotaflow.journal.fold import Fact, fold, trace
from quotaflow.model import Reason, Status, Trigger
from quotaflow.runs import Plan, Run

NOW = 1_750_000_000_000_000


def opened(**plan: object) -> str:
    run = Run("r1", "任务 1", Trigger.CRON, NOW - 5, 0, "api", 2 * MICRO, 3, Plan(**plan))  # type: ignore[arg-type]
    return opening(run, "dead") + f" claimed={NOW - 3}"


def test_it_is_lost_unless_the_task_says_otherwise() -> None:
    closing = after_loss(opened(), "r1", "me", NOW)
    ended = trace(facts.decode(closing.fact)[1])
    assert (ended.status, ended.reason, ended.instance_id) == (Status.LOST, Reason.CRASHED, "dead")
    assert (closing.again, closing.expired, closing.task_id, closing.quota_id) == (
        None,
        True,
        "任务 1",
        "api",
    )


def test_it_runs_again_as_long_as_it_has_not_killed_too_many_daemons() -> None:
    closing = after_loss(opened(max_crashes=3, crashes=1, args='{"n":1}'), "r1", "me", NOW)
    assert closing.again is not None
    again = run_of(closing.again.fact)
    assert (again.attempt, again.plan.crashes, again.plan.args, again.scheduled_for_us) == (
        4,
        2,
        '{"n":1}',
        NOW - 5,
    )
    assert (again.plan.spent_micro, closing.again.due_us, closing.again.paid) == (2 * MICRO, NOW, False)
    waiting = trace(facts.decode(closing.fact)[1])
    assert (waiting.status, waiting.reason, waiting.cost_micro) == (Status.WAITING, Reason.CRASHED, 2 * MICRO)
    assert [status for _, _, status, *_ in json.loads(waiting.tries or "")] == ["lost"]


def test_a_run_that_keeps_killing_its_daemon_is_dead_with_the_reason() -> None:
    closing = after_loss(opened(max_crashes=3, crashes=2), "r1", "me", NOW)
    ended = trace(facts.decode(closing.fact)[1])
    assert (ended.status, ended.reason) == (Status.DEAD, Reason.CRASHED)
    assert ended.error == "the daemon that ran it died, 3 times"
    assert closing.again is None


@pytest.mark.parametrize(
    "plan", [Plan(), Plan(args="{}", until_us=3, tries="[]"), Plan(time_limit=1.5, crashes=2)]
)
def test_a_line_that_opens_a_run_can_be_read_again(plan: Plan) -> None:
    run = Run("r1", "任务 1", Trigger.MANUAL, None, 0, None, 0, 2, plan)
    assert run_of(opening(run, "me")) == run


@pytest.mark.parametrize("line", ["", "open", "open what", "open run=r1 task=t trigger=never attempt=1"])
def test_a_line_that_cannot_be_read_ends_as_a_dead_letter_and_not_the_daemon(line: str) -> None:
    closing = after_loss(line, "r1", "me", NOW)
    assert (closing.run_id, closing.expired, closing.again) == ("r1", True, None)
    assert [letter.event_id for letter in fold([Fact("r1.close", closing.fact)]).dead] == ["r1.close"]
