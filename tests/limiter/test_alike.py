"""acquire decides simple batches and acquire_mixed all of them: what both can decide they decide alike."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaflow.amounts import MICRO
from quotaflow.limiter import decide, keys
from quotaflow.limiter.decide import Even, Layout, lay_out
from quotaflow.limiter.quotas import override_fields
from quotaflow.model import Decision, Override, make_quota
from tests.limiter.stages import START_US, FakeStage

BUCKETS = ["", "anna", "customer-42", "a:b*", "vip"]


async def stage_with(capacity: int, rate: int, state: str) -> FakeStage:
    stage = FakeStage()
    if state != "missing":
        await stage.define(
            make_quota(id="q", capacity=capacity, refill_rate=rate, enabled=state == "enabled")
        )
        await stage.redis.hset(keys.quota("q"), mapping=override_fields(Override("q", "vip", 5 * MICRO, 0)))
    return stage


async def decided(stage: FakeStage, layout: Layout | Even) -> list[Decision]:
    stage.batches += 1
    return layout.decisions(await stage.run(*layout.call("lane", stage.batches)))


async def left(stage: FakeStage) -> dict[str, Any]:
    """Return all that the scripts have written but their last reply."""
    found: dict[str, Any] = {"quota": await stage.redis.hgetall(keys.quota("q"))}
    for key in BUCKETS:
        level = decide.level_key("q", key)
        found[level] = await stage.redis.get(level), await stage.redis.pttl(level)
    found["refusals"] = [
        {name: value for name, value in entry.items() if name != "at_us"}
        for _, entry in await stage.redis.xrange(keys.refused("q"))
    ]
    return found


batches = st.tuples(
    st.integers(-(10**6), 10**8),  # microseconds before it
    st.lists(st.sampled_from(BUCKETS), min_size=1, max_size=5, unique=True),
    st.integers(0, 12 * MICRO),
)


@settings(max_examples=60)
@given(
    st.integers(1, 10),
    st.integers(0, 3),
    st.sampled_from(["enabled"] * 4 + ["disabled", "missing"]),
    st.data(),
)
async def test_both_scripts_decide_alike_and_leave_the_same(
    capacity: int, rate: int, state: str, data: st.DataObject
) -> None:
    simple, mixed = [await stage_with(capacity, rate, state) for _ in range(2)]
    for pause, buckets, cost in data.draw(st.lists(batches, min_size=1, max_size=6)):
        asks = [(("q", bucket, cost),) for bucket in buckets]
        layout = lay_out(asks)
        assert isinstance(layout, Even)
        simple.now_us = mixed.now_us = simple.now_us + pause
        assert await decided(simple, layout) == await decided(mixed, decide._lay_out(asks))
        assert await left(simple) == await left(mixed)


ODD = {
    "rate": (Override("q", "vip", 5 * MICRO, 2 * MICRO), None),
    "capacity": (Override("q", "vip", 7 * MICRO, 300_000), f"5000000 {START_US}"),
    "level": (None, f"4999999 {START_US}"),
    "moment": (None, f"4000000 {START_US - 1}"),  # too short for a micro-unit, and kept
}


@pytest.mark.parametrize("differs", ODD)
async def test_a_bucket_that_differs_in_one_thing_from_those_beside_it_is_decided_by_itself(
    differs: str,
) -> None:
    override, text = ODD[differs]
    beside = f"4000000 {START_US}" if differs == "moment" else f"5000000 {START_US}"
    asks = [(("q", bucket, MICRO),) for bucket in ("anna", "vip", "customer-42")]
    stages = [FakeStage(), FakeStage()]
    for stage in stages:
        await stage.define(make_quota(id="q", capacity=5, refill_rate=0.3))
        for bucket in ("anna", "customer-42"):
            await stage.redis.set(decide.level_key("q", bucket), beside)
        if override:
            await stage.redis.hset(keys.quota("q"), mapping=override_fields(override))
        if text:
            await stage.redis.set(decide.level_key("q", "vip"), text)
    found = await decided(stages[0], lay_out(asks))
    assert found == await decided(stages[1], decide._lay_out(asks))
    assert await left(stages[0]) == await left(stages[1])
    assert found[0] == found[2] != found[1]
