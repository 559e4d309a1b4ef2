"""The figures that pages show: sums by the minute, the last runs of tasks, refusals, what was spent, a pulse."""

from collections.abc import Iterable

import pytest

from quotaflow.amounts import MICRO
from quotaflow.ledger import Action, LedgerEntry
from quotaflow.model import Reason, Status, TaskKind, Trigger, make_quota
from quotaflow.records import Batch, Snapshot, Trace
from quotaflow.store import DeclaredTask, MinuteFigures, Result, Store
from quotaflow.store.statements import insert_new
from quotaflow.store.tables import quota_metrics
from tests.store.rows import MINUTE_US, SECOND, START_US, claim, dump, ended

MINUTE = 60 * SECOND


def level(quota_id: str, allowed: int, limited: int = 0, remaining: float = 1.0) -> Snapshot:
    return Snapshot(quota_id, remaining, allowed, limited, 0, 1, START_US + allowed + limited)


async def register(store: Store, *task_ids: str) -> None:
    await store.sync_tasks(
        [DeclaredTask(task_id, task_id, TaskKind.SCHEDULER, f"a:{task_id}") for task_id in task_ids]
    )


# Minutes


async def test_minutes_are_the_sums_of_all_quotas(store: Store) -> None:
    await store.write_snapshots([level("p", 3, 1), level("q", 4)], START_US)
    await store.write_snapshots([level("p", 5, 1)], START_US)
    await store.write_snapshots([level("q", 4, 2)], START_US + MINUTE)
    await store.write_batch(
        Batch(closed=[ended(claim("a")), ended(claim("b", quota_id="p"), Status.HARD_TIMEOUT)])
    )
    assert await store.minutes(START_US, START_US + 2 * MINUTE) == [
        MinuteFigures(MINUTE_US, allowed=9, limited=1, ok=1, failed=1, remaining=None),
        MinuteFigures(MINUTE_US + MINUTE, allowed=0, limited=2, ok=0, failed=0, remaining=None),
    ]


async def test_minutes_of_a_quota_are_its_own_with_its_level(store: Store) -> None:
    await store.write_snapshots([level("p", 3, 1, remaining=7.5), level("q", 4)], START_US)
    await store.write_batch(Batch(closed=[ended(claim("a"), Status.LOST)]))
    assert await store.minutes(START_US, START_US + MINUTE, "p") == [
        MinuteFigures(MINUTE_US, 3, 1, 0, 0, 7.5)
    ]
    assert await store.minutes(START_US, START_US + MINUTE, "q") == [
        MinuteFigures(MINUTE_US, 4, 0, 0, 1, 1.0)
    ]
    assert await store.minutes(START_US, START_US + MINUTE, "r") == []


async def test_minutes_of_many_quotas_are_those_of_each(store: Store) -> None:
    await store.write_snapshots([level("p", 3, 1, remaining=7.5), level("q", 4), level("r", 1)], START_US)
    await store.write_snapshots([level("q", 6)], START_US + MINUTE)
    until_us = START_US + 2 * MINUTE
    assert await store.minutes_of(["p", "q", "none"], START_US, until_us) == {
        "p": await store.minutes(START_US, until_us, "p"),
        "q": await store.minutes(START_US, until_us, "q"),
        "none": [],
    }
    assert len(await store.minutes(START_US, until_us, "q")) == 2
    assert await store.minutes_of([], START_US, until_us) == {}


async def test_a_run_without_a_quota_is_in_the_sums_once(store: Store) -> None:
    batch = Batch(closed=[ended(claim("a", quota_id=None), Status.FAILED), ended(claim("b", quota_id=None))])
    await store.write_batch(batch)
    await store.write_batch(batch)
    assert await store.minutes(START_US, START_US + 1) == [MinuteFigures(MINUTE_US, 0, 0, 1, 1, None)]
    assert (await dump(store))["quota_metrics"] == []


async def test_the_first_minute_is_whole_and_the_end_is_not_in_it(store: Store) -> None:
    for minute in range(3):
        await store.write_snapshots([level("p", minute + 1)], MINUTE_US + minute * MINUTE)
    found = await store.minutes(MINUTE_US + MINUTE + 59 * SECOND, MINUTE_US + 2 * MINUTE)
    assert [row.minute_us for row in found] == [MINUTE_US + MINUTE]


