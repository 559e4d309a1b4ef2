"""Snapshots only go forward, and what they went forward by is counted once."""

import asyncio
from dataclasses import replace

from quotaflow.model import make_quota
from quotaflow.records import Batch, Snapshot
from quotaflow.store import Store
from tests.servers import PATIENCE_S
from tests.store.rows import MINUTE_US, START_US, claim, dump, ended, metrics

FIRST = Snapshot("q", remaining=7.5, allowed=10, limited=3, clock_jumps=1, version=2, synced_us=START_US)
NEXT = replace(FIRST, remaining=1.0, allowed=15, limited=4, synced_us=START_US + 1)


async def test_a_snapshot_comes_back_as_it_went(store: Store) -> None:
    await store.write_snapshots([FIRST, replace(NEXT, quota_id="other")], START_US)
    assert sorted(await store.snapshots(), key=str) == sorted(
        [FIRST, replace(NEXT, quota_id="other")], key=str
    )


async def test_differences_go_to_the_minute_and_repeating_adds_nothing(store: Store) -> None:
    later = MINUTE_US + 60_000_000
    await store.write_snapshots([FIRST], START_US)
    for _ in range(2):
        await store.write_snapshots([NEXT], later + 1)
    found = {
        key: (row["allowed"], row["r429"], row["remaining"]) for key, row in (await metrics(store)).items()
    }
    assert found == {("q", MINUTE_US): (10, 3, 7.5), ("q", later): (5, 1, 1.0)}


async def test_a_snapshot_from_the_past_changes_nothing(store: Store) -> None:
    await store.write_snapshots([NEXT], START_US)
    before = await dump(store)
    late = replace(FIRST, synced_us=START_US + 10)
    await store.write_snapshots(
        [FIRST, late, NEXT, replace(NEXT, remaining=9.0, synced_us=START_US)], START_US
    )
    assert await dump(store) == before


async def test_a_level_that_refills_without_decisions_is_kept(store: Store) -> None:
    await store.write_snapshots([FIRST], START_US)
    refilled = replace(FIRST, remaining=10.0, synced_us=START_US + 1)
    await store.write_snapshots([refilled], START_US)
    assert await store.snapshots() == [refilled]
    assert (await metrics(store))["q", MINUTE_US]["allowed"] == 10


async def test_of_several_snapshots_of_one_quota_the_newest_counts(store: Store) -> None:
    await store.write_snapshots([FIRST, NEXT, FIRST], START_US)
    assert await store.snapshots() == [NEXT]
    assert (await metrics(store))["q", MINUTE_US]["allowed"] == 15


async def test_outcomes_and_differences_share_a_row(store: Store) -> None:
    await store.write_snapshots([FIRST], START_US)
    await store.write_batch(Batch(closed=[ended(claim())]))
    await store.write_snapshots([NEXT], START_US)
    row = (await metrics(store))["q", MINUTE_US]
    assert (row["allowed"], row["r429"], row["ok"], row["err"], row["remaining"]) == (15, 4, 1, 0, 1.0)


async def test_two_writers_of_the_same_snapshots_count_them_once(store: Store, url: str) -> None:
    other = await Store.open(url, deadline_s=PATIENCE_S)
    rows = [replace(FIRST, quota_id=f"q{number}") for number in range(50)]
    await asyncio.gather(store.write_snapshots(rows, START_US), other.write_snapshots(rows[::-1], START_US))
    await other.close()
    assert {row["allowed"] for row in (await metrics(store)).values()} == {10}


async def test_a_quota_that_is_made_again_begins_without_a_snapshot(store: Store) -> None:
    """Or its counters, which begin at zero, would look old for ever."""
    quota = make_quota(id="q", capacity=10, refill_rate=1)
    await store.insert_quota(quota)
    await store.write_snapshots([NEXT], START_US)
    await store.delete_quota("q")
    assert await store.snapshots() == []
    await store.write_snapshots([NEXT], START_US)  # the flusher had it in hand
    await store.insert_quota(quota)
    assert await store.snapshots() == []
