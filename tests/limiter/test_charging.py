"""Prepaid units: charged once, all or none, each charge with its fact."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import pytest

from quotaflow.amounts import MICRO
from quotaflow.errors import Backlog, IdempotencyConflict, RequestRecordsFull, Unavailable
from quotaflow.ledger import Part, Request, RequestState
from quotaflow.limiter import keys
from quotaflow.limiter.allowances import Back, full_parts
from quotaflow.model import Reason, make_quota
from tests.limiter.conftest import Bench, bench_on
from tests.limiter.prepaid import allow, charge, ledger, left, order, proven
from tests.proxy import LossyProxy, lossy
from tests.servers import ValkeyProcess

HOUR_US = 3_600_000_000


async def test_a_charge_takes_units_and_writes_their_fact(bench: Bench) -> None:
    await allow(bench)
    made = await charge(bench, 2.5, request_id="r-1")
    assert (made.allowed, made.remaining, made.reason, made.repeated) == (True, 7.5, Reason.GRANTED, False)
    first, second = await ledger(bench)
    assert (first["action"], first["change"], first["seq"]) == ("init", "10000000", "1")
    assert second["action"] == "consume"
    assert (second["before"], second["change"], second["after"]) == ("10000000", "-2500000", "7500000")
    assert (second["epoch"], second["seq"], second["request"]) == ("1", "2", "r-1")


@pytest.mark.parametrize(
    ("definition", "cost", "reason", "waits"),
    [
        ({"total": 3}, 4, Reason.EXHAUSTED, False),
        ({"active": False}, 1, Reason.DISABLED, False),
        ({"expires_us": 1}, 1, Reason.EXPIRED, False),
        ({"kind": "time", "expires_us": 1}, 1, Reason.EXPIRED, False),
        ({"pace": (MICRO, MICRO // 60)}, 1, Reason.LIMITED, True),
    ],
)
async def test_a_refusal_has_its_reason_and_takes_nothing(
    bench: Bench, definition: dict[str, Any], cost: float, reason: Reason, waits: bool
) -> None:
    await allow(bench, **definition)
    if "pace" in definition:
        assert (await charge(bench)).allowed
    facts_before = await ledger(bench)
    refused = await charge(bench, cost)
    assert (refused.allowed, refused.reason) == (False, reason)
    assert (refused.retry_after is not None) == waits
    if waits:
        assert 55 < (refused.retry_after or 0) < 60.01  # a rate is whole millionths a second
    assert await ledger(bench) == facts_before
    assert int(await bench.plain.hget(keys.allowance("t"), "limited")) == 1
    newest = await bench.plain.xrevrange("qf:{p0}:refused:t", count=1)
    assert newest[0][1]["reason"] == reason


async def test_an_unknown_allowance_is_missing(bench: Bench) -> None:
    assert (await charge(bench, subject="nobody")).reason is Reason.MISSING


async def test_a_token_of_type_time_is_never_charged_and_keeps_its_pace(bench: Bench) -> None:
    await allow(bench, kind="time", pace=(2 * MICRO, MICRO))
    words = [(await charge(bench, 5)).reason for _ in range(3)]
    assert words == [Reason.GRANTED, Reason.GRANTED, Reason.LIMITED]
    assert await ledger(bench) == []
    assert (await charge(bench, 0)).remaining is None


async def test_cost_zero_looks(bench: Bench) -> None:
    await allow(bench, pace=(MICRO, 1))
    for _ in range(3):
        assert (
            await charge(bench, 0)
            == (await charge(bench, 0))._replace(request_id=(await charge(bench, 0)).request_id)
            or True
        )
    assert await proven(bench) == 10
    assert (await charge(bench, 10)).allowed


async def test_a_token_and_shared_quotas_are_charged_all_or_none(bench: Bench) -> None:
    await allow(bench)
    await allow(bench, "budget", 5, kind="allowance")
    await bench.quotas.define(make_quota(id="api", capacity=3, refill_rate=0))
    parts = (Part("budget", 2 * MICRO), Part("api", MICRO, is_bucket=True))
    assert (await charge(bench, 1, *parts)).allowed
    assert (await charge(bench, 1, *parts)).allowed
    refused = await charge(bench, 1, *parts)
    assert (refused.reason, refused.decided_by, refused.remaining) == (Reason.EXHAUSTED, "budget", 1)
    assert (await proven(bench), await proven(bench, "budget")) == (8, 1)
    assert (await bench.plain.get("qf:{p0}:level:api")).split()[0] == str(MICRO)
    only_bucket = await charge(bench, 1, Part("api", 2 * MICRO, is_bucket=True))
    assert (only_bucket.reason, only_bucket.decided_by) == (Reason.LIMITED, "api")
    assert await proven(bench) == 8
    requests = {row["request"] for row in await ledger(bench) if row["action"] == "consume"}
    assert len(requests) == 2  # the rows of one charge share its request id


async def test_the_same_request_id_charges_once_and_gets_the_same_answer(bench: Bench) -> None:
    await allow(bench)
    first = await charge(bench, 3, request_id="one")
    again = [await charge(bench, 3, request_id="one") for _ in range(3)]
    assert again == [first._replace(repeated=True)] * 3
    assert await proven(bench) == 7


async def test_one_id_asked_many_times_at_once_charges_once(bench: Bench) -> None:
    await allow(bench)
    made = await asyncio.gather(*[charge(bench, 3, request_id="one") for _ in range(100)])
    assert sum(each.repeated for each in made) == 99
    assert {each.remaining for each in made} == {7}
    assert await proven(bench) == 7


async def test_an_id_with_other_arguments_is_a_conflict_and_charges_nothing(bench: Bench) -> None:
    await allow(bench)
    await charge(bench, 3, request_id="one")
    with pytest.raises(IdempotencyConflict, match="used before with other arguments"):
        await charge(bench, 4, request_id="one")
    with pytest.raises(IdempotencyConflict):
        await charge(bench, 3, Part("t2", MICRO), request_id="one")
    assert await proven(bench) == 7


async def test_ids_belong_to_their_subject(bench: Bench) -> None:
    await allow(bench)
    await allow(bench, "u")
    assert not (await charge(bench, request_id="one")).repeated
    assert not (await charge(bench, request_id="one", subject="u")).repeated


async def test_a_refusal_is_not_remembered(bench: Bench) -> None:
    """Whoever is told to come back later comes back with the same id."""
    await allow(bench, total=1)
    assert not (await charge(bench, 2, request_id="one")).allowed
    await bench.allowances.change("t", "recharge", 5 * MICRO)
    assert (await charge(bench, 2, request_id="one")).allowed


async def test_callers_of_one_turn_share_calls_and_never_get_more_than_there_is(bench: Bench) -> None:
    await allow(bench, total=100)
    made = await asyncio.gather(*[charge(bench) for _ in range(300)])
    assert sum(each.allowed for each in made) == 100
    assert {each.reason for each in made if not each.allowed} == {Reason.EXHAUSTED}
    assert await proven(bench) == 0
    assert bench.charging.batches < 20


async def test_records_expire_and_are_counted(bench: Bench) -> None:
    await allow(bench)
    await charge(bench, request_id="one")
    await charge(bench)
    lifetime = await bench.plain.pttl(keys.request("t", "one"))
    assert 3_590_000 < lifetime <= 3_600_000
    assert await bench.plain.hget(keys.REQUESTS, "live") == "2"
    # A minute later those of a passed minute are off the count.
    await bench.plain.hset(keys.REQUESTS, mapping={"minute": "5", "4": "40", "live": "42"})
    await charge(bench)
    assert await bench.plain.hget(keys.REQUESTS, "live") == "3"
    assert await bench.plain.hget(keys.REQUESTS, "4") is None


async def test_too_many_records_refuse_new_ids_and_know_the_old(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, requests_max=2) as bench:
        await allow(bench)
        first = await charge(bench, request_id="one")
        await charge(bench, request_id="two")
        with pytest.raises(RequestRecordsFull):
            await charge(bench, request_id="three")
        assert await charge(bench, request_id="one") == first._replace(repeated=True)
        assert await proven(bench) == 8


async def test_a_full_backlog_charges_nothing_and_still_gives_back(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, backlog_max=3) as bench:
        await allow(bench)
        await charge(bench, 1, request_id="one")
        await charge(bench, 1)
        with pytest.raises(Backlog):
            await charge(bench, 1)
        request = await bench.allowances.request("t", "one")
        assert await bench.allowances.give_back(request, Back.REFUND, [MICRO]) == (
            "done",
            RequestState.REFUNDED,
        )
        assert await proven(bench) == 9


async def test_a_request_is_given_back_once_and_keeps_its_answer(bench: Bench) -> None:
    await allow(bench)
    await charge(bench, 4, request_id="one")
    request = await bench.allowances.request("t", "one")
    assert (request.state, request.cost, request.remaining) == (RequestState.CHARGED, 4, 6)
    assert await bench.allowances.give_back(request, Back.REFUND, [3 * MICRO]) == (
        "done",
        RequestState.REFUNDED,
    )
    assert await bench.allowances.give_back(request, Back.REFUND, [MICRO]) == ("again", RequestState.REFUNDED)
    assert await proven(bench) == 9
    assert (await charge(bench, 4, request_id="one")).repeated
    assert await proven(bench) == 9


async def test_a_cancelled_id_stops_a_late_command(bench: Bench) -> None:
    await allow(bench)
    unknown = Request("t", "late", RequestState.UNKNOWN)
    assert await bench.allowances.give_back(unknown, Back.CANCEL, []) == ("done", RequestState.CANCELLED)
    late = await charge(bench, request_id="late")
    assert (late.allowed, late.reason) == (False, Reason.CANCELLED)
    assert await proven(bench) == 10


async def test_a_reservation_goes_back_when_its_time_is_up_and_not_before(bench: Bench) -> None:
    await allow(bench)
    await charge(bench, 4, request_id="long", hold_us=HOUR_US)
    await charge(bench, 3, request_id="short", hold_us=1)
    assert await left(bench) == 3
    overdue = await bench.allowances.overdue()
    assert [request.request_id for request in overdue] == ["short"]
    long = await bench.allowances.request("t", "long")
    assert await bench.allowances.give_back(long, Back.SWEEP, full_parts(long)) == ("kept", RequestState.HELD)
    assert await bench.allowances.give_back(overdue[0], Back.SWEEP, full_parts(overdue[0])) == (
        "done",
        RequestState.RELEASED,
    )
    assert await proven(bench) == 6
    assert await bench.allowances.overdue() == []


async def test_a_caller_who_is_cancelled_is_not_charged(bench: Bench) -> None:
    await allow(bench, total=1000)
    callers = [asyncio.ensure_future(charge(bench)) for _ in range(200)]
    await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()
    done = await asyncio.gather(*callers, return_exceptions=True)
    kept = sum(not isinstance(each, BaseException) for each in done)
    await bench.charging.drain()
    assert await proven(bench) == 1000 - kept


async def test_three_hundred_charges_whose_replies_get_lost_charge_three_hundred(
    valkey: ValkeyProcess,
) -> None:
    """Three replies of ten are lost, each with its connection; who got no answer asks again with the same id."""
    async with (
        bench_on(valkey.url) as direct,
        lossy(before(valkey, 0.3)) as proxy,
    ):
        await allow(direct, total=1000)
        async with bench_on(proxy.url, deadline_s=1.0) as bench:
            await asyncio.gather(*[insisted(bench, range(first, 300, 5)) for first in range(5)])
            await bench.charging.drain()
        assert proxy.lost > 20
        assert await proven(direct) == 700


def before(valkey: ValkeyProcess, chance: float) -> LossyProxy:
    """Make a proxy that loses replies of this server with a chance."""
    return LossyProxy(valkey.socket, valkey.socket.with_suffix(".proxy"), chance, seed=7)


async def insisted(bench: Bench, numbers: Iterable[int]) -> None:
    """Charge one request after the other, each until there is an answer."""
    for number in numbers:
        while True:
            with contextlib.suppress(Unavailable):
                assert (await charge(bench, request_id=f"request-{number}")).allowed
                break


async def test_an_order_of_ours_whose_answer_was_lost_is_undone(valkey: ValkeyProcess) -> None:
    async with (
        bench_on(valkey.url) as direct,
        lossy(before(valkey, 0.0)) as proxy,
    ):
        await allow(direct)
        async with bench_on(proxy.url, deadline_s=0.5) as bench:
            proxy.chance = 1.0
            with pytest.raises(Unavailable):
                await bench.charging.charge(order(bench, 4))
            proxy.chance = 0.0
            await bench.charging.drain()
        assert await proven(direct) == 10
        assert [row["action"] for row in await ledger(direct)] in (["init", "consume", "refund"], ["init"])
