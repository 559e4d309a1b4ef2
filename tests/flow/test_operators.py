"""Operators as the desk knows them: who has which token, who is signed in and for how long, who has a link."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quotaflow.control import operators
from quotaflow.control.operators import ADMINISTRATOR, LINKS, OperatorDesk
from quotaflow.errors import Conflict, InvalidInput, NotFound
from quotaflow.operators import Operator, Role
from quotaflow.secret import OPERATOR_PREFIX, hash_of, known_of
from quotaflow.store import Store
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S
from tests.stores import empty_tables, sqlite_url

ADMIN_TOKEN = "qf_admin_canary-51c0"
HALF_DAY_S = 12 * 3600


@pytest.fixture
def clock() -> ManualClock:
    """Give the clock of the desks."""
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """Give an empty store."""
    (tmp_path / "store.db").write_bytes(empty_tables())
    opened = await Store.open(sqlite_url(tmp_path), clock=clock, deadline_s=PATIENCE_S)
    yield opened
    await opened.close()


def desk_of(store: Store, clock: ManualClock) -> OperatorDesk:
    """Make the desk of a process that knows the admin token."""
    desk = OperatorDesk(store, clock, secrets.token_bytes)
    desk.set_admin(hash_of(ADMIN_TOKEN))
    return desk


@pytest.fixture
def desk(store: Store, clock: ManualClock) -> OperatorDesk:
    """Give the desk."""
    return desk_of(store, clock)


@pytest.fixture
def elsewhere(store: Store, clock: ManualClock) -> OperatorDesk:
    """Give the desk of another process on the same store."""
    return desk_of(store, clock)


async def signed_in(desk: OperatorDesk, token: str = ADMIN_TOKEN) -> str:
    """Sign in with a token that is valid."""
    secret = await desk.sign_in(token)
    assert secret is not None
    return secret


async def test_an_operator_is_known_by_its_token_and_by_nothing_near_it(desk: OperatorDesk) -> None:
    anna, token = await desk.create("anna", Role.VIEWER)
    assert (len(token), token[:6], anna.prefix) == (57, OPERATOR_PREFIX, token[:12])
    assert await desk.identify(token) == anna
    assert await desk.identify(token.encode()) == anna
    for other in (token[:-1], token + "0", token.upper(), token.removeprefix("qf_op_"), anna.prefix, ""):
        assert await desk.identify(other) is None, other
    other_checksum = "0" if token[-1] != "0" else "1"
    assert await desk.identify(token[:-1] + other_checksum) is None
    assert known_of(token) is None, "it is no access token"
    assert token not in repr(anna)


async def test_a_customers_token_is_no_operators(desk: OperatorDesk) -> None:
    _, token = await desk.create("anna", Role.ADMIN)
    assert await desk.identify("qf_" + token.removeprefix("qf_op_")) is None


async def test_the_admin_token_needs_no_sql(desk: OperatorDesk, store: Store) -> None:
    await store.close()
    assert await desk.identify(ADMIN_TOKEN) is ADMINISTRATOR
    assert await desk.identify("guess") is None
    assert (ADMINISTRATOR.name, ADMINISTRATOR.role) == ("admin", Role.ADMIN)


@pytest.mark.parametrize("name", ["admin", "Admin", "anna"])
async def test_a_name_is_one_persons(desk: OperatorDesk, name: str) -> None:
    await desk.create("anna", Role.VIEWER)
    with pytest.raises(Conflict):
        await desk.create(name, Role.VIEWER)
    assert [operator.name for operator in await desk.all()] == ["anna"]


@pytest.mark.parametrize("name", ["", " anna", "a\nb", "x" * 129])
async def test_a_name_that_is_none_is_refused(desk: OperatorDesk, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await desk.create(name, Role.VIEWER)
    assert caught.value.field == "name"


async def test_who_is_revoked_is_refused_at_once_here_and_within_a_second_elsewhere(
    desk: OperatorDesk, elsewhere: OperatorDesk, clock: ManualClock
) -> None:
    anna, token = await desk.create("anna", Role.ADMIN)
    session = await signed_in(desk, token)
    for each in (desk, elsewhere):
        assert (await each.identify(token), await each.of_session(session)) == (anna, anna)
    await desk.revoke(anna.id)
    assert (await desk.identify(token), await desk.of_session(session)) == (None, None)
    assert await desk.sign_in(token) is None
    await clock.advance(0.999)
    assert (await elsewhere.identify(token), await elsewhere.of_session(session)) == (anna, anna)
    await clock.advance(0.001)
    assert (await elsewhere.identify(token), await elsewhere.of_session(session)) == (None, None)


async def test_an_answer_of_sql_from_before_the_revoking_is_not_remembered(
    desk: OperatorDesk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, token = await desk.create("anna", Role.ADMIN)
    found, go_on = asyncio.Event(), asyncio.Event()
    really_find = store.find_operator

    async def slowly(token_hash: str) -> Operator | None:
        operator = await really_find(token_hash)
        found.set()
        await go_on.wait()
        return operator

    with monkeypatch.context() as patch:
        patch.setattr(store, "find_operator", slowly)
        asking = asyncio.create_task(desk.identify(token))
        await found.wait()
    await desk.revoke(anna.id)
    go_on.set()
    assert await asking == anna, "who asked before"
    assert await desk.identify(token) is None


async def test_what_is_remembered_is_bounded(
    desk: OperatorDesk, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "REMEMBERED", 3)
    sessions = [await signed_in(desk) for _ in range(5)]
    for session in sessions * 2:
        assert await desk.of_session(session) is ADMINISTRATOR
        assert len(desk._remembered) <= 3


async def test_revoking_twice_is_fine_and_a_stranger_is_not_found(desk: OperatorDesk) -> None:
    anna, _ = await desk.create("anna", Role.VIEWER)
    await desk.revoke(anna.id, "admin")
    first = await desk.all()
    await desk.revoke(anna.id, "admin")
    assert await desk.all() == first
    with pytest.raises(NotFound):
        await desk.revoke("op_" + "0" * 32)


async def test_a_session_ends_after_twelve_hours(
    desk: OperatorDesk, elsewhere: OperatorDesk, clock: ManualClock
) -> None:
    session = await signed_in(desk)
    await clock.advance(HALF_DAY_S - 0.5)
    for each in (desk, elsewhere):
        assert await each.of_session(session) is ADMINISTRATOR
    await clock.advance(0.5)
    for each in (desk, elsewhere):
        assert await each.of_session(session) is None, "not a moment longer, remembered or not"


async def test_nobody_signs_in_with_a_wrong_token(desk: OperatorDesk, clock: ManualClock) -> None:
    assert await desk.sign_in("guess") is None
    assert await desk.sign_in("\ud800") is None
    for secret in ("", "guess", "A" * 43, "é" * 43, "A" * 42 + "\n"):
        assert await desk.of_session(secret) is None


async def test_signing_out_ends_one_session_and_may_be_done_twice(
    desk: OperatorDesk, clock: ManualClock
) -> None:
    one, other = await signed_in(desk), await signed_in(desk)
    assert await desk.of_session(one) is ADMINISTRATOR
    await desk.sign_out(one)
    await desk.sign_out(one)
    assert (await desk.of_session(one), await desk.of_session(other)) == (None, ADMINISTRATOR)


async def test_with_another_admin_token_the_admins_sessions_are_over(
    desk: OperatorDesk, clock: ManualClock
) -> None:
    _, token = await desk.create("anna", Role.VIEWER)
    admins, annas = await signed_in(desk), await signed_in(desk, token)
    assert await desk.of_session(admins) is ADMINISTRATOR
    desk.set_admin(hash_of("another"))
    assert await desk.of_session(admins) is None
    assert await desk.of_session(annas) is not None
    assert await desk.identify(ADMIN_TOKEN) is None


# Links


async def test_a_link_signs_in_once(desk: OperatorDesk) -> None:
    code = desk.one_time_link()
    session = await desk.sign_in_once(code)
    assert session is not None
    assert await desk.of_session(session) is ADMINISTRATOR
    assert await desk.sign_in_once(code) is None
    assert await desk.sign_in_once("") is None


async def test_of_two_who_use_a_link_at_once_one_comes_in(desk: OperatorDesk) -> None:
    code = desk.one_time_link()
    answers = await asyncio.gather(desk.sign_in_once(code), desk.sign_in_once(code))
    assert sorted(answer is None for answer in answers) == [False, True]


async def test_a_link_ends_after_ten_minutes_and_is_another_process_s_not(
    desk: OperatorDesk, elsewhere: OperatorDesk, clock: ManualClock
) -> None:
    in_time, late = desk.one_time_link(), desk.one_time_link()
    assert await elsewhere.sign_in_once(in_time) is None
    await clock.advance(599.9)
    assert await desk.sign_in_once(in_time) is not None
    await clock.advance(0.1)
    assert await desk.sign_in_once(late) is None


async def test_of_too_many_links_the_oldest_gives_way(desk: OperatorDesk) -> None:
    codes = [desk.one_time_link() for _ in range(LINKS + 1)]
    assert await desk.sign_in_once(codes[0]) is None
    assert await desk.sign_in_once(codes[1]) is not None
    assert await desk.sign_in_once(codes[-1]) is not None


async def test_a_link_is_of_no_use_before_the_admin_token_is_known(store: Store, clock: ManualClock) -> None:
    desk = OperatorDesk(store, clock, secrets.token_bytes)
    assert await desk.sign_in_once(desk.one_time_link()) is None
