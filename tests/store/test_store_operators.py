"""Operators and sessions in SQL: no name and no token twice, and what is over is removed."""

import asyncio
import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from quotaflow.errors import Conflict, NotFound
from quotaflow.operators import By, Operator, Role, Session, Subject
from quotaflow.store import Store
from quotaflow.timing import ManualClock
from tests.store.rows import SECOND, START_US, dump

HOSTILE = ["Robert'); DROP TABLE operators;--", "größer als 名 \U0001f511", "%_\\\"'`$1 ?1 :name", "x" * 128]


def operator(number: int = 1, **changes: Any) -> Operator:
    """Make an operator; each number has its own id, name and token."""
    row = Operator(
        id=f"op_{number:04}",
        name=f"person {number}",
        role=Role.VIEWER,
        token_hash=digest(f"token {number}"),
        prefix="qf_op_abcdef",
        created_us=START_US + number,
    )
    return replace(row, **changes)


def session(number: int = 1, *, opened_us: int = START_US, lasts_us: int = SECOND) -> Session:
    """Make a session; each number has its own secret."""
    return Session(digest(f"secret {number}"), digest("token 1"), opened_us, opened_us + lasts_us)


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


async def test_operators_come_back_as_they_were_newest_first(store: Store) -> None:
    assert await store.list_operators() == []
    rows = [operator(1), operator(3, role=Role.ADMIN), operator(2, created_us=START_US + 3)]
    for row in rows:
        await store.insert_operator(row)
    assert await store.list_operators() == [rows[1], rows[2], rows[0]]
    for row in rows:
        assert await store.find_operator(row.token_hash) == row
    assert await store.find_operator(digest("nobody's")) is None


@pytest.mark.parametrize("name", HOSTILE)
async def test_any_name_is_only_a_name(store: Store, name: str) -> None:
    row = operator(name=name)
    await store.insert_operator(row)
    assert await store.list_operators() == [row]
    with pytest.raises(Conflict):
        await store.insert_operator(operator(2, name=name))


async def test_a_name_is_free_again_once_its_operator_is_revoked(store: Store) -> None:
    await store.insert_operator(operator(1))
    again = operator(2, name="person 1")
    with pytest.raises(Conflict, match=r"^an operator has the name 'person 1'$"):
        await store.insert_operator(again)
    await store.revoke_operator("op_0001")
    await store.insert_operator(again)
    with pytest.raises(Conflict):
        await store.insert_operator(operator(3, name="person 1"))
    assert [row.id for row in await store.list_operators()] == ["op_0002", "op_0001"]


@pytest.mark.parametrize("name", ["admin", "ADMIN"])
async def test_nobody_is_called_admin(store: Store, name: str) -> None:
    with pytest.raises(Conflict):
        await store.insert_operator(operator(name=name))
    assert await store.list_operators() == []


async def test_no_id_and_no_token_is_there_twice_and_no_hash_in_the_refusal(store: Store) -> None:
    await store.insert_operator(operator(1))
    for row in (operator(2, id="op_0001"), operator(2, token_hash=digest("token 1"))):
        with pytest.raises(Conflict) as caught:
            await store.insert_operator(row)
        assert str(caught.value) == "an operator with this id or token exists"
        assert caught.value.__cause__ is None  # a driver's words would show the values
    assert await store.list_operators() == [operator(1)]


async def test_of_many_who_take_a_name_at_once_one_has_it(store: Store) -> None:
    rows = [operator(number, name="anna") for number in range(8)]
    answers = await asyncio.gather(*map(store.insert_operator, rows), return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [Conflict] * 7
    assert len(await store.list_operators()) == 1


async def test_who_is_revoked_stays_in_the_list_and_is_found_no_more(
    store: Store, clock: ManualClock
) -> None:
    await store.insert_operator(operator(1))
    await clock.advance(60)
    revoked = operator(1, revoked_us=START_US + 60 * SECOND)
    assert await store.revoke_operator("op_0001") == revoked
    assert await store.find_operator(revoked.token_hash) is None
    await clock.advance(60)
    assert await store.revoke_operator("op_0001") == revoked, "the first moment stays"
    assert await store.list_operators() == [revoked]
    with pytest.raises(NotFound, match="'op_0002'"):
        await store.revoke_operator("op_0002")


async def test_who_made_and_who_revoked_an_operator_is_written_down_once(
    store: Store, clock: ManualClock
) -> None:
    await store.insert_operator(operator(1), by=By("admin"))
    await clock.advance(1)  # entries of one microsecond have no order
    await store.revoke_operator("op_0001", by=By("anna"))
    await store.revoke_operator("op_0001", by=By("bert"))
    with pytest.raises(Conflict):
        await store.insert_operator(operator(2, name="admin"), by=By("admin"))
    removed, created = (await store.list_audit()).items
    fields = {"name": "person 1", "role": "viewer"}
    for entry, actor, act in ((created, "admin", "create"), (removed, "anna", "remove")):
        assert (entry.actor, entry.act, entry.kind, entry.subject_id) == (
            actor, act, Subject.OPERATOR, "op_0001",
        )  # fmt: skip
    assert (created.before, json.loads(created.after or "")) == (None, fields)
    assert (json.loads(removed.before or ""), removed.after) == (fields, None)


async def test_a_session_comes_back_until_it_is_closed(store: Store) -> None:
    await store.open_session(session(1))
    await store.open_session(session(2))
    assert await store.find_session(session(1).secret_hash) == session(1)
    await store.close_session(session(1).secret_hash)
    await store.close_session(session(1).secret_hash)
    assert await store.find_session(session(1).secret_hash) is None
    assert await store.find_session(session(2).secret_hash) == session(2)


async def test_opening_a_session_removes_those_that_have_ended(store: Store) -> None:
    await store.open_session(session(1))
    await store.open_session(session(2, lasts_us=SECOND + 1))
    await store.open_session(session(3, opened_us=START_US + SECOND))
    kept = {row[0] for row in (await dump(store))["sessions"]}
    assert kept == {session(2).secret_hash, session(3).secret_hash}
