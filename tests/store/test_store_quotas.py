"""Quotas are defined in SQL; a declaration counts when its text is new."""

import asyncio

import pytest
from sqlalchemy import text

from quotaflow.errors import Conflict, NotFound
from quotaflow.model import Quota, QuotaKind, make_quota
from quotaflow.records import Snapshot
from quotaflow.store import Store
from quotaflow.store.tables import quotas
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S
from tests.store.rows import START_US, dump

QUOTA = make_quota(id="q", name="名", capacity=10.5, refill_rate=0.000001)


async def test_a_quota_comes_back_as_it_went(store: Store) -> None:
    huge = make_quota(id="huge", capacity=9_000_000_000, refill_rate=0, enabled=False)
    slotted = make_quota(id="slotted", capacity=1, refill_rate=0, max_concurrent=1_000_000)
    for quota in (QUOTA, huge, slotted):
        assert await store.insert_quota(quota) == quota
        assert await store.get_quota(quota.id) == quota


async def test_people_read_units_and_utc_in_sql(store: Store) -> None:
    await store.insert_quota(QUOTA)
    async with store._database.read() as connection:
        row = (await connection.execute(text("SELECT capacity, refill_rate, created_at FROM quotas"))).one()
    assert tuple(row[:2]) == (10.5, 0.000001)
    assert str(row[2])[:19] == "2025-06-15 15:06:40"


@pytest.mark.parametrize("taken", [{"id": "q", "name": "other"}, {"id": "other", "name": "名"}])
async def test_an_id_and_a_name_are_taken_once(store: Store, taken: dict[str, str]) -> None:
    await store.insert_quota(QUOTA)
    before = await dump(store)
    with pytest.raises(Conflict, match="exists"):
        await store.insert_quota(make_quota(capacity=1, refill_rate=1, **taken))  # type: ignore[arg-type]
    assert await dump(store) == before


async def test_a_change_raises_the_version_and_leaves_the_rest(store: Store, clock: ManualClock) -> None:
    await store.insert_quota(QUOTA)
    await clock.advance(1)
    assert await store.update_quota("q", enabled=False) == Quota(
        "q", "名", 10_500_000, 1, enabled=False, version=2
    )
    changed = await store.update_quota("q", capacity_micro=1, refill_micro_s=0, name="new")
    assert changed == Quota("q", "new", 1, 0, enabled=False, version=3) == await store.get_quota("q")
    row = dict(zip(quotas.c.keys(), (await dump(store))["quotas"][0], strict=True))
    assert (row["created_us"], row["updated_us"]) == (START_US, START_US + 1_000_000)


async def test_a_limit_can_be_set_and_removed(store: Store) -> None:
    await store.insert_quota(QUOTA)
    assert (await store.update_quota("q", max_concurrent=3)).max_concurrent == 3
    assert (await store.update_quota("q", enabled=False)).max_concurrent == 3
    assert (await store.update_quota("q", max_concurrent=None)).max_concurrent is None


async def test_changes_at_the_same_moment_all_count(store: Store) -> None:
    await store.insert_quota(QUOTA)
    changed = await asyncio.gather(
        *[store.update_quota("q", capacity_micro=number) for number in range(1, 9)]
    )
    assert sorted(quota.version for quota in changed) == list(range(2, 10))


async def test_a_name_cannot_be_changed_to_anothers(store: Store) -> None:
    await store.insert_quota(QUOTA)
    await store.insert_quota(make_quota(id="other", capacity=1, refill_rate=1))
    with pytest.raises(Conflict, match="another quota has the name"):
        await store.update_quota("other", name="名")


async def test_what_does_not_exist_is_not_found(store: Store) -> None:
    for call in (store.get_quota("x"), store.update_quota("x", enabled=True), store.delete_quota("x")):
        with pytest.raises(NotFound, match="no quota has the id 'x'"):
            await call


async def test_a_deleted_quota_is_gone_and_its_name_free(store: Store) -> None:
    await store.insert_quota(QUOTA)
    await store.delete_quota("q")
    with pytest.raises(NotFound):
        await store.get_quota("q")
    await store.insert_quota(make_quota(id="other", name="名", capacity=1, refill_rate=1))


