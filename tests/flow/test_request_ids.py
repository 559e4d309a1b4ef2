"""A request id outlives its record in Redis: the ledger in SQL remembers it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from quotaflow import Quotaflow
from quotaflow.amounts import MICRO
from quotaflow.control.requests import request_of
from quotaflow.errors import Conflict, IdempotencyConflict, InvalidInput, NotFound
from quotaflow.ledger import Action, Change, LedgerRow, Part, RequestState
from quotaflow.limiter import keys
from quotaflow.model import QuotaKind, make_quota
from tests.flow.conftest import MakeSettings
from tests.flow.test_prepaid_recovery import left, opened, rows, written
from tests.servers import ValkeyProcess

Opened = tuple[Quotaflow, str, str]


@pytest.fixture
async def shop(valkey: ValkeyProcess, make_settings: MakeSettings) -> AsyncIterator[Opened]:
    """Give a Quotaflow with a token of 100 units, and a prepaid quota of 50."""
    async with opened(make_settings, valkey) as (qf, token_id, secret):
        await qf.quotas.create(make_quota(id="budget", total=50, kind=QuotaKind.ALLOWANCE))
        yield qf, token_id, secret


async def forgotten(qf: Quotaflow, token_id: str, request_id: str) -> None:
    """Let SQL have everything and Redis forget a request, as it does after an hour."""
    await written(qf)
    assert await qf._base.plain.delete(keys.request(token_id, request_id)) == 1


async def test_sql_answers_a_forgotten_id_without_a_second_charge(shop: Opened) -> None:
    qf, token_id, secret = shop
    first = await qf.tokens.consume(secret, 10, request_id="ten")
    await forgotten(qf, token_id, "ten")
    await qf.tokens.consume(secret, 1)
    again = await qf.tokens.consume(secret, 10, request_id="ten")
    assert again == first._replace(repeated=True)
    assert await left(qf, token_id) == 89
    assert qf.charges.unchecked == 0


async def test_a_forgotten_id_with_other_arguments_is_a_conflict(shop: Opened) -> None:
    qf, token_id, secret = shop
    await qf.tokens.consume(secret, 10, request_id="ten")
    await qf.tokens.consume(secret, 5, request_id="both", quotas={"budget": 7})
    await forgotten(qf, token_id, "ten")
    await forgotten(qf, token_id, "both")
    with pytest.raises(IdempotencyConflict, match="used before with other arguments"):
        await qf.tokens.consume(secret, 11, request_id="ten")
    with pytest.raises(IdempotencyConflict):
        await qf.tokens.consume(secret, 10, request_id="ten", quotas={"budget": 1})
    with pytest.raises(IdempotencyConflict):
        await qf.tokens.consume(secret, 5, request_id="both", quotas={"budget": 8})
    with pytest.raises(IdempotencyConflict):
        await qf.tokens.consume(secret, 5, request_id="both")
    assert (await qf.tokens.consume(secret, 5, request_id="both", quotas={"budget": 7})).repeated
    assert await left(qf, token_id) == 85
    assert (await qf.acquire("budget", 0)).remaining == 43


async def test_an_id_of_another_subject_is_another_id(shop: Opened) -> None:
    qf, token_id, secret = shop
    await qf.tokens.consume(secret, 10, request_id="one")
    await forgotten(qf, token_id, "one")
    made = await qf.charges.charge([Part("budget", 10 * MICRO)], request_id="one")
    assert (made.repeated, made.remaining) == (False, 40)


async def test_what_became_of_a_forgotten_id_is_known(shop: Opened) -> None:
    qf, token_id, secret = shop
    await qf.tokens.consume(secret, 5, request_id="both", quotas={"budget": 7})
    await forgotten(qf, token_id, "both")
    request = await qf.charges.request(token_id, "both")
    assert (request.state, request.remaining) == (RequestState.CHARGED, 95)
    assert request.parts == (Part(token_id, 5 * MICRO), Part("budget", 7 * MICRO))
    assert (await qf.charges.request(token_id, "nobody")).state is RequestState.UNKNOWN


async def test_a_forgotten_id_is_refunded_once_also_when_the_refund_is_forgotten(shop: Opened) -> None:
    qf, token_id, secret = shop
    await qf.tokens.consume(secret, 5, request_id="both", quotas={"budget": 7})
    await forgotten(qf, token_id, "both")
    refund = await qf.charges.refund(token_id, "both")
    assert (refund.amount, refund.repeated, refund.request.state) == (5, False, RequestState.REFUNDED)
    assert (await qf.charges.refund(token_id, "both")).repeated
    await forgotten(qf, token_id, "both")
    last = await qf.charges.refund(token_id, "both")
    assert (last.amount, last.repeated, last.request.state) == (0, True, RequestState.REFUNDED)
    assert (await qf.charges.cancel(token_id, "both")).repeated
    assert await left(qf, token_id) == 100
    assert (await qf.acquire("budget", 0)).remaining == 50
    await written(qf)
    assert (await qf.audit()).differences == []


async def test_part_of_a_forgotten_charge_goes_back_and_never_more(shop: Opened) -> None:
    qf, token_id, secret = shop
    await qf.tokens.consume(secret, 10, request_id="ten")
    await forgotten(qf, token_id, "ten")
    with pytest.raises(InvalidInput, match="at most the 10 units"):
        await qf.charges.refund(token_id, "ten", 11)
    assert (await qf.charges.refund(token_id, "ten", 4)).amount == 4
    assert await left(qf, token_id) == 94


async def test_a_forgotten_id_is_cancelled_and_a_late_command_refused(shop: Opened) -> None:
    qf, token_id, secret = shop
    await qf.tokens.consume(secret, 10, request_id="ten")
    await forgotten(qf, token_id, "ten")
    with pytest.raises(Conflict, match="charged already"):
        await qf.charges.cancel(token_id, "ten", only_unseen=True)
    assert (await qf.charges.cancel(token_id, "ten")).amount == 10
    late = await qf.tokens.consume(secret, 10, request_id="ten")
    assert (late.allowed, late.reason) == (False, "cancelled")
    assert await left(qf, token_id) == 100


async def test_nobody_can_be_refunded_an_id_that_was_never_heard_of(shop: Opened) -> None:
    qf, token_id, _ = shop
    with pytest.raises(NotFound):
        await qf.charges.refund(token_id, "nobody")
    assert await left(qf, token_id) == 100


async def test_a_refund_whose_id_sorts_before_the_charge_is_still_a_refund(shop: Opened) -> None:
    """Another host's clock was behind: event ids say little, the place in the chain says it all."""
    charge = LedgerRow("9", "t", Action.CONSUME, 10, -4, 6, 1, 2, "r", None, 9, "")
    refund = LedgerRow("1", "t", Action.REFUND, 6, 4, 10, 1, 3, "r", None, 1, "")
    request = request_of("t", "r", [refund, charge])
    assert request is not None
    assert (request.state, request.parts) == (RequestState.REFUNDED, (Part("t", 4),))


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Keep the ledger of a PostgreSQL store from everybody else."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10)
    async with connection.transaction():
        await connection.execute("LOCK TABLE token_quota_logs IN ACCESS EXCLUSIVE MODE")
        yield
    await connection.close()


