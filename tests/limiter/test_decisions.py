"""The decision table and random stories, on plain Python, fakeredis and a real server."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaflow.amounts import MAX_MICRO, MICRO, cost_micro
from quotaflow.model import Quota, make_quota
from tests.limiter.decision_table import TABLE, Row
from tests.limiter.plain import MICRO as PLAIN_MICRO
from tests.limiter.stages import FakeStage, PlainStage, RealStage, Stage, told_micro


async def play(stage: Stage, row: Row) -> None:
    for quota_id, (capacity, rate) in row.quotas.items():
        await stage.define(make_quota(id=quota_id, capacity=capacity, refill_rate=rate))
    for number, step in enumerate(row.steps, 1):
        asked = step.ask if isinstance(step.ask, Mapping) else {"a": step.ask}
        request = {quota_id: cost_micro(cost) for quota_id, cost in asked.items()}
        reason, quota_id, remaining, retry, reset = (await stage.ask(round(step.after_s * 1e6), [request]))[0]
        told = f"{row.name}, step {number}"
        rate = row.quotas.get(quota_id, (0.0, 0.0))[1]
        assert reason == step.reason, told
        slack_us = stage.slack_us * number  # each step may add as much to the age of what is stored
        slack_units = round(slack_us * rate)
        assert 0 <= remaining - round(step.remaining * MICRO) <= slack_units, told
        assert near(retry, step.retry_s, slack_us), told
        assert near(reset, step.reset_s, slack_us), told


def near(told_us: int, meant_s: float | None, slack_us: int) -> bool:
    """Time that passed meanwhile can only make a wait shorter."""
    if meant_s is None:
        return told_us == -1
    return -1 <= round(meant_s * 1e6) - told_us <= slack_us or (slack_us > 0 and told_us == 0)


def test_the_table_has_the_size_that_was_promised() -> None:
    assert len(TABLE) >= 30
    assert len({row.name for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_plain_python_keeps_the_table(row: Row) -> None:
    await play(PlainStage(), row)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_fakeredis_keeps_the_table(row: Row) -> None:
    await play(FakeStage(), row)


async def test_a_real_server_keeps_the_table(valkey_client: object) -> None:
    for row in TABLE:
        await valkey_client.flushall()  # type: ignore[attr-defined]
        await play(RealStage(valkey_client), row)


@pytest.mark.parametrize("stage", [PlainStage, FakeStage])
async def test_a_hundred_a_day_polled_all_the_time_gives_a_hundred_a_day(stage: type[Stage]) -> None:
    """
    Polling 5,000 times a second must not round the refill away: 3,471 units come in 0.0347 s steps of a day's rate.
    Half an hour at 100 units a day brings two units (1,157 millionths a second: one takes 864.3 s).
    """
    place = stage()
    await place.define(make_quota(id="a", capacity=100, refill_rate=100 / 86400))
    assert (await place.ask(0, [{"a": 100 * MICRO}]))[0][0] == "granted"
    granted, seconds = 0, 5
    for _ in range(seconds * 5_000 // 50):  # 50 polls ride in one call, as they do when a tick batches them
        replies = await place.ask(200 * 50, [{"a": 1}] * 50)
        granted += sum(reply[0] == "granted" for reply in replies)
    exact = seconds * round(100 / 86400 * MICRO)
    assert exact - 1 <= granted <= exact


amounts = st.one_of(st.integers(1, 20), st.integers(1, 10**7), st.integers(1, MAX_MICRO))
rates = st.one_of(st.just(0), st.integers(1, 50), st.integers(1, 10**7), st.integers(1, MAX_MICRO))
pauses = st.one_of(st.integers(0, 3), st.integers(0, 10**6), st.integers(-(10**7), 10**13))
names = st.sampled_from(["a", "b"])


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Quota], list[tuple[int, list[dict[str, int]]]]]:
    quotas = [
        Quota(name, name, draw(amounts), draw(rates), draw(st.booleans()) or draw(st.booleans()))
        for name in "ab"
    ]
    caps = {quota.id: quota.capacity_micro for quota in quotas}
    cost = names.flatmap(
        lambda name: st.tuples(
            st.just(name), st.one_of(st.integers(0, min(MAX_MICRO, caps[name] * 2)), st.integers(0, 9))
        )
    )
    request = st.lists(cost, min_size=1, max_size=2).map(dict)
    steps = draw(
        st.lists(st.tuples(pauses, st.lists(request, min_size=1, max_size=4)), min_size=1, max_size=12)
    )
    return quotas, steps


@settings(max_examples=60)
@given(stories())
async def test_lua_and_plain_python_always_agree_to_the_micro_unit(
    story: tuple[list[Quota], list[tuple[int, list[dict[str, int]]]]],
) -> None:
    quotas, steps = story
    plain, fake = PlainStage(), FakeStage()
    for quota in quotas:
        await plain.define(quota)
        await fake.define(quota)
    for pause, requests in steps:
        for told, meant in zip(
            await fake.ask(pause, requests), await plain.ask(pause, requests), strict=True
        ):
            reason, quota_id, remaining, retry_after, _ = meant
            assert told[:4] == (reason, quota_id, told_micro(remaining / MICRO), retry_after)
            # All callers of a batch are told when the bucket is full after the last of them.
            later = len(requests) > 1 and (told[4] == -1 or told[4] > meant[4])
            assert told[4] == meant[4] or later


@settings(max_examples=300)
@given(
    amounts, rates, st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7)), min_size=1, max_size=40)
)
async def test_no_window_ever_admits_more_than_capacity_and_refill(
    capacity: int, rate: int, polls: list[tuple[int, int]]
) -> None:
    stage = PlainStage()
    await stage.define(Quota("a", "a", capacity, rate))
    start = stage.quotas.now
    taken = 0
    for pause, cost in polls:
        if (await stage.ask(pause, [{"a": cost}]))[0][0] == "granted":
            taken += cost
        assert taken <= capacity + (stage.quotas.now - start) * rate // PLAIN_MICRO
