"""Upstream keys in Redis: the one with the most left is picked, and what is spent is never given out again."""

from dataclasses import replace
from typing import Any

import pytest

from quotaflow.amounts import MICRO
from quotaflow.balances import Asked, KeyStatus, Usage, Verdict
from quotaflow.limiter import keys
from quotaflow.limiter.pools import Nothing
from tests.limiter.conftest import Bench
from tests.limiter.pools import LEASE_S, P, Pond


@pytest.fixture
async def pond() -> Pond:
    pond = Pond()
    await pond.begin()
    return pond


async def test_the_key_with_the_most_left_less_what_is_reserved_is_picked(pond: Pond) -> None:
    picked = [(await pond.pick(2 * MICRO, pools)).key_id for pools in (pond.here, pond.there) * 2]
    assert sorted(picked[:2]) == ["k0", "k1"]
    assert sorted(picked[2:]) == ["k0", "k1"]
    assert await pond.available() == {"k0": 6, "k1": 6}
    assert {one.held_micro for one in (await pond.live()).values()} == {4 * MICRO}


async def test_nothing_is_picked_above_what_one_key_has(pond: Pond) -> None:
    assert await pond.nothing(10 * MICRO + 1) == Nothing(None, 2, 0, 0)
    for _ in range(2):
        await pond.pick(10 * MICRO)
    assert await pond.nothing(1) == Nothing(None, 2, 0, 0)
    assert set((await pond.statuses()).values()) == {KeyStatus.EXHAUSTED}


async def test_a_cost_of_nothing_reserves_nothing(pond: Pond) -> None:
    held = await pond.pick(0)
    await pond.give_back(held)
    assert await pond.available() == {"k0": 10, "k1": 10}
    assert pond.here._held == {}


async def test_no_key_is_picked_before_its_balance_is_known() -> None:
    pond = Pond()
    await pond.put()
    assert await pond.nothing() == Nothing(None, 2, 0, 2)
    await pond.refresh("k1")
    assert (await pond.pick()).key_id == "k1"
    assert await pond.available() == {"k0": None, "k1": 9}


async def test_what_was_not_spent_goes_back_and_what_cost_less_in_part(pond: Pond) -> None:
    await pond.give_back(await pond.pick(4 * MICRO))
    held = await pond.pick(4 * MICRO)
    await pond.here.settle(held, MICRO, Verdict())
    assert sorted((await pond.available()).values(), key=str) == [10, 9]


async def test_what_cost_more_than_was_reserved_is_taken_too(pond: Pond) -> None:
    held = await pond.pick(MICRO)
    await pond.here.settle(held, 12 * MICRO, Verdict())
    assert (await pond.available())[held.key_id] == -2
    assert (await pond.pick()).key_id != held.key_id


async def test_settling_twice_gives_back_once(pond: Pond) -> None:
    held = await pond.pick(4 * MICRO)
    for _ in range(2):
        await pond.give_back(held)
    assert set((await pond.available()).values()) == {10}


async def test_a_key_that_is_asked_to_rest_is_picked_again_when_it_has(pond: Pond) -> None:
    held = await pond.pick()
    await pond.give_back(held, Verdict(KeyStatus.COOLDOWN, 3.0))
    other = await pond.pick(10 * MICRO)
    assert other.key_id != held.key_id
    assert await pond.nothing() == Nothing(3.0, 2, 1, 0)
    pond.passes(2.9)
    assert (await pond.nothing()).rested_s == pytest.approx(0.1)
    pond.passes(0.1)
    assert (await pond.pick()).key_id == held.key_id


async def test_the_time_until_a_key_has_rested_is_told_only_where_it_has_enough(pond: Pond) -> None:
    held = await pond.pick()
    await pond.here.settle(held, MICRO, Verdict(KeyStatus.COOLDOWN, 3.0))
    assert (await pond.nothing(10 * MICRO, but=["k0", "k1"])).rested_s is None
    assert (await pond.nothing(9 * MICRO, but=["k0", "k1"])).rested_s == 3.0


