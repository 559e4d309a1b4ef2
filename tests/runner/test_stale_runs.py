"""A run that was admitted does not start when somebody else may have it, or its turn by a rate is over."""

from pathlib import Path
from typing import cast

import pytest

from quotaflow.control.working import Working
from quotaflow.ids import Ids
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.quotas import QuotaState
from quotaflow.model import Reason, Status
from quotaflow.rates import Pace
from quotaflow.runner.execute import Executor
from quotaflow.runner.pool import Pool
from quotaflow.runner.registry import Registry
from quotaflow.runs import Again
from quotaflow.settings import load
from quotaflow.timing import ManualClock, SystemClock
from tests.runner.pools import Collected, worked_off
from tests.runner.runs import a_run, task_of

NOW = 1_750_000_000_000_000
SECOND = 1_000_000


@pytest.fixture
async def working(tmp_path: Path) -> Working:
    """Give the rooms of a daemon that asks nobody."""
    clock = ManualClock(NOW)
    settings = load(None, environ={}, data_dir=str(tmp_path))
    return Working(
        settings, Registry(), cast("Admission", Nobody()), cast("QuotaState", Nobody()), clock, Ids(clock)
    )


class Nobody:
    """Who is not asked in these tests."""

    async def cursors(self, task_ids: object) -> list[int]:
        raise AssertionError(task_ids)


@pytest.mark.parametrize(
    ("claimed_s_ago", "beat_s_ago", "task_id", "reason"),
    [
        (0.2, 100, "t", None),
        (6.9, 100, "t", None),
        (7.1, 100, "t", Reason.DELAYED),
        (60, 1.9, "t", None),  # it waited for a worker, and its lease was renewed
        (60, 7.1, "t", Reason.DELAYED),
        (0.2, 100, "paced", None),
        (0.3, 0.1, "paced", Reason.RATE),
    ],
)
async def test_a_run_starts_only_while_it_is_ours_and_it_is_its_turn(
    working: Working, claimed_s_ago: float, beat_s_ago: float, task_id: str, reason: Reason | None
) -> None:
    working.paces["paced"] = Pace(SECOND, 1)
    working.leases.beat_us = NOW - round(beat_s_ago * SECOND)
    run = a_run("r", task_id, claimed_us=NOW - round(claimed_s_ago * SECOND))
    assert working.is_stale(run) is reason


async def test_what_may_not_start_goes_back_and_its_function_is_not_called(
    executor: Executor, outbox: Collected
) -> None:
    called: list[str] = []

    async def job() -> None:
        called.append("job")

    task = task_of(job)
    pool = Pool(
        SystemClock(),
        executor,
        lambda _: task,
        outbox,
        concurrency=1,
        queue_size=5,
        is_stale=lambda _: Reason.DELAYED,
    )
    pool.inbox.put(a_run("r"))
    await worked_off(pool)
    (outcome,) = outbox.outcomes
    assert called == []
    assert (outcome.status, outcome.reason, outcome.again) == (
        Status.WAITING,
        Reason.DELAYED,
        Again(0.0, paid=True),
    )
