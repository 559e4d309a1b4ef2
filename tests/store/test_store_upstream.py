"""Upstream keys in SQL: no secret and no name twice; what checks brought is written at once, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import event, text

from quotaflow.amounts import MAX_MICRO, MICRO
from quotaflow.balances import KeyStatus, UpstreamKey
from quotaflow.errors import Conflict, InvalidInput, NotFound
from quotaflow.store import Store, UpstreamFilter
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S
from tests.store.rows import START_US

HOSTILE = [
    "Robert'); DROP TABLE upstream_keys;--",
    "größer als 名 \U0001f511",
    "%_\\\"'`$1 ?1 :name {0} %s",
    "upstream_keys.fingerprint",  # the words of SQLite's own refusal
    "\u202eright to left",
    "x" * 128,
]
SAME_SECRET = "this secret is stored already"


def key(number: int = 1, **changes: Any) -> UpstreamKey:
    """Make a key as it is before its first check; each number has its own id, name and secret."""
    row = UpstreamKey(
        id=f"upk_{number:04}",
        provider="acme",
        name=f"key {number:04}",
        sealed=f"fernet:sealed {number}",
        fingerprint=sha256(f"secret {number}".encode()).hexdigest(),
        shown="sk-a…9z",
        enabled=True,
        created_us=START_US + number,
        updated_us=START_US + number,
    )
    return replace(row, **changes)


def checked(row: UpstreamKey, **changes: Any) -> UpstreamKey:
    """Let a check have brought something for every column that a check writes."""
    brought: dict[str, Any] = {
        "plan_limit_micro": 100 * MICRO,
        "used_micro": 99 * MICRO + 1,
        "remaining_micro": MICRO - 1,
        "status": KeyStatus.COOLDOWN,
        "cooldown_until_us": START_US + 60 * MICRO,
        "checked_us": START_US + 7,
        "error": "429: slow down",
        "failures": 3,
    }
    return replace(row, **brought | changes)


async def add(store: Store, *rows: UpstreamKey) -> None:
    assert await store.insert_upstream_keys(rows) == {}


async def test_a_key_comes_back_as_it_went_in(store: Store) -> None:
    rows = [key(1), checked(key(2, enabled=False)), checked(key(3), status=KeyStatus.INVALID)]
    for row in rows:
        await store.insert_upstream_key(row)
    assert [await store.get_upstream_key(row.id) for row in rows] == rows
    with pytest.raises(NotFound, match="no upstream key has the id 'upk_9'"):
        await store.get_upstream_key("upk_9")


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_only_names(store: Store, name: str) -> None:
    row = key(1, provider=name[::-1], name=name)
    await store.insert_upstream_key(row)
    assert await store.all_upstream_keys(name[::-1]) == [row]
    assert (await store.list_upstream_keys(UpstreamFilter(provider=name[::-1]))).items == [row]
    with pytest.raises(Conflict) as caught:
        await store.insert_upstream_key(key(2, provider=name[::-1], name=name))
    assert str(caught.value) == f"a key of {name[::-1]} has the name {name!r}"
    with pytest.raises(Conflict, match=f"^{SAME_SECRET}$"):
        await store.insert_upstream_key(key(1, id="upk_2", provider=name, name=name))
    assert await store.update_upstream_key("upk_0001", name=name[::-1]) == replace(
        row, name=name[::-1], updated_us=START_US + 2
    )


async def test_a_refusal_says_which_and_never_shows_a_secret(store: Store) -> None:
    await store.insert_upstream_key(key(1))
    clashes = [
        (key(1, id="upk_2", name="other"), SAME_SECRET),
        (key(1, id="upk_2"), SAME_SECRET),
        (key(1), SAME_SECRET),
        (key(2, name="key 0001"), "a key of acme has the name 'key 0001'"),
    ]
    for row, reason in clashes:
        with pytest.raises(Conflict) as caught:
            await store.insert_upstream_key(row)
        assert str(caught.value) == reason
        assert caught.value.__cause__ is None  # a driver's words would show the values
    await store.insert_upstream_key(key(2, name="key 0001", provider="globex"))
    with pytest.raises(Conflict, match="an upstream key with this id exists"):
        await store.insert_upstream_keys([key(3), key(4, id="upk_0001")])
    assert [row.id for row in await store.all_upstream_keys()] == ["upk_0001", "upk_0002"]


async def test_of_many_keys_those_that_collide_are_left_out_and_told(store: Store) -> None:
    assert await store.insert_upstream_keys([]) == {}
    await add(store, key(1), key(2))
    same_name, same_secret = key(3, name="key 0001"), key(2, id="upk_0004", name="new")
    first, again, namesake = key(5), key(5, id="upk_0006", name="twice"), key(7, name="key 0005")
    free = key(8, name="key 0001", provider="globex")
    after = key(9, name="twice")  # taken only by one that was itself left out
    rows = [same_name, same_secret, first, again, namesake, free, after]
    assert await store.insert_upstream_keys(rows) == {
        "upk_0003": "a key of acme has the name 'key 0001'",
        "upk_0004": SAME_SECRET,
        "upk_0006": SAME_SECRET,
        "upk_0007": "a key of acme has the name 'key 0005'",
    }
    assert await store.all_upstream_keys() == [key(1), key(2), first, after, free]


async def test_many_keys_are_added_all_or_none(store: Store) -> None:
    for poison in ({"name": "lone surrogate \ud800"}, {"created_us": 10**18}, {"sealed": None}):
        with pytest.raises(InvalidInput) as caught:
            await store.insert_upstream_keys([key(1), key(2, **poison), key(3)])
        assert key(2).fingerprint not in str(caught.value)
    assert await store.all_upstream_keys() == []


async def test_of_two_who_add_the_same_keys_at_once_each_key_has_one_who_did(store: Store, url: str) -> None:
    other = await Store.open(url, deadline_s=PATIENCE_S)
    rows = [key(number) for number in range(20)]
    strangers = [replace(row, id=f"{row.id}b", name=f"{row.name}b") for row in rows[::-1]]
    answers = await asyncio.gather(store.insert_upstream_keys(rows), other.insert_upstream_keys(strangers))
    await other.close()
    assert sorted(map(len, answers)) == [0, 20]
    assert len(await store.all_upstream_keys()) == 20


async def test_all_keys_are_ordered_by_provider_and_name_whether_enabled_or_not(store: Store) -> None:
    globex = key(1, provider="globex")
    acme = [key(3, name="a"), key(2, name="b", enabled=False), key(4, name="c", status=KeyStatus.INVALID)]
    await add(store, globex, acme[1], acme[2], acme[0])
    assert await store.all_upstream_keys() == [*acme, globex]
    assert await store.all_upstream_keys("acme") == acme
    assert await store.all_upstream_keys("none") == []


async def test_keys_come_in_pages_newest_first_and_are_filtered(store: Store) -> None:
    await add(
        store,
        key(1, created_us=1),
        key(2, created_us=2, provider="globex", status=KeyStatus.EXHAUSTED),
        key(3, created_us=2, enabled=False),
        key(4, created_us=3, status=KeyStatus.EXHAUSTED),
    )

    async def numbers(limit: int = 100, **wanted: Any) -> list[int]:
        return [int(row.id[4:]) async for row in pages(limit, UpstreamFilter(**wanted))]

    async def pages(limit: int, wanted: UpstreamFilter) -> AsyncIterator[UpstreamKey]:
        cursor, first = None, True
        while first or cursor is not None:
            page = await store.list_upstream_keys(wanted, cursor, limit=limit)
            assert len(page.items) <= limit
            for row in page.items:
                yield row
            cursor, first = page.next_cursor, False

    for limit in (1, 2, 3, 4, 100):
        assert await numbers(limit) == [4, 3, 2, 1]
        assert await numbers(limit, provider="acme") == [4, 3, 1]
    assert await numbers(status=KeyStatus.EXHAUSTED) == [4, 2]
    assert await numbers(enabled=False) == [3]
    assert await numbers(1, enabled=True, provider="acme") == [4, 1]
    assert await numbers(provider="none") == []
    assert len((await store.list_upstream_keys()).items) == 4


@pytest.mark.parametrize("cursor", ["", "1", "x.upk_1", "1.", "-1.upk_1", "١.upk_1", "9" * 40 + ".upk_1"])
async def test_a_cursor_of_no_list_of_keys_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor is not one that a list of upstream keys gave"):
        await store.list_upstream_keys(None, cursor)


async def test_a_key_is_changed_and_says_when(store: Store, clock: ManualClock) -> None:
    await add(store, checked(key(1)), key(2))
    await clock.advance(5)
    secret: dict[str, Any] = {"sealed": "env:ACME", "fingerprint": "f" * 64, "shown": "sk-b…1a"}
    wanted = checked(key(1), name="new", enabled=False, **secret, updated_us=START_US + 5 * MICRO)
    changed = await store.update_upstream_key("upk_0001", name="new", enabled=False, **secret)
    assert changed == wanted
    assert await store.all_upstream_keys() == [key(2), wanted]
    reset = await store.update_upstream_key("upk_0001", remaining_micro=None, status=KeyStatus.ACTIVE)
    later = START_US + 5 * MICRO + 1  # each change is later than the one before, whoever's clock is ahead
    assert reset == replace(wanted, remaining_micro=None, status=KeyStatus.ACTIVE, updated_us=later)
    its_own = await store.update_upstream_key("upk_0001", name="new", provider="acme")
    assert its_own == replace(reset, updated_us=later + 1)
    with pytest.raises(NotFound, match="no upstream key has the id 'upk_9'"):
        await store.update_upstream_key("upk_9", name="x")


async def test_a_change_to_what_another_key_has_is_refused_and_changes_nothing(store: Store) -> None:
    await add(store, key(1), key(2), key(3, name="key 0001", provider="globex"))
    before = await store.all_upstream_keys()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"name": "key 0002", "enabled": False}, "a key of acme has the name 'key 0002'"),
        ({"provider": "globex"}, "a key of globex has the name 'key 0001'"),
        ({"fingerprint": key(2).fingerprint, "sealed": "x"}, SAME_SECRET),
    ]
    for changes, reason in refused:
        with pytest.raises(Conflict) as caught:
            await store.update_upstream_key("upk_0001", **changes)
        assert (str(caught.value), caught.value.__cause__) == (reason, None)
    assert await store.all_upstream_keys() == before


async def test_a_deleted_key_is_gone_and_its_secret_and_name_are_free(store: Store) -> None:
    await add(store, key(1), key(2))
    await store.delete_upstream_key("upk_0001")
    for _ in range(2):
        with pytest.raises(NotFound, match="no upstream key has the id 'upk_0001'"):
            await store.delete_upstream_key("upk_0001")
    assert await store.all_upstream_keys() == [key(2)]
    await store.insert_upstream_key(key(1))


async def test_a_check_writes_what_it_brought_and_nothing_of_the_definition(
    store: Store, clock: ManualClock
) -> None:
    await add(store, key(1), key(2), key(3))
    await clock.advance(60)
    elsewhere = {"id": "x", "provider": "x", "name": "x", "sealed": "x", "shown": "x", "enabled": False}
    told = checked(key(1), **elsewhere, created_us=1, updated_us=1)
    assert await store.write_checked([told, checked(key(2))]) == 2
    assert await store.all_upstream_keys() == [checked(key(1)), checked(key(2)), key(3)]
    assert await store.write_checked([key(1)]) == 1  # back to nothing known
    assert await store.get_upstream_key("upk_0001") == key(1)
    assert await store.write_checked([]) == 0


async def test_a_check_leaves_alone_what_changed_or_went_meanwhile(store: Store) -> None:
    await add(store, key(1), key(2), key(3), key(4))
    read = await store.all_upstream_keys()
    changed = await store.update_upstream_key("upk_0001", fingerprint="f" * 64, sealed="env:NEW")
    await store.delete_upstream_key("upk_0002")
    renamed = await store.update_upstream_key("upk_0003", name="renamed", enabled=False)
    assert await store.write_checked([checked(row) for row in read]) == 2
    assert await store.all_upstream_keys() == [changed, checked(key(4)), checked(renamed)]


async def test_what_a_check_says_is_cut_and_made_fit_and_amounts_are_exact(store: Store) -> None:
    amounts = [0, 1, 2_000_000_000 * MICRO - 1, 8_000_000_000 * MICRO - 1, MAX_MICRO]
    rows = [key(number, remaining_micro=amount) for number, amount in enumerate(amounts)]
    await add(store, *[key(number) for number in range(5)])
    assert await store.write_checked([replace(row, error="NUL \0 \ud800" + "x" * 900) for row in rows]) == 5
    found = await store.all_upstream_keys()
    assert [row.remaining_micro for row in found] == amounts
    assert {row.error for row in found} == {"NUL \ufffd ?" + "x" * 493}


async def test_checks_with_a_value_that_sql_cannot_hold_write_nothing(store: Store) -> None:
    await add(store, key(1), key(2))
    with pytest.raises(InvalidInput):
        await store.write_checked([checked(key(1)), checked(key(2), failures=None)])
    assert await store.all_upstream_keys() == [key(1), key(2)]


async def test_reading_all_keys_is_one_select_and_writing_them_one_update_each_in_one_transaction(
    store: Store,
) -> None:
    await add(store, *[key(number, enabled=number % 3 > 0) for number in range(1_000)])
    with watched(store) as reading:
        found = await store.all_upstream_keys()
    with watched(store) as writing:
        assert await store.write_checked([checked(row) for row in found]) == 1_000
    assert reading == ["begin", "SELECT", "commit"]
    assert writing == ["begin", *["lock"] * store.is_shared, "UPDATE", "commit"]
    assert await store.all_upstream_keys() == [checked(row) for row in found]
    if store.is_shared:
        # The server's own count: a row carries the transaction that wrote it, and the statement within that.
        async with store._database.read() as connection:
            wrote = text("SELECT count(DISTINCT (xmin::text, cmin::text)), count(*) FROM upstream_keys")
            assert tuple((await connection.execute(wrote)).one()) == (1, 1_000)


@contextmanager
def watched(store: Store) -> Iterator[list[str]]:
    """Note when transactions begin and end, and the first word of each statement that goes to the driver."""
    seen: list[str] = []

    def note(word: str) -> Any:
        return lambda *_: seen.append(word)

    def execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):  # SQLite's; seen as "begin" already
            seen.append("lock" if "pg_advisory" in statement else statement.split(maxsplit=1)[0])

    hooks: dict[str, Any] = {word: note(word) for word in ("begin", "commit", "rollback")}
    hooks["before_cursor_execute"] = execute
    places = [
        (engine.sync_engine, name, hook)
        for engine in store._database._engines
        for name, hook in hooks.items()
    ]
    for place in places:
        event.listen(*place)
    try:
        yield seen
    finally:
        for place in places:
            event.remove(*place)


async def test_refreshes_and_a_rotation_at_once_do_not_lock_each_other_out(store: Store, url: str) -> None:
    other = await Store.open(url, deadline_s=PATIENCE_S)
    rows = [key(number) for number in range(300)]
    await add(store, *[replace(row, sealed="fernet:0") for row in rows])
    for turn in range(5):
        news = [checked(row, failures=turn) for row in rows]
        rotation = [(row.id, f"fernet:{turn}", f"fernet:{turn + 1}") for row in rows]
        writes = [
            store.write_checked(news),
            other.write_checked(news[::-1]),
            other.write_checked(news[9::-3]),
            store.reseal_upstream_keys(rotation[::-1]),
        ]
        assert await asyncio.gather(*writes) == [300, 300, 4, 300]
    await other.close()


async def test_a_sealed_text_is_replaced_only_where_the_one_that_was_read_still_stands(
    store: Store, clock: ManualClock
) -> None:
    await add(store, *[checked(key(number)) for number in range(1, 5)])
    rotation = [(row.id, row.sealed, f"fernet:again {row.id}") for row in await store.all_upstream_keys()]
    await clock.advance(60)
    changed = await store.update_upstream_key("upk_0002", sealed="env:NEW", fingerprint="f" * 64)
    await store.delete_upstream_key("upk_0003")
    assert await store.reseal_upstream_keys(rotation) == 2
    wanted = [checked(key(n), sealed=f"fernet:again upk_{n:04}") for n in (1, 4)]
    assert await store.all_upstream_keys() == [wanted[0], changed, wanted[1]]
    assert await store.reseal_upstream_keys(rotation) == 0
    assert await store.reseal_upstream_keys([]) == 0


async def test_a_rotation_that_fails_leaves_every_sealed_text(store: Store) -> None:
    await add(store, key(1), key(2))
    bad: Any = (key(2).id, key(2).sealed, None)
    with pytest.raises(InvalidInput):
        await store.reseal_upstream_keys([(key(1).id, key(1).sealed, "fernet:new"), bad])
    assert await store.all_upstream_keys() == [key(1), key(2)]