async def test_a_rest_is_never_made_shorter_and_is_not_ended_by_a_check(pond: Pond) -> None:
    first, second = await pond.pick(but=["k1"]), await pond.pick(but=["k1"])
    await pond.give_back(first, Verdict(KeyStatus.COOLDOWN, 9.0))
    await pond.give_back(second, Verdict(KeyStatus.COOLDOWN, 3.0))
    await pond.refresh()
    pond.passes(8.9)
    assert (await pond.statuses())["k0"] is KeyStatus.COOLDOWN
    pond.passes(0.2)
    assert (await pond.statuses())["k0"] is KeyStatus.ACTIVE


async def test_an_unknown_key_is_not_picked_until_a_check_knows_it(pond: Pond) -> None:
    held = await pond.pick()
    await pond.give_back(held, Verdict(KeyStatus.INVALID))
    assert (await pond.nothing(but=[key for key in pond.keys if key != held.key_id])).unusable == 1
    await pond.refresh(held.key_id)
    assert (await pond.statuses())[held.key_id] is KeyStatus.ACTIVE


async def test_a_key_that_is_used_up_is_not_picked_until_a_check_finds_something(pond: Pond) -> None:
    held = await pond.pick()
    await pond.give_back(held, Verdict(KeyStatus.EXHAUSTED))
    assert (await pond.statuses())[held.key_id] is KeyStatus.EXHAUSTED
    assert (await pond.pick()).key_id != held.key_id
    await pond.refresh()
    assert (await pond.available())[held.key_id] == 10


async def test_a_verdict_about_a_secret_says_nothing_about_the_next_one(pond: Pond) -> None:
    held = await pond.pick()
    await pond.change(held.key_id, fingerprint="another")
    await pond.give_back(held, Verdict(KeyStatus.INVALID))
    assert (await pond.live())[held.key_id].available_micro is None, "its balance is not known yet"
    await pond.refresh()
    assert set((await pond.statuses()).values()) == {KeyStatus.ACTIVE}


async def test_a_check_of_a_secret_says_nothing_about_the_next_one(pond: Pond) -> None:
    marks = await pond.here.marks(P, ["k0"])
    before = await pond.change("k0", fingerprint="another")
    await pond.here.check(P, [before], marks, {"k0": pond.said("k0")})
    assert (await pond.available())["k0"] is None


async def test_encrypting_a_secret_anew_changes_nothing_else(pond: Pond) -> None:
    await pond.pick(3 * MICRO)
    before = await pond.available()
    pond.keys = {key_id: replace(key, sealed=f"{key.sealed}-anew") for key_id, key in pond.keys.items()}
    await pond.put()
    assert await pond.available() == before
    assert (await pond.pick()).sealed.endswith("-anew")


async def test_an_older_word_about_a_key_changes_nothing(pond: Pond) -> None:
    """Two processes change a key, and the first one's word comes last."""
    first = await pond.change("k0", fingerprint="newer", sealed="env:NEWER")
    await pond.refresh()
    await pond.here.put(P, [first, replace(first, enabled=False)])
    assert (await pond.pick(but=["k1"])).sealed == "env:NEWER"
    await pond.change("k0", enabled=False)
    await pond.here.put(P, [first])
    assert (await pond.nothing(but=["k1"])).unusable == 1


async def test_a_removed_key_is_not_brought_back_by_who_had_not_heard(pond: Pond) -> None:
    before = await pond.change("k0", enabled=False)  # as it is removed
    await pond.here.put(P, [before])
    assert await pond.available() == {"k1": 10}
    assert sorted(await pond.here.ids(P)) == ["k0", "k1"]
    await pond.here.drop(P, ["k0"])
    assert await pond.here.ids(P) == ["k1"]


async def test_a_key_that_is_off_is_gone_and_may_come_back_with_work_under_way(pond: Pond) -> None:
    held = await pond.pick(4 * MICRO, but=["k1"])
    await pond.change("k0", enabled=False)
    assert await pond.available() == {"k1": 10}
    await pond.change("k0", enabled=True)
    assert (await pond.available())["k0"] is None
    await pond.refresh("k0")
    assert (await pond.available())["k0"] == 6, "what is under way is not available"
    await pond.give_back(held)
    assert (await pond.available())["k0"] == 10