async def test_while_sql_is_locked_charging_goes_on_and_what_was_not_checked_is_counted(
    valkey: ValkeyProcess, postgres: str, make_settings: MakeSettings
) -> None:
    def settings(url: str) -> object:
        return make_settings(url, store__url=postgres)

    async with opened(settings, valkey) as (qf, token_id, secret):  # type: ignore[arg-type]
        await qf.tokens.consume(secret, 10, request_id="before")
        await written(qf)
        async with locked(postgres):
            made = await qf.tokens.consume(secret, 10, request_id="meanwhile")
            assert (made.allowed, made.remaining) == (True, 80)
            assert qf.charges.unchecked == 1
            assert (await qf.tokens.consume(secret, 10, request_id="before")).repeated
            assert qf.charges.unchecked == 2
        assert (await qf.tokens.consume(secret, 10, request_id="meanwhile")).repeated
        assert await left(qf, token_id) == 80
        assert qf.charges.unchecked == 2
        await written(qf)
        charged = [row.request_id for row in await rows(qf, token_id) if row.action is Action.CONSUME]
        assert charged == ["before", "meanwhile"]


async def test_a_change_whose_record_is_gone_is_not_made_again(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, valkey) as (qf, token_id, _):
        await qf.tokens.recharge(token_id, Change.RECHARGE, 50, request_id="invoice-1")
        await written(qf)
        for key in valkey.client().scan_iter("qf:{p0}:request:*"):
            valkey.client().delete(key)
        view = await qf.tokens.recharge(token_id, Change.RECHARGE, 50, request_id="invoice-1")
        assert view.holding is not None
        assert view.holding.remaining_micro == 150 * MICRO
        with pytest.raises(IdempotencyConflict):
            await qf.tokens.recharge(token_id, Change.RECHARGE, 51, request_id="invoice-1")


async def test_a_request_that_only_others_were_charged_for_is_known_by_their_rows(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """The token's own cost is nothing; what its request took of a shared quota is in the ledger under its name."""
    async with opened(make_settings, valkey) as (qf, token_id, secret):
        await qf.quotas.create(make_quota(id="sms", total=100, kind=QuotaKind.ALLOWANCE))
        await qf.tokens.consume(secret, 0, request_id="one", quotas={"sms": 7})
        await written(qf)
        for key in valkey.client().scan_iter("qf:{p0}:request:*"):
            valkey.client().delete(key)
        assert (await qf.tokens.consume(secret, 0, request_id="one", quotas={"sms": 7})).repeated
        assert (await qf.charges.request(token_id, "one")).state is RequestState.CHARGED
        await qf.charges.refund(token_id, "one")
        assert (await qf.acquire("sms", 0)).remaining == 100