async def test_sums_are_those_of_the_quotas_whatever_is_written(store: Store) -> None:
    for turn in range(1, 6):
        levels = [level(f"q{number}", turn * number, turn) for number in range(4)]
        runs = [
            ended(
                claim(f"{turn}-{number}", quota_id=f"q{number}"),
                list(Status)[turn + number],
                finished_us=START_US + turn * 20 * SECOND,
            )
            for number in range(4)
        ]
        await store.write_snapshots(levels, START_US + turn * 30 * SECOND)
        await store.write_batch(Batch(closed=[run for run in runs if run.status.is_final]))
    span = (START_US, START_US + 10 * MINUTE)
    parts = [row for number in range(4) for row in await store.minutes(*span, f"q{number}")]
    for total in await store.minutes(*span):
        here = [row for row in parts if row.minute_us == total.minute_us]
        assert total[1:5] == tuple(map(sum, zip(*[row[1:5] for row in here], strict=True)))


async def test_the_sum_of_a_minute_is_one_row_however_many_quotas_there_are(store: Store) -> None:
    rows = [(f"q{number}", MINUTE_US, 1, 1, 1, 1, "[]", 1.0) for number in range(1_000)]
    async with store._database.write() as connection:
        await insert_new(connection, quota_metrics, rows)
    for minute in range(3):
        await store.write_snapshots([level("p", minute + 1)], MINUTE_US + minute * MINUTE)
    found = await store.minutes(MINUTE_US, MINUTE_US + 3 * MINUTE)
    assert [row.allowed for row in found] == [1] * 3


# Runs


async def test_the_last_results_are_the_newest_of_each_task(store: Store) -> None:
    await register(store, "t", "u", "idle")
    runs = [
        ended(claim(f"{task}{number}", task_id=task, claimed_us=START_US + number), latency_ms=float(number))
        for task in "tu"
        for number in range(5)
    ]
    await store.write_batch(Batch(closed=runs, opened=[claim("now", claimed_us=START_US + 9)]))
    found = await store.last_results(["t", "u", "idle", "stranger"], limit=3)
    assert found == {
        "t": [
            Result("now", Status.RUNNING, START_US + 9, None),
            Result("t4", Status.OK, START_US + 4, 4.0),
            Result("t3", Status.OK, START_US + 3, 3.0),
        ],
        "u": [Result(f"u{number}", Status.OK, START_US + number, float(number)) for number in (4, 3, 2)],
        "idle": [],
        "stranger": [],
    }
    assert await store.last_results([]) == {}


async def test_last_results_of_one_microsecond_are_not_more_than_asked_for(store: Store) -> None:
    await register(store, "t")
    await store.write_batch(
        Batch(closed=[ended(claim(f"r{number}", claimed_us=START_US)) for number in range(6)])
    )
    assert [row.run_id for row in (await store.last_results(["t"], limit=2))["t"]] == ["r5", "r4"]


async def test_the_last_results_of_a_hundred_tasks_are_read_at_once(store: Store) -> None:
    names = [f"task{number}" for number in range(100)]
    await register(store, *names)
    runs = (
        ended(claim(f"{name}-{number}", task_id=name, scheduled_for_us=number, claimed_us=START_US + number))
        for name in names
        for number in range(100)
    )
    await store.write_batch(Batch(closed=list(runs)))
    found = await store.last_results(names)
    assert {tuple(row.claimed_us - START_US for row in rows) for rows in found.values()} == {
        tuple(range(99, 79, -1))
    }


async def test_refusals_have_reasons_and_are_counted_beyond_those_shown(store: Store) -> None:
    def refused(run_id: str, status: Status, reason: Reason, after_us: int, quota_id: str = "q") -> Trace:
        return claim(run_id, status=status, reason=reason, claimed_us=START_US + after_us, quota_id=quota_id)

    rows = [
        refused("old", Status.LIMITED, Reason.LIMITED, -1),
        refused("a", Status.LIMITED, Reason.LIMITED, 0),
        refused("b", Status.LIMITED, Reason.LIMITED, 1),
        refused("c", Status.SKIPPED, Reason.PAUSED, 2),
        refused("d", Status.MISSED, Reason.MISFIRE, 3),
        refused("other", Status.MISSED, Reason.MISFIRE, 4, quota_id="p"),
    ]
    await store.write_batch(Batch(opened=rows, closed=[ended(claim("fine", claimed_us=START_US + 5))]))
    found = await store.refusals("q", START_US, limit=2)
    assert [row.run_id for row in found.newest] == ["d", "c"]
    assert found.counts == {Reason.LIMITED: 2, Reason.PAUSED: 1, Reason.MISFIRE: 1}