async def test_a_check_from_before_a_key_was_switched_off_and_on_forgets_nothing(pond: Pond) -> None:
    marks, said = await pond.here.marks(P, ["k0"]), pond.said("k0")
    for _ in range(3):
        await pond.spend(await pond.pick(2 * MICRO, but=["k1"]))
    await pond.change("k0", enabled=False)
    await pond.change("k0", enabled=True)
    await pond.check(marks, [said])
    assert (await pond.available())["k0"] == 4


@pytest.mark.parametrize("loses_keys", [True, False])
async def test_a_check_from_an_earlier_life_of_redis_is_not_believed(pond: Pond, loses_keys: bool) -> None:
    """Redis may have lost everything, or only the last second: what was taken then is not counted any more."""
    for _ in range(3):
        await pond.spend(await pond.pick(2 * MICRO, but=["k1"]))
    marks, said = await pond.here.marks(P, ["k0"]), Asked("k0", Usage(10 * MICRO))
    if loses_keys:
        await pond.stage.redis.flushall()
        pond.passes(1)
        await pond.put()
    else:
        await pond.stage.redis.delete(keys.upstream(P)[1])
        pond.stage.begin_life(2)
    await pond.check(marks, [said])
    assert (await pond.available())["k0"] is None


async def test_what_is_spent_while_the_service_is_asked_is_not_forgotten(pond: Pond) -> None:
    before = await pond.pick(but=["k1"])
    marks = await pond.here.marks(P, ["k0"])
    said = pond.said("k0")
    during = await pond.pick(but=["k1"])
    await pond.spend(before)
    await pond.spend(during)
    await pond.check(marks, [said])
    assert (await pond.available())["k0"] == 8
    await pond.refresh()
    assert (await pond.available())["k0"] == 8


async def test_what_was_spent_before_the_service_is_asked_is_not_taken_twice(pond: Pond) -> None:
    for _ in range(3):
        await pond.spend(await pond.pick(but=["k1"]))
    await pond.refresh()
    assert (await pond.available())["k0"] == 7


async def test_a_dead_process_s_reservation_counts_as_spent_until_a_check_knows(pond: Pond) -> None:
    used, unused = await pond.pick(but=["k1"]), await pond.pick(but=["k1"])
    pond.use(used)
    pond.passes(LEASE_S - 0.1)
    await pond.refresh()
    assert (await pond.available())["k0"] == 7, "nobody knows yet that nothing more will be spent"
    pond.passes(0.2)
    assert (await pond.available())["k0"] == 7
    await pond.refresh()
    assert (await pond.available())["k0"] == 9
    await pond.give_back(unused)
    assert (await pond.available())["k0"] == 9, "it had ended, and the check told what came of it"


async def test_what_is_used_is_kept_for_as_long_as_it_is_used(pond: Pond) -> None:
    held = await pond.pick(4 * MICRO, but=["k1"])
    for _ in range(10):
        pond.passes(2)
        await pond.here.keep()
    await pond.refresh()
    assert (await pond.available())["k0"] == 6
    await pond.give_back(held)
    await pond.here.keep()
    assert (await pond.available())["k0"] == 10
    assert pond.here.lost == 0


async def test_a_process_that_was_frozen_reserves_again_and_counts_it(pond: Pond) -> None:
    held = await pond.pick(4 * MICRO, but=["k1"])
    pond.passes(LEASE_S + 1)
    await pond.there.keep()
    await pond.nothing(11 * MICRO)
    await pond.here.keep()
    assert pond.here.lost == 1
    assert (await pond.available())["k0"] == 2, (
        "taken once more, as nobody knows what a check made of it meanwhile"
    )
    await pond.refresh()
    assert (await pond.available())["k0"] == 6
    await pond.spend(held)
    await pond.refresh()
    assert (await pond.available())["k0"] == 6


