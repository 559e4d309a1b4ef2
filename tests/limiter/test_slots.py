"""Slots of a quota: never more than there are, in the order of arrival, and none is lost. Its clock can be set."""

import asyncio
from typing import Any, cast

import pytest

from quotaflow.errors import InvalidInput, NotFound, QuotaDisabled, QuotaExceeded
from quotaflow.ids import Ids
from quotaflow.limiter import keys
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.slots import Slots
from quotaflow.model import Quota, make_quota
from quotaflow.runs import Word
from quotaflow.timing import ManualClock, SystemClock
from tests.limiter.conftest import bench_on
from tests.limiter.test_waiting_claims import SECOND, Story, words
from tests.runner.runs import loop_turns
from tests.servers import ValkeyProcess


class Hall(Story):
    """Two processes that hold slots, beside the two daemons of a story; their clocks go together."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.here, self.there = self.slots("here"), self.slots("there")
        self.got: list[str] = []

    def slots(self, node: str) -> Slots:
        return Slots(cast("Fence", self.stage), self.clock, Ids(self.clock, node), lease_s=8)

    async def quota(self, most: int | None = 1, version: int = 1, **more: Any) -> Quota:
        quota = make_quota(id="q", capacity=100, refill_rate=0, max_concurrent=most, version=version, **more)
        await self.stage.define(quota)
        return quota

    async def go(self, seconds: float) -> None:
        """Let time pass for everybody, a tenth of a second at a time."""
        for _ in range(round(seconds * 10)):
            self.passes(0.1)
            await self.clock.advance(0.1)
            await loop_turns(40)

    def wait(self, slots: Slots, name: str, seconds: float = 60) -> "asyncio.Task[str]":
        async def taking() -> str:
            holder = await slots.take("q", seconds)
            self.got.append(name)
            return holder

        return asyncio.ensure_future(taking())

    async def held(self) -> dict[str, int]:
        """Return who stands in Redis, and for how many more seconds; who waits is left out."""
        found = await self.stage.redis.zrange(keys.quota_slots("q"), 0, -1, withscores=True)
        return {holder: (int(score) - self.now) // SECOND for holder, score in found if score < 4e15}


@pytest.fixture
async def hall() -> Hall:
    return Hall()


async def test_no_more_are_taken_than_there_are_over_all_processes(hall: Hall) -> None:
    await hall.quota(2)
    first = await hall.here.take("q", 0)
    await hall.there.take("q", 0)
    for slots in (hall.here, hall.there):
        with pytest.raises(QuotaExceeded, match="as many as may are under way") as caught:
            await slots.take("q", 0)
        assert (caught.value.quota_id, caught.value.retry_after) == ("q", 1)
    await hall.here.give(first)
    await hall.there.take("q", 0)
    assert (len(hall.here), len(hall.there), len(await hall.held())) == (0, 2, 2)


async def test_what_is_given_back_is_there_for_the_next_who_does_not_wait(hall: Hall) -> None:
    await hall.quota()
    for _ in range(5):
        hall.here.give(await hall.here.take("q", 0))
    await hall.here.close()
    assert await hall.held() == {}


async def test_a_quota_without_slots_says_so(hall: Hall) -> None:
    with pytest.raises(NotFound):
        await hall.here.take("q", 1)
    await hall.quota(None)
    with pytest.raises(InvalidInput, match="has no max_concurrent"):
        await hall.here.take("q", 1)
    await hall.quota(1, version=2, enabled=False)
    with pytest.raises(QuotaDisabled):
        await hall.here.take("q", 1)
    assert (len(hall.here), hall.here.waiting) == (0, 0)


async def test_a_process_that_died_frees_its_slot_when_its_lease_ends(hall: Hall) -> None:
    await hall.quota()
    await hall.there.take("q", 0)
    waiting = hall.wait(hall.here, "a")
    await hall.go(7.8)
    assert not waiting.done()
    await hall.go(0.4)
    assert waiting.done()


async def test_what_is_kept_stays_taken(hall: Hall) -> None:
    await hall.quota()
    holder = await hall.there.take("q", 0)
    keeping = asyncio.ensure_future(hall.there.run())
    await hall.go(20)
    keeping.cancel()
    assert hall.there.lost == 0
    with pytest.raises(QuotaExceeded):
        await hall.here.take("q", 0)
    assert set(await hall.held()) == {holder}


async def test_a_process_that_was_frozen_notices_and_is_counted_again(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    await hall.quota()
    frozen = await hall.there.take("q", 0)
    await hall.go(9)
    holder = await hall.here.take("q", 0)
    await hall.there.keep()
    assert hall.there.lost == 1
    assert "slot.lost" in caplog.text
    assert set(await hall.held()) == {frozen, holder}
    await hall.here.give(holder)
    with pytest.raises(QuotaExceeded):  # the one that came back is under way
        await hall.here.take("q", 0)
    await hall.there.give(frozen)
    assert await hall.held() == {}


async def test_those_who_wait_are_served_in_the_order_they_came_wherever_that_was(hall: Hall) -> None:
    await hall.quota()
    holder = await hall.here.take("q", 0)
    waiters = []
    for name, slots in (("a", hall.here), ("b", hall.there), ("c", hall.here), ("d", hall.there)):
        waiters.append((slots, hall.wait(slots, name)))
        await hall.go(0.1)
    await hall.here.give(holder)
    for slots, waiter in waiters:
        await hall.go(0.5)
        assert waiter.done()
        slots.give(waiter.result())
    assert hall.got == ["a", "b", "c", "d"]
    assert hall.here.waiting == hall.there.waiting == 0


async def test_who_gives_a_slot_back_hands_it_on_without_a_pause_in_its_own_process(hall: Hall) -> None:
    await hall.quota()
    holder = await hall.here.take("q", 0)
    waiter = hall.wait(hall.here, "a")
    await hall.go(0.2)
    await hall.here.give(holder)
    await loop_turns(200)  # no time passes
    assert waiter.done()


async def test_nobody_overtakes_those_who_wait(hall: Hall) -> None:
    await hall.quota()
    holder = await hall.here.take("q", 0)
    waiting = hall.wait(hall.there, "first")
    await hall.go(0.2)
    await hall.here.give(holder)
    with pytest.raises(QuotaExceeded):
        await hall.here.take("q", 0)
    await hall.go(0.2)
    assert waiting.done()


async def test_a_waiter_gives_up_when_its_time_is_over_and_leaves_the_line(hall: Hall) -> None:
    await hall.quota()
    await hall.here.take("q", 0)
    waiting, behind = hall.wait(hall.there, "a", 1), hall.wait(hall.there, "b", 0.5)
    await hall.go(0.6)
    assert (behind.done(), waiting.done(), hall.there.waiting) == (True, False, 1)
    await hall.go(0.6)
    for task in (waiting, behind):
        assert isinstance(task.exception(), QuotaExceeded)
    assert await hall.stage.redis.zcard(keys.quota_slots("q")) == 1


async def test_a_waiter_that_is_cancelled_leaves_the_line(hall: Hall) -> None:
    await hall.quota()
    await hall.here.take("q", 0)
    waiting, behind = hall.wait(hall.there, "a"), hall.wait(hall.there, "b")
    await hall.go(0.3)
    waiting.cancel()
    await hall.go(0.3)
    assert waiting.cancelled()
    assert await hall.stage.redis.zcard(keys.quota_slots("q")) == 2  # the next has its place
    behind.cancel()
    await hall.go(0.1)
    assert await hall.stage.redis.zcard(keys.quota_slots("q")) == 1


async def test_a_holder_that_is_cancelled_gives_its_slot_back(hall: Hall) -> None:
    await hall.quota()

    async def hold() -> None:
        async with hall.here.holding("q", 0):
            await asyncio.Event().wait()

    holding = asyncio.ensure_future(hold())
    await loop_turns(100)
    assert len(await hall.held()) == 1
    holding.cancel()
    await asyncio.wait([holding])
    assert await hall.held() == {}


async def test_a_process_that_died_in_line_holds_up_the_others_for_two_seconds(hall: Hall) -> None:
    await hall.quota()
    holder = await hall.here.take("q", 0)
    dead = hall.wait(hall.slots("dead"), "dead")
    await hall.go(0.1)
    dead.cancel()
    hall.stage.scripts["slot"], script = "return 0", hall.stage.scripts["slot"]
    await loop_turns(100)  # its last words are not heard
    hall.stage.scripts["slot"] = script
    waiting = hall.wait(hall.here, "a")
    await hall.go(0.2)
    await hall.here.give(holder)
    await hall.go(1.9)
    assert not waiting.done()
    await hall.go(0.4)
    assert waiting.done()


async def test_runs_and_calls_stand_in_one_line(hall: Hall) -> None:
    await hall.quota()
    terms: dict[str, Any] = {"quota_id": "q", "until_us": hall.now + 60 * SECOND}
    assert words(await hall.trigger("r1", **terms)) == [Word.GRANTED]
    with pytest.raises(QuotaExceeded):
        await hall.here.take("q", 0)
    call = hall.wait(hall.here, "call")
    await hall.go(0.2)
    assert words(await hall.trigger("r2", **terms)) == [Word.WAITING]
    assert words(await hall.trigger("r3", quota_id="q")) == [Word.BUSY]
    assert await hall.end("r1", quota_id="q")
    assert await hall.due("r2", **terms) == [Word.WAITING]  # it is not due yet: the call was first
    await hall.go(0.2)
    holder = call.result()
    hall.here.give(holder)
    await loop_turns(100)
    assert await hall.waiting() == {"r2": 0}
    assert await hall.due("r2", **terms) == [Word.GRANTED]
    assert len(await hall.held()) == 1


async def test_a_run_in_line_is_not_overtaken_by_one_that_comes(hall: Hall) -> None:
    await hall.quota()
    terms: dict[str, Any] = {"quota_id": "q", "until_us": hall.now + 60 * SECOND}
    await hall.trigger("r1", "r2", **terms)
    await hall.end("r1", quota_id="q")
    assert words(await hall.trigger("r3", quota_id="q")) == [Word.BUSY]
    assert await hall.due("r2", **terms) == [Word.GRANTED]


async def test_a_run_that_is_worth_nothing_any_more_leaves_the_line(hall: Hall) -> None:
    await hall.quota()
    until = hall.now + SECOND
    await hall.trigger("r1", "r2", quota_id="q", until_us=until)
    hall.passes(1.5)
    assert await hall.due("r2", quota_id="q", until_us=until) == [Word.BUSY]
    assert set(await hall.held()) == {"r1"}
    assert await hall.stage.redis.zcard(keys.quota_slots("q")) == 1
    assert (await hall.statuses())[-1] == "limited reason=busy"


async def test_a_changed_limit_acts_at_once(hall: Hall) -> None:
    await hall.quota(1)
    first = await hall.here.take("q", 0)
    waiting = hall.wait(hall.there, "a")
    await hall.go(0.2)
    await hall.quota(2, version=2)
    await hall.go(0.2)
    assert waiting.done()
    await hall.quota(1, version=3)  # who is under way goes on
    await hall.here.give(first)
    with pytest.raises(QuotaExceeded):
        await hall.here.take("q", 0)
    last = hall.wait(hall.here, "b")
    await hall.go(0.2)
    await hall.quota(None, version=4)
    await hall.go(0.2)
    assert isinstance(last.exception(), InvalidInput)
    assert words(await hall.trigger("r1", "r2", quota_id="q")) == [Word.GRANTED, Word.GRANTED]


async def test_a_renewal_that_overtakes_a_return_leaves_nothing_behind(hall: Hall) -> None:
    await hall.quota()
    for turns in range(12):
        holder = await hall.here.take("q", 0)
        keeping = asyncio.ensure_future(hall.here.keep())
        await loop_turns(turns)
        hall.here.give(holder)
        await keeping
        await loop_turns(60)
        assert await hall.held() == {}, turns


async def test_what_could_not_be_given_back_is_given_back_later(valkey: ValkeyProcess) -> None:
    quota = make_quota(id="q", capacity=1, refill_rate=0, max_concurrent=1)
    async with bench_on(valkey.url, deadline_s=0.3) as bench:
        await bench.quotas.define(quota)
        slots = Slots(bench.fence, SystemClock(), Ids(SystemClock()), lease_s=8)
        holder = await slots.take("q", 0)
        assert (await bench.quotas.levels([quota]))["q"].running == 1
        await bench.plain.execute_command("CLIENT", "PAUSE", "400", "ALL")
        await slots.give(holder)
        await asyncio.sleep(0.2)
        await slots.keep()
        assert (await bench.quotas.levels([quota]))["q"].running == 0
        await slots.take("q", 0)