# What was spent


def entries(changes: Iterable[tuple[Action, float, float]], subject: str = "tok_a") -> list[LedgerEntry]:
    """Make a chain of (action, units, seconds after the start)."""
    chain, left = [], 1_000 * MICRO
    for seq, (action, units, after_s) in enumerate(changes, 1):
        change, at_us = round(units * MICRO), START_US + round(after_s * SECOND)
        chain.append(
            LedgerEntry(
                f"{at_us:014x}-{subject}-{seq}",
                subject,
                action,
                left,
                change,
                left + change,
                1,
                seq,
                f"r{seq}",
                "x",
                at_us,
            )
        )
        left += change
    return chain


async def test_what_was_spent_is_charges_less_refunds_by_time(store: Store) -> None:
    chain = entries(
        [
            (Action.INIT, 0, -500),
            (Action.CONSUME, -9, -1),  # before the time asked for
            (Action.CONSUME, -2, 0),
            (Action.CONSUME, -0.25, 9.999_999),
            (Action.CONSUME, -3, 20),
            (Action.REFUND, 1, 21),
            (Action.RECHARGE, 100, 22),
            (Action.ADJUST, -7, 23),
            (Action.CONSUME, -4, 39.9),
            (Action.CONSUME, -8, 40),  # after it
        ]
    )
    await store.write_batch(Batch(ledger=[*chain, *entries([(Action.CONSUME, -1, 5)], "tok_b")]))
    found = await store.spent("tok_a", START_US, START_US + 40 * SECOND, 4)
    assert found == [2_250_000, 0, 2_000_000, 4_000_000]
    assert await store.spent("tok_none", START_US, START_US + 40 * SECOND, 2) == [0, 0]


async def test_a_charge_that_came_in_by_a_slow_clock_is_counted(store: Store) -> None:
    """Its row is older than the one before it in the chain."""
    chain = entries([(Action.CONSUME, -1, 2), (Action.CONSUME, -2, -3), (Action.CONSUME, -4, 5)])
    await store.write_batch(Batch(ledger=chain))
    assert await store.spent("tok_a", START_US, START_US + 10 * SECOND, 1) == [5_000_000]


# The pulse


@pytest.mark.parametrize(
    "change", ["claim", "outcome", "end", "level", "task", "quota", "gone", "charge"], ids=str
)
async def test_whatever_changes_is_felt_in_the_pulse(store: Store, change: str) -> None:
    await register(store, "t")
    await store.insert_quota(make_quota(id="q", capacity=1, refill_rate=0))
    await store.insert_quota(make_quota(id="p", capacity=1, refill_rate=0))
    waits = claim("w", status=Status.WAITING, trigger=Trigger.MANUAL, scheduled_for_us=None)
    await store.write_batch(Batch(opened=[claim("a"), waits]))
    before = await store.pulse()
    assert await store.pulse() == before
    match change:
        case "claim":
            await store.write_batch(Batch(opened=[claim("b", claimed_us=START_US + MINUTE)]))
        case "outcome":
            await store.write_batch(Batch(closed=[ended(claim("a"))]))
        case "end":
            await store.write_batch(Batch(closed=[ended(waits, Status.CANCELLED)]))
        case "level":
            await store.write_snapshots([level("q", 1)], START_US)
        case "task":
            await store._clock.advance(1)  # type: ignore[attr-defined]
            await store.change_task("t", paused=True)
        case "quota":
            await store._clock.advance(1)  # type: ignore[attr-defined]
            await store.update_quota("q", enabled=False)
        case "gone":
            await store.delete_quota("q")
        case _:
            await store.write_batch(Batch(ledger=entries([(Action.CONSUME, -1, 0)])))
    assert await store.pulse() != before