async def test_pages_show_every_quota_once_whatever_is_added_meanwhile(store: Store) -> None:
    for number in range(5):
        await store.insert_quota(make_quota(id=f"q{number}", capacity=1, refill_rate=1))
    first = await store.list_quotas(limit=2)
    await store.insert_quota(make_quota(id="a", capacity=1, refill_rate=1))
    second = await store.list_quotas(first.next_cursor, limit=2)
    third = await store.list_quotas(second.next_cursor, limit=2)
    assert [quota.id for page in (first, second, third) for quota in page.items] == [
        f"q{n}" for n in range(5)
    ]
    assert third.next_cursor is None
    assert (await store.list_quotas(limit=6)).next_cursor is None


async def test_a_declaration_is_applied_when_its_text_is_new(store: Store) -> None:
    assert await store.apply_declared(QUOTA, "text 1") == QUOTA
    run_time = await store.update_quota("q", capacity_micro=7)
    assert await store.apply_declared(QUOTA, "text 1") == run_time
    declared = make_quota(id="q", name="new", capacity=3, refill_rate=4, enabled=False)
    applied = await store.apply_declared(declared, "text 2")
    assert applied == Quota("q", "new", 3_000_000, 4_000_000, enabled=False, version=3)
    assert await store.apply_declared(declared, "text 2") == applied == await store.get_quota("q")


async def test_a_quota_made_by_hand_yields_to_a_declaration(store: Store) -> None:
    await store.insert_quota(QUOTA)
    applied = await store.apply_declared(make_quota(id="q", capacity=1, refill_rate=1), "text")
    assert (applied.name, applied.version) == ("q", 2)


async def test_daemons_that_start_together_apply_a_declaration_once(store: Store, url: str) -> None:
    other = await Store.open(url, deadline_s=PATIENCE_S)
    applied = await asyncio.gather(
        *[each.apply_declared(QUOTA, "text") for each in (store, other, store, other)]
    )
    assert applied == [QUOTA] * 4
    await other.close()


async def test_a_quota_is_found_by_what_tasks_call_it_its_name_before_its_id(store: Store) -> None:
    await store.insert_quota(QUOTA)
    await store.insert_quota(make_quota(id="other", name="q", capacity=1, refill_rate=0))
    assert await store.quota_ids(["名", "q", "nobody"]) == {"名": "q", "q": "other", "other": "other"}
    assert await store.quota_ids([]) == {}


async def test_the_emptiest_come_first_by_what_they_may_hold(store: Store) -> None:
    for quota_id, capacity, remaining in (("a", 100, 40), ("b", 10, 1), ("c", 10, 5), ("off", 10, 0)):
        await store.insert_quota(make_quota(id=quota_id, capacity=capacity, refill_rate=0))
        await store.write_snapshots([Snapshot(quota_id, remaining, 1, 0, 0, 1, START_US)], START_US)
    await store.insert_quota(make_quota(id="unseen", capacity=10, refill_rate=0))
    await store.update_quota("off", enabled=False)
    assert [quota.id for quota in await store.emptiest_quotas(0.5, 10)] == ["b", "a"]
    assert [quota.id for quota in await store.emptiest_quotas(0.5, 1)] == ["b"]


async def test_a_prepaid_quota_is_as_empty_as_what_it_was_recharged_to_says(store: Store) -> None:
    """One that mirrors a provider has no total of its own; nothing is a part of nothing."""
    for quota_id in ("prepaid", "mirror"):
        await store.insert_quota(make_quota(id=quota_id, total=10, kind=QuotaKind.ALLOWANCE))
        await store.write_snapshots([Snapshot(quota_id, 8, 1, 0, 0, 1, START_US)], START_US)
    assert await store.emptiest_quotas(0.5, 10) == []
    async with store._database.write() as connection:
        for quota_id, total_micro in (("prepaid", 100_000_000), ("mirror", 0)):
            holds = quotas.update().where(quotas.c.id == quota_id)
            await connection.execute(holds.values(total_micro=total_micro))
    assert [quota.id for quota in await store.emptiest_quotas(0.5, 10)] == ["prepaid"]
