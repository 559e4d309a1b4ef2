"""acquire decides simple batches and acquire_mixed all of them: what both can decide they decide alike."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quotaflow.amounts import MICRO
from quotaflow.limiter import decide, keys
from quotaflow.limiter.decide import Even, Layout, lay_out
from quotaflow.limiter.quotas import override_fields
from quotaflow.model import Decision, Override, make_quota
from tests.limiter.stages import FakeStage

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
