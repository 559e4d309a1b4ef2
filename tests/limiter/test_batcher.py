"""Many callers, few calls, and everybody gets an answer of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest

from quotaflow.amounts import MICRO
from quotaflow.errors import Unavailable
from quotaflow.limiter import keys, wire
from quotaflow.limiter.turns import BATCH, LANES, MOST_WAITING
from quotaflow.limiter.wire import Link
from quotaflow.model import Decision, Override, Reason, make_quota
from tests.limiter.conftest import Bench, bench_on
from tests.servers import PATIENCE_S, ValkeyProcess


def one(quota_id: str = "q", cost: int = MICRO, key: str = "") -> tuple[tuple[str, str, int], ...]:
    return ((quota_id, key, cost),)


async def define(bench: Bench, capacity: float = 100, rate: float = 0, quota_id: str = "q") -> None:
    await bench.quotas.define(make_quota(id=quota_id, capacity=capacity, refill_rate=rate))


async def remaining(bench: Bench) -> float:
    return (await bench.batcher.ask(one(cost=0))).remaining


async def test_callers_of_one_turn_share_calls_and_get_exactly_what_there_is(bench: Bench) -> None:
    await define(bench, capacity=150)
    before = bench.batcher.batches
    decisions = await asyncio.gather(*[bench.batcher.ask(one()) for _ in range(200)])
    assert sorted(decision.remaining for decision in decisions if decision.allowed) == list(range(150))
    assert [decision.retry_after for decision in decisions if not decision.allowed] == [None] * 50
    assert bench.batcher.batches - before <= 2 + 200 // BATCH


async def test_a_crowd_that_comes_again_goes_in_two_halves(bench: Bench) -> None:
    await define(bench)
    # The first goes at once, the others behind it: 20 in the mean.
    await asyncio.gather(*[bench.batcher.ask(one()) for _ in range(40)])
    before = bench.batcher.batches
    await asyncio.gather(*[bench.batcher.ask(one()) for _ in range(40)])
    assert bench.batcher.batches - before == 2
    assert (bench.batcher._newest, bench.batcher._half) == (20, 20)


async def test_who_is_alone_once_more_waits_for_no_end_of_a_turn(bench: Bench) -> None:
    await define(bench)
    await asyncio.gather(*[bench.batcher.ask(one()) for _ in range(40)])
    while bench.batcher._half > 1:
        await bench.batcher.acquire(one())
    before = bench.batcher.batches
    caller = asyncio.create_task(bench.batcher.acquire(one()))
    await asyncio.sleep(0)
    assert (bench.batcher.batches - before, bench.batcher.statistics()["waiting"]) == (1, 0)
    await caller


async def test_callers_of_one_call_are_served_in_the_order_in_which_they_came(bench: Bench) -> None:
    await define(bench, capacity=40)
    looking = bench.batcher.ask(one(cost=0))  # on its way alone; the others go together when this turn ends
    decisions = await asyncio.gather(*[bench.batcher.ask(one()) for _ in range(60)])
    assert [decision.remaining for decision in decisions] == [*range(39, -1, -1), *[0] * 20]
    await looking


async def test_the_same_cost_is_shared_only_while_nobody_asked_for_another_in_between(bench: Bench) -> None:
    await define(bench, capacity=7)
    costs = [1, 1, 5, 1, 1]
    decisions = await asyncio.gather(*[bench.batcher.ask(one(cost=cost * MICRO)) for cost in costs])
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False]
    assert (await asyncio.gather(bench.batcher.ask(one(cost=0))))[0].remaining == 0


async def test_a_refusal_does_not_block_the_cheaper_requests_behind_it(bench: Bench) -> None:
    await define(bench, capacity=3)
    asked = [bench.batcher.ask(one(cost=cost * MICRO)) for cost in (2, 5, 1)]
    decisions: list[Decision] = await asyncio.gather(*asked)
    assert [decision.reason for decision in decisions] == [Reason.GRANTED, Reason.IMPOSSIBLE, Reason.GRANTED]


async def test_several_buckets_in_one_request_ride_with_the_others(bench: Bench) -> None:
    await define(bench, capacity=3)
    await define(bench, capacity=1, quota_id="r")
    both = (("q", "", MICRO), ("r", "", MICRO))
    first, second, third = await asyncio.gather(*[bench.batcher.ask(wants) for wants in (both, both, one())])
    assert (first.allowed, second.allowed, third.allowed) == (True, False, True)
    assert second.quota_id == "r"
    assert await remaining(bench) == 1


async def test_callers_who_left_before_the_call_cost_nothing(bench: Bench) -> None:
    await define(bench)
    await bench.batcher.ask(one())
    asked = [bench.batcher.ask(one()) for _ in range(10)]
    for answer in asked[1:]:  # the first is on its way already
        answer.cancel()
    await asked[0]
    await bench.batcher.drain()
    assert await remaining(bench) == 98


async def test_what_was_granted_to_callers_who_left_is_given_back(bench: Bench) -> None:
    await define(bench)
    kept = 0
    for spins in range(15):
        callers = [asyncio.create_task(bench.batcher.acquire(one())) for _ in range(4)]
        for _ in range(spins):
            await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        kept += sum(not caller.cancelled() for caller in callers)
        await bench.batcher.drain()
    assert bench.batcher.statistics()["unreturned"] == 0
    assert await remaining(bench) + kept == 100


class LossyLink(Link):
    """Dies when replies come, after the server has done its work."""

    lose = 0

    def data_received(self, data: bytes) -> None:
        if LossyLink.lose:
            LossyLink.lose -= 1
            self.abort()
        else:
            super().data_received(data)


@asynccontextmanager
async def losing(bench: Bench, times: int) -> AsyncIterator[None]:
    """Lose this many replies while the block runs."""
    with patch.object(wire, "Link", LossyLink):
        bench.wire.close()
        LossyLink.lose = times
        yield
        await bench.batcher.drain()  # units of a failed batch go back over this link, behind its callers


async def test_a_batch_whose_reply_was_lost_is_answered_again_and_charged_once(bench: Bench) -> None:
    await define(bench)
    async with losing(bench, 1):
        decisions = await asyncio.gather(*[bench.batcher.ask(one()) for _ in range(3)])
        assert sorted(decision.remaining for decision in decisions) == [97, 98, 99]
        assert await remaining(bench) == 97


async def test_a_lone_caller_whose_reply_was_lost_is_answered_again_and_charged_once(bench: Bench) -> None:
    await define(bench)
    async with losing(bench, 1):
        assert (await bench.batcher.acquire(one(key="anna"))).remaining == 99
    assert (await bench.batcher.ask(one(key="anna", cost=0))).remaining == 99


async def test_a_batch_that_fails_twice_fails_its_own_callers_only(bench: Bench) -> None:
    await define(bench)
    async with losing(bench, 2):
        with pytest.raises(Unavailable):
            await bench.batcher.ask(one())
        assert (await bench.batcher.ask(one())).allowed


async def test_too_many_callers_are_turned_away_at_once(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, deadline_s=0.1) as bench:
        await define(bench)
        bench.fence.lose("for the test")
        bench.fence._lost.clear()
        asked = [bench.batcher.ask(one()) for _ in range(MOST_WAITING)]
        with pytest.raises(Unavailable, match="waiting"):
            asked.extend(bench.batcher.ask(one()) for _ in range(2000))
        for answer in asked:
            answer.cancel()
        await bench.batcher.drain()


async def test_each_key_has_a_level_of_its_own_that_expires_when_it_would_be_full(bench: Bench) -> None:
    await define(bench, capacity=10, rate=1)
    await asyncio.gather(
        *[bench.batcher.ask(one(key="anna", cost=4 * MICRO)), bench.batcher.ask(one(key="a:b*"))]
    )
    assert (await bench.batcher.ask(one(key="anna", cost=0))).remaining == pytest.approx(6, abs=0.5)
    assert (await bench.batcher.ask(one(key="otto", cost=0))).remaining == 10
    assert 1_000 < await bench.plain.pttl(keys.level("q") + ":anna") <= 4_001  # never before it is full
    assert await bench.plain.exists(keys.level("q") + ":a%3Ab%2A") == 1
    assert await bench.plain.exists(keys.level("q") + ":otto") == 0, "looking leaves no trace"


async def test_stopping_while_redis_is_away_tells_everybody_and_ends(
    bench: Bench, valkey: ValkeyProcess
) -> None:
    await define(bench)
    valkey.kill()
    bench.batcher._deadline_s = 0.3
    asked = [bench.batcher.ask(one()) for _ in range(BATCH * 10)]  # more than there are lanes
    bench.batcher._deadline_s = 0.1
    await asyncio.wait_for(bench.batcher.drain(), 2)
    answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 1)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert (bench.batcher.statistics()["waiting"], bench.batcher._under_way) == (0, set())


async def test_a_level_that_never_refills_never_expires(bench: Bench) -> None:
    await define(bench, capacity=2, rate=0)
    await bench.batcher.ask(one(key="anna"))
    assert await bench.plain.pttl(keys.level("q") + ":anna") == -1


async def test_a_key_may_have_a_capacity_and_rate_of_its_own(bench: Bench) -> None:
    await define(bench, capacity=1)
    await bench.quotas.override(Override("q", "vip", 5 * MICRO, 0))
    assert (await bench.batcher.ask(one(key="vip", cost=5 * MICRO))).allowed
    assert (await bench.batcher.ask(one(key="anna", cost=5 * MICRO))).reason is Reason.IMPOSSIBLE
    await bench.quotas.drop_override("q", "vip")
    assert (await bench.batcher.ask(one(key="vip", cost=5 * MICRO))).reason is Reason.IMPOSSIBLE


async def test_a_name_that_is_no_text_harms_nobody_else(bench: Bench) -> None:
    await define(bench)
    asked = [bench.batcher.ask(one()), bench.batcher.ask(one("\ud800")), bench.batcher.ask(one())]
    decisions = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S)
    assert [decision.reason for decision in decisions] == [Reason.GRANTED, Reason.MISSING, Reason.GRANTED]
    assert (await bench.batcher.acquire(one("\ud800"))).reason is Reason.MISSING


async def test_what_cannot_be_laid_out_fails_its_own_batch_and_costs_no_lane(bench: Bench) -> None:
    await define(bench)
    wrong: Any = (("q", 5, MICRO),)
    for _ in range(LANES + 1):
        asked = [bench.batcher.ask(wants) for wants in (one(), one(), wrong)]
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE_S)
        assert isinstance(answers[2], AttributeError | TypeError)
        with pytest.raises(TypeError):
            await bench.batcher.acquire(wrong)
    assert len(bench.batcher._free) == LANES
    assert (await bench.batcher.ask(one())).allowed


async def test_what_a_dead_connection_delivers_late_takes_nothing_whoever_came_meanwhile(
    bench: Bench,
) -> None:
    await define(bench)
    sent: list[tuple[Any, ...]] = []

    class Remembering(LossyLink):
        def evalsha(self, *call: Any) -> "asyncio.Future[Any]":
            sent.append(call)
            return super().evalsha(*call)

    with patch.object(wire, "Link", Remembering):
        bench.wire.close()
        LossyLink.lose = 1
        assert (await bench.batcher.acquire(one(key="anna"))).allowed
        first = sent[0]
        for _ in range(LANES * 2):
            await asyncio.gather(*[bench.batcher.ask(one(key="otto")) for _ in range(2)])
        link = await bench.wire.connect()
        await link.evalsha(*first[:3], *[asyncio.get_running_loop().time() + seconds for seconds in (0, 5)])
    assert (await bench.batcher.ask(one(key="anna", cost=0))).remaining == 99


async def test_a_server_that_refuses_the_first_words_of_a_connection_is_unavailable(bench: Bench) -> None:
    await define(bench)
    await bench.plain.execute_command("ACL", "SETUSER", "default", "-info")
    bench.wire.close()
    try:
        answers = await asyncio.wait_for(
            asyncio.gather(*[bench.batcher.ask(one()) for _ in range(20)], return_exceptions=True), PATIENCE_S
        )
    finally:
        await bench.plain.execute_command("ACL", "SETUSER", "default", "+info")
    assert {type(answer) for answer in answers} == {Unavailable}
    assert (await bench.batcher.ask(one())).allowed
