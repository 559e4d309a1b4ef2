"""Removing what is old: what goes, what has to stay, and what is remembered of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.errors import Conflict
from quotaflow.ledger import AccessToken, Action, LedgerEntry, QuotaType
from quotaflow.model import Status, Trigger, make_quota
from quotaflow.records import Batch, DeadLetter, Snapshot, Trace
from quotaflow.store import Cut, Part, Store
from quotaflow.store.retention import Link, beginnings
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S
from tests.store.rows import START_US, claim, dump, ended

DAY_US = 86_400_000_000
EDGE_US = START_US  # everything of before is old


def token(subject: str) -> AccessToken:
    return AccessToken(
        id=subject,
        token_hash=f"hash of {subject}",
        prefix="qf_",
        ws_id="ws",
        email="a@example.com",
        quota_type=QuotaType.COUNT,
        expires_us=None,
        rate_limit_per_minute=None,
        rate_limit_burst=None,
        active=True,
        version=1,
        created_us=START_US,
        updated_us=START_US,
    )


def entry(
    subject: str, seq: int, at_us: int, *, epoch: int = 1, action: Action = Action.CONSUME
) -> LedgerEntry:
    """Make the charge of one unit whose process says that it is `at_us`."""
    return LedgerEntry(
        event_id=f"{at_us:014x}-{subject}-{epoch}-{seq:06x}",
        subject=subject,
        action=action,
        before_micro=1000 - seq,
        change_micro=-1,
        after_micro=999 - seq,
        epoch=epoch,
        seq=seq,
        request_id=None,
        actor=None,
        created_us=at_us,
    )


async def written(store: Store, rows: Sequence[LedgerEntry]) -> None:
    await store.write_batch(Batch(ledger=list(rows)))


async def cleaned(store: Store, cutoff_us: int = EDGE_US, limit: int = 1000) -> int:
    """Remove everything that is old, portion by portion."""
    assert await store.begin_cleanup("me")
    removed = 0
    for part in Part:
        reached: str | None = ""
        while reached is not None:
            portion = await store.remove_old(part, Cut("me", cutoff_us, limit), reached)
            removed += portion.removed
            reached = portion.reached
    await store.end_cleanup("me", removed)
    return removed


async def seqs(store: Store, subject: str) -> list[int]:
    return [row.seq for row in await store.rows_after(subject, 0, 0)]


# The ledger


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_rows_of_before_the_cut_go_and_all_others_stay(store: Store, limit: int) -> None:
    await store.insert_token(token("tok_a"))
    await store.insert_quota(make_quota(id="q", capacity=1, refill_rate=0))
    old = [entry(subject, seq, EDGE_US - 100 + seq) for seq in range(1, 8) for subject in ("tok_a", "q")]
    new = [entry(subject, seq, EDGE_US + seq) for seq in range(8, 11) for subject in ("tok_a", "q")]
    await written(store, [*old, *new])
    assert await store.ledger_cut_us() == 0
    assert await cleaned(store, limit=limit) == 14
    assert await seqs(store, "tok_a") == await seqs(store, "q") == [8, 9, 10]
    assert await store.ledger_cut_us() == EDGE_US
    assert await cleaned(store, EDGE_US - DAY_US) == 0
    assert await store.ledger_cut_us() == EDGE_US, "the latest cut ever is remembered"


async def test_the_end_of_a_chain_stays_however_old_it_is(store: Store) -> None:
    await store.insert_token(token("tok_idle"))
    await store.insert_quota(make_quota(id="idle", capacity=1, refill_rate=0))
    await written(
        store,
        [
            entry(subject, seq, EDGE_US - DAY_US + seq)
            for seq in (1, 2, 3)
            for subject in ("tok_idle", "idle")
        ],
    )
    assert await cleaned(store) == 4
    assert await seqs(store, "tok_idle") == await seqs(store, "idle") == [3]
    await written(store, [entry("tok_idle", 4, EDGE_US + 1)])
    assert await cleaned(store) == 1
    assert await seqs(store, "tok_idle") == [4], "what was its end is its past now"


async def test_rows_of_who_does_not_exist_any_more_go_all(store: Store) -> None:
    await written(store, [entry("gone", seq, EDGE_US - 10 + seq) for seq in (1, 2, 3)])
    assert await cleaned(store) == 3


async def test_a_row_waits_for_the_one_before_it_when_clocks_of_processes_differ(store: Store) -> None:
    await store.insert_token(token("tok_a"))
    late = entry("tok_a", 3, EDGE_US + 5)  # its process is ahead of the others
    rows = [entry("tok_a", seq, EDGE_US - 50 + seq) for seq in (1, 2, 4, 5)]
    await written(store, sorted([*rows, late, entry("tok_a", 6, EDGE_US + 6)], key=lambda row: row.seq))
    assert await cleaned(store) == 2
    assert await seqs(store, "tok_a") == [3, 4, 5, 6], "a chain has no holes"
    assert await cleaned(store, EDGE_US + 10) == 3
    assert await seqs(store, "tok_a") == [6]


async def test_epochs_are_cut_in_their_order_and_orphans_go_by_their_own_time(store: Store) -> None:
    await store.insert_token(token("tok_a"))
    await written(store, [entry("tok_a", 1, EDGE_US - 9), entry("tok_a", 2, EDGE_US - 8)])
    await written(store, [entry("tok_a", 1, EDGE_US - 7, epoch=2, action=Action.ADJUST)])
    late = [
        entry("tok_a", 3, EDGE_US - 6)._replace(actor="old"),
        entry("tok_a", 4, EDGE_US + 6)._replace(actor="new"),
    ]
    await written(store, late)  # of a life of Redis that is over: orphans
    await written(store, [entry("tok_a", 2, EDGE_US + 7, epoch=2)])
    assert await cleaned(store) == 4
    left = [(row[1], row[6], row[7], row[9]) for row in (await dump(store))["token_quota_logs"]]
    assert sorted(left, key=repr) == [("tok_a", 1, 4, "new"), ("tok_a", 2, 2, None)]


def links(rows: Sequence[LedgerEntry], window: Sequence[LedgerEntry]) -> list[Link]:
    """Make what the store finds in a window, of rows in the order of their chain."""
    before = dict(zip([row.event_id for row in rows[1:]], [row.event_id for row in rows], strict=False))
    return [
        Link(row.event_id, row.subject, row.epoch, row.seq, row.action, before.get(row.event_id))
        for row in window
    ]


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True), st.integers(1, 10), st.integers(0, 61)
)
def test_in_whatever_order_ids_come_what_is_left_is_the_end_of_the_chain(
    moments: list[int], limit: int, edge_us: int
) -> None:
    rows = [entry("tok_a", seq, at) for seq, at in enumerate(moments, 1)]
    left = list(rows)
    edge, after = format(edge_us, "014x"), ""
    while True:
        old = sorted(row.event_id for row in left if after < row.event_id < edge)[:limit]
        window = [next(row for row in left if row.event_id == event_id) for event_id in old]
        gone, waiting = beginnings(links(left, window), edge)
        left = [row for row in left if row.event_id not in gone]
        assert left == rows[len(rows) - len(left) :]
        assert not waiting & set(gone)
        if len(old) < limit:
            break
        after = old[-1]


# Traces, dead letters, metrics


async def test_final_traces_go_but_open_runs_and_the_newest_tick_of_a_task_stay(store: Store) -> None:
    def run(name: str, task: str, at_us: int, status: Status = Status.OK, **more: Any) -> Trace:
        row = claim(name, task_id=task, claimed_us=at_us, scheduled_for_us=at_us, quota_id=None, **more)
        return ended(row, status) if status.is_final else row

    rows = [
        run("a1", "a", EDGE_US - 30),
        run("a2", "a", EDGE_US - 20, Status.MISSED),
        run("a3", "a", EDGE_US - 10),
        run("b1", "b", EDGE_US - 30),
        run("b2", "b", EDGE_US + 10),
        run("c1", "c", EDGE_US - 30, Status.RUNNING),
        run("c2", "c", EDGE_US - 5),
        ended(
            claim(
                "t1",
                task_id="a",
                trigger=Trigger.MANUAL,
                scheduled_for_us=None,
                claimed_us=EDGE_US - 1,
                quota_id=None,
            )
        ),
    ]
    closed = [row for row in rows if row.status.is_final]
    await store.write_batch(Batch(opened=[row for row in rows if not row.status.is_final], closed=closed))
    assert await cleaned(store, limit=2) == 4 + 1  # and a minute
    assert sorted(row[0] for row in (await dump(store))["traces"]) == ["a3", "b2", "c1", "c2"]


async def test_old_dead_letters_and_minutes_go_too(store: Store, clock: ManualClock) -> None:
    await store.write_batch(Batch(dead=[DeadLetter(f"d{number}", "{}", "why") for number in range(5)]))
    for quota_id in ("p", "q", "r"):
        await store.insert_quota(make_quota(id=quota_id, capacity=1, refill_rate=0))
    for minute in range(4):
        newer = [
            Snapshot(quota_id, 1.0, minute + 1, 0, 0, 1, START_US + minute * 60_000_000)
            for quota_id in ("p", "q", "r")
        ]
        await store.write_snapshots(newer, START_US - 40_000_000 + minute * 60_000_000)
    await clock.advance(3600)
    await store.write_batch(Batch(dead=[DeadLetter("young", "{}", "why")]))
    before = len((await dump(store))["quota_metrics"])
    assert before == 12
    assert await cleaned(store, START_US + 100_000_000, limit=2) == 5 + 9 + 3
    left = await dump(store)
    assert [row[0] for row in left["dead_letters"]] == ["young"]
    assert len(left["quota_metrics"]) == 3
    assert len(left["minute_totals"]) == 1


# What is remembered, and who may


async def test_what_was_removed_is_remembered_and_survives_a_restart(
    store: Store, url: str, clock: ManualClock
) -> None:
    record = await store.cleanup_record()
    assert (record.last_us, record.last_count, record.total_count) == (None, 0, 0)
    await written(store, [entry("gone", seq, EDGE_US - 10 + seq) for seq in (1, 2, 3)])
    await cleaned(store)
    await clock.advance(60)
    await written(store, [entry("gone", seq, EDGE_US - 10 + seq) for seq in (4, 5)])
    await cleaned(store)
    await store.close()
    again = await Store.open(url, clock=clock, deadline_s=PATIENCE_S)
    record = await again.cleanup_record()
    await again.close()
    assert (record.last_us, record.last_count, record.total_count) == (START_US + 60_000_000, 2, 5)


async def test_two_never_clean_at_once_and_a_lease_runs_out(store: Store, clock: ManualClock) -> None:
    begun = await asyncio.gather(*[store.begin_cleanup(f"p{number}") for number in range(5)])
    assert sorted(begun) == [False] * 4 + [True]
    with pytest.raises(Conflict, match="has the lease"):
        await store.remove_old(Part.LEDGER, Cut("stranger", EDGE_US, 10))
    await clock.advance(31)
    assert await store.begin_cleanup("heir")
    with pytest.raises(Conflict, match="heir has the lease"):
        await store.end_cleanup(f"p{begun.index(True)}", 1)
    await store.end_cleanup("heir", 0)
    assert await store.begin_cleanup("next")
