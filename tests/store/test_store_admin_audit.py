"""Who changed what: a row and its change are one transaction, and undoing leads exactly back or nowhere."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from quotaflow.amounts import MICRO
from quotaflow.errors import Conflict, InvalidInput, NotFound, QuotaflowError
from quotaflow.ledger import AccessToken, QuotaType
from quotaflow.model import Override, Quota, QuotaKind, TaskKind
from quotaflow.operators import Act, AuditEntry, By, Operator, Role, Subject
from quotaflow.store import AuditFilter, DeclaredTask, Store
from quotaflow.store.admin_audit import AuditWriter
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S
from tests.store.rows import START_US, dump
from tests.store.test_store_upstream import key

ANNA = By("anna")
QUOTA = Quota("q", "q", 10 * MICRO, MICRO)
OVERRIDE = Override("q", "vip", 20 * MICRO, 2 * MICRO)
TOKEN = AccessToken(
    id="tok_1",
    token_hash="canary-hash",
    prefix="qf_1",
    ws_id="ws",
    email="anna@example.com",
    quota_type=QuotaType.COUNT,
    expires_us=START_US + 9 * MICRO,
    rate_limit_per_minute=None,
    rate_limit_burst=None,
    active=True,
    version=1,
    created_us=START_US,
    updated_us=START_US,
    total_micro=5 * MICRO,
    remaining_micro=5 * MICRO,
)
OPERATOR = Operator("op_1", "otto", Role.VIEWER, "canary-hash", "qf_op_1", START_US)

Change = Callable[[Store, By | None], Awaitable[object]]

# What it does, and what is there to do it with: each makes exactly one entry, or one for each subject.
CHANGES: dict[str, Change] = {
    "create quota": lambda store, by: store.insert_quota(replace(QUOTA, id="new", name="new"), by=by),
    "change quota": lambda store, by: store.update_quota("q", capacity_micro=MICRO, by=by),
    "remove quota": lambda store, by: store.delete_quota("q", by=by),
    "create override": lambda store, by: store.put_override(replace(OVERRIDE, key="new"), by=by),
    "change override": lambda store, by: store.put_override(replace(OVERRIDE, refill_micro_s=0), by=by),
    "remove override": lambda store, by: store.remove_override("q", "vip", by=by),
    "change task": lambda store, by: store.change_task("t", by=by, paused=True),
    "create token": lambda store, by: store.insert_token(replace(TOKEN, id="tok_2", token_hash="2"), by=by),
    "change token": lambda store, by: store.update_token("tok_1", by=by, active=False),
    "remove token": lambda store, by: store.update_token(
        "tok_1", by=by, active=False, deleted_us=START_US + 1
    ),
    "create upstream_key": lambda store, by: store.insert_upstream_key(key(2), by=by),
    "import upstream_key": lambda store, by: store.insert_upstream_keys([key(1), key(3)], by=by),
    "change upstream_key": lambda store, by: store.update_upstream_key("upk_0001", by=by, enabled=False),
    "remove upstream_key": lambda store, by: store.delete_upstream_key("upk_0001", by=by),
    "create operator": lambda store, by: store.insert_operator(
        replace(OPERATOR, id="op_2", name="new", token_hash="2"), by=by
    ),
    "remove operator": lambda store, by: store.revoke_operator("op_1", by=by),
}


@pytest_asyncio.fixture
async def furnished(store: Store) -> AsyncIterator[Store]:
    """Give a store with one of everything, which nobody made."""
    await store.insert_quota(QUOTA)
    await store.put_override(OVERRIDE)
    await store.sync_tasks([DeclaredTask("t", "T", TaskKind.SCHEDULER, "m:t", cron="* * * * *")])
    await store.insert_token(TOKEN)
    await store.insert_upstream_key(key(1))
    await store.insert_operator(OPERATOR)
    yield store


async def entries(store: Store, **wanted: Any) -> list[AuditEntry]:
    return (await store.list_audit(AuditFilter(**wanted))).items


def said(entry: AuditEntry) -> tuple[Any, Any]:
    before, after = (None if text is None else json.loads(text) for text in (entry.before, entry.after))
    return before, after


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_by_a_person_leaves_one_entry_and_by_nobody_none(furnished: Store, what: str) -> None:
    act, kind = what.replace("import", "create").split(" ")
    await CHANGES[what](furnished, ANNA)
    (entry,) = await entries(furnished)
    assert (entry.actor, entry.act, entry.kind, entry.at_us) == ("anna", act, kind, START_US)
    assert (entry.before is None, entry.after is None) == (act == "create", act == "remove")
    assert "canary" not in repr(entry)
    assert "sealed" not in repr(entry)


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_no_persons_change_leaves_no_entry(furnished: Store, what: str) -> None:
    await CHANGES[what](furnished, None)
    assert await entries(furnished) == []


@pytest.mark.parametrize("what", CHANGES)
async def test_without_its_entry_there_is_no_change(furnished: Store, what: str, clock: ManualClock) -> None:
    furnished._audit = AuditWriter(clock, bytes)
    await furnished.note_act(ANNA, Act.REFILL, Subject.QUOTA, "other", {"remaining": 1}, {"remaining": 2})
    before = await dump(furnished)  # the next entry would have the id of this one
    with pytest.raises(QuotaflowError):
        await CHANGES[what](furnished, ANNA)
    assert await dump(furnished) == before


REFUSED: dict[str, Change] = {
    "create quota": lambda store, by: store.insert_quota(QUOTA, by=by),
    "change quota": lambda store, by: store.update_quota("nobody", capacity_micro=1, by=by),
    "remove quota": lambda store, by: store.delete_quota("nobody", by=by),
    "create override": lambda store, by: store.put_override(replace(OVERRIDE, quota_id="nobody"), by=by),
    "remove override": lambda store, by: store.remove_override("q", "nobody", by=by),
    "change task": lambda store, by: store.change_task("nobody", by=by, paused=True),
    "create token": lambda store, by: store.insert_token(TOKEN, by=by),
    "change token": lambda store, by: store.update_token("nobody", by=by, active=False),
    "create upstream_key": lambda store, by: store.insert_upstream_key(key(1), by=by),
    "change upstream_key": lambda store, by: store.update_upstream_key("nobody", by=by, enabled=False),
    "remove upstream_key": lambda store, by: store.delete_upstream_key("nobody", by=by),
    "create operator": lambda store, by: store.insert_operator(OPERATOR, by=by),
    "remove operator": lambda store, by: store.revoke_operator("nobody", by=by),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_change_that_fails_leaves_no_entry(furnished: Store, what: str) -> None:
    before = await dump(furnished)
    with pytest.raises((Conflict, NotFound)):
        await REFUSED[what](furnished, ANNA)
    assert await dump(furnished) == before


SAME: dict[str, Change] = {
    "quota": lambda store, by: store.update_quota("q", capacity_micro=10 * MICRO, enabled=True, by=by),
    "override": lambda store, by: store.put_override(OVERRIDE, by=by),
    "task": lambda store, by: store.change_task("t", by=by, paused=False, cron_override=None),
    "token": lambda store, by: store.update_token("tok_1", by=by, active=True),
    "upstream_key": lambda store, by: store.update_upstream_key("upk_0001", by=by, enabled=True),
    "import of known keys": lambda store, by: store.insert_upstream_keys([key(1)], by=by),
}


@pytest.mark.parametrize("what", SAME)
async def test_a_change_that_changes_nothing_leaves_no_entry(furnished: Store, what: str) -> None:
    await SAME[what](furnished, ANNA)
    assert await entries(furnished) == []


async def test_a_quota_of_which_nothing_differs_keeps_its_version(
    furnished: Store, clock: ManualClock
) -> None:
    before = await dump(furnished)
    await clock.advance(1)
    assert await furnished.update_quota("q", capacity_micro=10 * MICRO, max_concurrent=None) == QUOTA
    assert await dump(furnished) == before
    assert (await furnished.update_quota("q", max_concurrent=2)).version == 2


async def test_an_operator_who_is_revoked_twice_was_revoked_once(furnished: Store) -> None:
    for _ in range(2):
        await furnished.revoke_operator("op_1", by=ANNA)
    (entry,) = await entries(furnished)
    assert said(entry) == ({"name": "otto", "role": "viewer"}, None)


async def test_an_entry_says_what_changed_in_the_words_of_the_api(furnished: Store) -> None:
    await furnished.update_quota("q", capacity_micro=MICRO // 2, max_concurrent=3, by=ANNA)
    await furnished.change_task("t", by=ANNA, skip_us=START_US)
    await furnished.update_token("tok_1", by=ANNA, expires_us=None, rate_limit_per_minute=60)
    await furnished.update_upstream_key("upk_0001", by=ANNA, sealed="env:CANARY", fingerprint="f")
    await furnished.delete_quota("q", by=ANNA)
    found = {(entry.kind, entry.act): said(entry) for entry in await entries(furnished)}
    assert found == {
        ("quota", "change"): (
            {"capacity": 10.0, "max_concurrent": None},
            {"capacity": 0.5, "max_concurrent": 3},
        ),
        ("task", "change"): ({"skip_at": None}, {"skip_at": "2025-06-15T15:06:40.000000Z"}),
        ("token", "change"): (
            {"expires_at": "2025-06-15T15:06:49.000000Z", "rate_limit_per_minute": None},
            {"expires_at": None, "rate_limit_per_minute": 60},
        ),
        ("upstream_key", "change"): ({}, {"secret": "changed"}),
        ("quota", "remove"): (
            {
                "id": "q",
                "name": "q",
                "kind": "bucket",
                "capacity": 0.5,
                "refill_rate": 1.0,
                "max_concurrent": 3,
                "enabled": True,
                "overrides": {"vip": {"capacity": 20.0, "refill_rate": 2.0}},
            },
            None,
        ),
    }


async def test_a_prepaid_quota_has_a_total_and_a_mirror_has_none(store: Store, clock: ManualClock) -> None:
    prepaid = Quota("p", "p", 5 * MICRO, 0, kind=QuotaKind.ALLOWANCE, reset_cron="0 0 * * *", timezone="UTC")
    mirror = Quota("m", "m", 0, 0, kind=QuotaKind.ALLOWANCE, mirrors="tavily")
    for quota in (prepaid, mirror):
        await clock.advance(1)
        await store.insert_quota(quota, by=ANNA)
    of_mirror, of_prepaid = [said(entry)[1] for entry in await entries(store)]
    period = {"reset_cron": "0 0 * * *", "timezone": "UTC", "mirrors": None}
    named = {"id": "p", "name": "p", "kind": "allowance", "enabled": True}
    assert of_prepaid == {**named, "total": 5.0, **period}
    nothing = {"reset_cron": None, "timezone": None, "mirrors": "tavily"}
    assert of_mirror == {**named, "id": "m", "name": "m", **nothing}


async def test_of_an_import_each_key_that_was_stored_has_an_entry(store: Store) -> None:
    rows = [key(number) for number in range(1_000)]
    await store.insert_upstream_keys([*rows, key(7, id="upk_again")], by=ANNA)
    page = await store.list_audit(limit=2_000)
    assert sorted(entry.subject_id for entry in page.items) == sorted(row.id for row in rows)


async def test_entries_are_listed_newest_first_page_after_page(furnished: Store, clock: ManualClock) -> None:
    for number in range(5):
        await clock.advance(1)
        await furnished.update_quota("q", capacity_micro=number + 1, by=By(f"person {number}"))
    first = await furnished.list_audit(limit=3)
    assert first.next_cursor is not None
    rest = await furnished.list_audit(None, first.next_cursor, limit=3)
    assert [entry.actor for entry in (*first.items, *rest.items)] == [f"person {n}" for n in (4, 3, 2, 1, 0)]
    assert (len(first.items), rest.next_cursor) == (3, None)


async def test_entries_are_found_by_kind_subject_and_actor(furnished: Store) -> None:
    await furnished.update_quota("q", enabled=False, by=ANNA)
    await furnished.insert_quota(replace(QUOTA, id="q2", name="q2"), by=By("otto"))
    await furnished.put_override(replace(OVERRIDE, key="%_\\"), by=ANNA)
    await furnished.change_task("t", by=ANNA, paused=True)

    async def found(**wanted: Any) -> set[str]:
        return {entry.subject_id for entry in await entries(furnished, **wanted)}

    assert await found(kinds=(Subject.TASK,)) == {"t"}
    assert await found(kinds=(Subject.QUOTA, Subject.TASK)) == {"q", "q2", "t"}
    assert await found(subject_id="q") == {"q", "q\n%_\\"}
    assert await found(subject_id="q\n%_\\") == {"q\n%_\\"}
    assert await found(subject_id="%") == set()
    assert await found(actor="otto") == {"q2"}
    assert await found(kinds=(Subject.OVERRIDE,), subject_id="q2") == set()
    assert await found(kinds=(Subject.QUOTA,), subject_id="q") == {"q"}
    assert await found(kinds=(Subject.QUOTA, Subject.OVERRIDE), subject_id="q") == {"q", "q\n%_\\"}


async def test_a_quota_whose_id_differs_in_case_is_another(furnished: Store) -> None:
    await furnished.insert_quota(replace(QUOTA, id="Q", name="Q"))
    await furnished.put_override(replace(OVERRIDE, quota_id="Q"), by=ANNA)
    assert await entries(furnished, subject_id="q") == []
    (entry,) = await entries(furnished, subject_id="Q")
    assert entry.subject_id == "Q\nvip"


async def test_an_entry_is_read_by_its_id(furnished: Store) -> None:
    await furnished.update_quota("q", enabled=False, by=ANNA)
    (entry,) = await entries(furnished)
    assert await furnished.get_audit_entry(entry.id) == entry
    with pytest.raises(NotFound, match="no change has the id 'nothing'"):
        await furnished.get_audit_entry("nothing")


async def test_what_is_taken_back_must_lead_exactly_back(furnished: Store, clock: ManualClock) -> None:
    await furnished.update_quota("q", capacity_micro=5 * MICRO, by=ANNA)
    (made,) = await entries(furnished)
    back = By("otto", made.id)
    await clock.advance(1)
    for wrong in ({"capacity_micro": 6 * MICRO}, {"enabled": False}, {"capacity_micro": 5 * MICRO}):
        before = await dump(furnished)
        with pytest.raises(Conflict, match=f"not any more as the change {made.id} left it"):
            await furnished.update_quota("q", by=back, **wrong)
        assert await dump(furnished) == before
    assert await furnished.undone_by(made.id) is None
    await furnished.update_quota("q", capacity_micro=10 * MICRO, by=back)
    undone, _ = await entries(furnished)
    assert (undone.undoes, undone.actor, said(undone)) == (made.id, "otto", said(made)[::-1])
    assert await furnished.undone_by(made.id) == undone


async def test_nothing_is_taken_back_twice(furnished: Store, clock: ManualClock) -> None:
    await furnished.change_task("t", by=ANNA, paused=True)
    (made,) = await entries(furnished)
    for paused in (False, True):
        await clock.advance(1)
        await furnished.change_task("t", by=ANNA if paused else By("anna", made.id), paused=paused)
    before = await dump(furnished)
    with pytest.raises(Conflict, match=f"the change {made.id} has been undone already"):
        await furnished.change_task("t", by=By("anna", made.id), paused=False)
    assert await dump(furnished) == before


async def test_of_two_who_take_the_same_back_at_once_one_does(
    furnished: Store, url: str, clock: ManualClock
) -> None:
    await furnished.update_quota("q", enabled=False, by=ANNA)
    (made,) = await entries(furnished)
    other = await Store.open(url, clock=clock, deadline_s=PATIENCE_S)
    both = [store.update_quota("q", enabled=True, by=By("otto", made.id)) for store in (furnished, other)]
    answers = await asyncio.gather(*both, return_exceptions=True)
    await other.close()
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Quota"]
    assert [entry.undoes for entry in await entries(furnished)].count(made.id) == 1


async def test_a_removed_quota_comes_back_with_its_overrides(furnished: Store) -> None:
    whole = await furnished.get_quota("q"), await furnished.overrides("q")
    await furnished.delete_quota("q", by=ANNA)
    (made,) = await entries(furnished)
    with pytest.raises(Conflict):
        await furnished.insert_quota(QUOTA, by=By("anna", made.id))
    await furnished.insert_quota(QUOTA, [OVERRIDE], by=By("anna", made.id))
    assert (await furnished.get_quota("q"), await furnished.overrides("q")) == whole


async def test_a_removed_quota_comes_back_with_its_declaration(furnished: Store) -> None:
    declared = replace(QUOTA, id="d", name="d")
    await furnished.apply_declared(declared, "text")
    changed = await furnished.update_quota("d", capacity_micro=MICRO)
    await furnished.delete_quota("d", by=ANNA)
    (made,) = await entries(furnished)
    assert "text" not in f"{made.before}{made.after}"
    await furnished.insert_quota(replace(changed, version=1), by=By("anna", made.id))
    assert (await furnished.apply_declared(declared, "text")).capacity_micro == MICRO
    assert (await furnished.apply_declared(declared, "another text")).capacity_micro == 10 * MICRO


async def test_what_was_left_is_said_and_stands_in_no_undos_way(furnished: Store) -> None:
    prepaid = Quota("p", "p", 5 * MICRO, 0, kind=QuotaKind.ALLOWANCE)
    await furnished.insert_quota(prepaid, by=ANNA)
    (made,) = await entries(furnished)
    await furnished.delete_quota("p", remaining=2.5, by=By("otto", made.id))
    removed = await furnished.undone_by(made.id)
    assert removed is not None
    assert said(removed)[0] == {**said(made)[1], "remaining": 2.5}
    await furnished.insert_quota(prepaid, remaining=2.5, by=By("otto", removed.id))
    back = await furnished.undone_by(removed.id)
    assert back is not None
    assert said(back) == said(removed)[::-1]


async def test_of_keys_that_are_encrypted_anew_each_has_an_entry(furnished: Store) -> None:
    sealed = (await furnished.get_upstream_key("upk_0001")).sealed
    rotation = [("upk_0001", sealed, "fernet:new"), ("upk_gone", "fernet:old", "fernet:new")]
    assert await furnished.reseal_upstream_keys(rotation, by=ANNA) == 1
    (entry,) = await entries(furnished)
    assert (entry.act, entry.subject_id, said(entry)) == (
        Act.CHANGE, "upk_0001", ({}, {"secret": "encrypted anew"}),
    )  # fmt: skip
    assert await furnished.reseal_upstream_keys(rotation, by=ANNA) == 0
    assert len(await entries(furnished)) == 1


@pytest.mark.parametrize("actor", ["x" * 128, "größer als 名 \U0001f511", "'; DROP TABLE admin_audit;--"])
async def test_hostile_names_are_only_names(furnished: Store, actor: str) -> None:
    await furnished.update_quota("q", enabled=False, by=By(actor))
    assert [entry.actor for entry in await entries(furnished, actor=actor)] == [actor]


async def test_a_name_that_sql_cannot_hold_changes_nothing(furnished: Store) -> None:
    before = await dump(furnished)
    with pytest.raises(InvalidInput):
        await furnished.update_quota("q", enabled=False, by=By("lone surrogate \ud800"))
    assert await dump(furnished) == before