async def test_what_a_check_gave_back_while_its_process_was_frozen_is_taken_again(pond: Pond) -> None:
    first, second = await pond.pick(4 * MICRO, but=["k1"]), await pond.pick(5 * MICRO, but=["k1"])
    pond.passes(LEASE_S + 1)
    await pond.refresh()
    assert (await pond.available())["k0"] == 10, "as far as anybody can see they died"
    await pond.here.keep()
    assert (await pond.available())["k0"] == 1
    pond.passes(LEASE_S + 1)
    await pond.refresh()
    await pond.spend(first)
    await pond.spend(second)
    assert (await pond.available())["k0"] == 1, "also without a beat in between"


async def test_what_a_service_shows_late_is_not_given_out_again() -> None:
    pond = Pond(keys=1, delay_s=5)
    pond.passes(60)
    await pond.begin()
    await pond.spend(await pond.pick(4 * MICRO))
    for seconds, left in ((1, 6), (3.9, 6), (0.2, 6)):
        pond.passes(seconds)
        await pond.refresh()
        assert await pond.available() == {"k0": left}


async def test_what_shows_late_is_not_given_out_again_whatever_happened_to_its_reservation() -> None:
    """It cost nothing at first; it had ended; its key was off meanwhile: each is reserved until it shows."""
    pond = Pond(keys=3, delay_s=5)
    pond.passes(60)
    await pond.begin()
    free, ended, off = [await pond.pick(cost, but=but) for cost, but in (
        (0, ["k1", "k2"]), (4 * MICRO, ["k0", "k2"]), (4 * MICRO, ["k0", "k1"]))]  # fmt: skip
    pond.passes(LEASE_S + 6)
    await pond.change("k2", enabled=False)
    for held in (free, ended, off):
        pond.use(held, 4 * MICRO)
        await pond.here.settle(held, 4 * MICRO, Verdict())
    await pond.change("k2", enabled=True)
    await pond.refresh()
    assert await pond.available() == {"k0": 6, "k1": 6, "k2": 6}
    pond.passes(6)
    await pond.refresh()
    assert await pond.available() == {"k0": 6, "k1": 6, "k2": 6}


async def test_half_a_large_pool_may_rest_and_the_others_are_found() -> None:
    pond = Pond(keys=100)  # three times as many as are looked at together
    await pond.begin()
    for number in range(0, 100, 2):
        held = await pond.pick(but=[key for key in pond.keys if key != f"k{number}"])
        await pond.give_back(held, Verdict(KeyStatus.COOLDOWN, 60.0))
    assert int((await pond.pick()).key_id[1:]) % 2 == 1


async def test_nothing_is_learnt_of_a_key_whose_service_did_not_answer(pond: Pond) -> None:
    await pond.pick(but=["k1"])
    marks = await pond.here.marks(P, ["k0", "k1"])
    found = [Asked("k0", None, "no answer"), Asked("k1", None, "429", KeyStatus.COOLDOWN, 5.0)]
    await pond.check(marks, found)
    assert await pond.available() == {"k0": 9, "k1": 10}
    assert await pond.statuses() == {"k0": KeyStatus.ACTIVE, "k1": KeyStatus.COOLDOWN}


async def test_a_real_server_says_the_same(bench: Bench, valkey_client: Any) -> None:
    """What fakeredis may not know of the real thing: types, order by score, the shebang's flags."""
    pond = Pond()
    pools = pond.here
    pools._fence, pools._client = bench.fence, bench.plain
    await pond.begin()
    held = await pond.pick(4 * MICRO)
    other = await pond.pick(MICRO, but=[held.key_id])
    await pools.settle(other, MICRO, Verdict(KeyStatus.COOLDOWN, 30.0))
    live = await pools.live(P)
    assert await pools.live(P, [*pond.keys, "nobody"]) == live
    assert (live[held.key_id].available_micro, live[held.key_id].held_micro) == (6 * MICRO, 4 * MICRO)
    assert (live[other.key_id].available_micro, live[other.key_id].status) == (9 * MICRO, KeyStatus.COOLDOWN)
    await pools.keep()
    assert pools.lost == 0
    names, balance, reserved = keys.upstream(P)
    found = [await valkey_client.type(name) for name in (names, balance, reserved)]
    assert found == ["hash", "zset", "zset"]
