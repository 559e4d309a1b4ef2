"""Admission on a real server: cursors, charges, facts, leases."""

import asyncio
import os
import signal
from collections.abc import Mapping

import pytest

from quotaflow import facts
from quotaflow.amounts import MICRO
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.limiter import keys
from quotaflow.limiter.admission import Ends
from quotaflow.limiter.claims import Claim, Closing, Mode, Tracked
from quotaflow.model import Trigger, make_quota
from quotaflow.runs import Answer, Run, Word
from tests.limiter.conftest import Bench, bench_on
from tests.servers import ValkeyProcess

SECOND = 1_000_000


async def cursor_of(bench: Bench, task_id: str = "t") -> int:
    return (await bench.admission.track([Tracked(task_id)]))[0].last_tick_us


def tick(
    at_us: int, cursor_us: int, run_id: str = "run1", quota_id: str | None = None, **more: object
) -> Claim:
    fact = f"open run={run_id} task=t"
    mode = more.pop("mode", Mode.TICK)
    return Claim(mode, more.pop("task_id", "t"), run_id, fact, at_us, cursor_us, quota_id, **more)  # type: ignore[arg-type]


async def journalled(bench: Bench) -> list[Mapping[str, str]]:
    entries = await bench.plain.xrange(keys.JOURNAL)
    return [facts.decode(line)[1] for _, fields in entries for line in fields.values()]


async def words(bench: Bench, *claims: Claim) -> list[Word]:
    return [answer.word for answer in await bench.admission.claim(claims)]


Q = make_quota(id="q", capacity=5, refill_rate=0)


async def test_a_tick_is_granted_once_and_its_cursor_moves(bench: Bench) -> None:
    start = await cursor_of(bench)
    assert await words(bench, tick(start + 1, start)) == [Word.GRANTED]
    assert await bench.admission.claim([tick(start + 1, start, "run2")]) == [Answer(Word.TAKEN, start + 1)]
    assert await cursor_of(bench) == start + 1
    assert [fact["status"] for fact in await journalled(bench)] == ["running"]


async def test_a_claim_whose_answer_was_lost_is_granted_again_without_a_second_charge(bench: Bench) -> None:
    await bench.quotas.define(make_quota(id="q", capacity=5, refill_rate=0))
    start = await cursor_of(bench)
    claim = tick(start + 1, start, quota_id="q", cost_micro=MICRO)
    assert await words(bench, claim) == await words(bench, claim) == [Word.GRANTED]
    assert (await bench.quotas.levels([Q]))["q"].remaining == 4
    assert len(await journalled(bench)) == 1


async def test_a_claim_that_follows_another_cursor_is_told_where_it_is(bench: Bench) -> None:
    start = await cursor_of(bench)
    assert await bench.admission.claim([tick(start + 10, start + 5)]) == [Answer(Word.TAKEN, start)]


async def test_a_claim_ahead_of_redis_time_is_told_by_how_much(bench: Bench) -> None:
    start = await cursor_of(bench)
    answer = (await bench.admission.claim([tick(start + 60 * SECOND, start)]))[0]
    assert answer.word is Word.EARLY
    assert 58 * SECOND < answer.number <= 60 * SECOND
    assert await cursor_of(bench) == start


async def test_several_moments_of_one_task_are_decided_in_order_in_one_call(bench: Bench) -> None:
    start = await cursor_of(bench)
    chain = [
        tick(start + 1, start, "r1", mode=Mode.MISSED),
        tick(start + 2, start + 1, "r2", mode=Mode.MISSED),
        tick(start + 3, start + 2, "r3"),
    ]
    assert await words(bench, *chain) == [Word.MISSED, Word.MISSED, Word.GRANTED]
    assert [(fact["status"], fact.get("reason")) for fact in await journalled(bench)] == [
        ("missed", "misfire"),
        ("missed", "misfire"),
        ("running", None),
    ]


async def test_the_quota_is_shared_by_the_items_of_one_call(bench: Bench) -> None:
    await bench.quotas.define(make_quota(id="q", capacity=2, refill_rate=0))
    claims = [tick(0, 0, f"r{n}", "q", cost_micro=MICRO, mode=Mode.TRIGGER) for n in range(4)]
    assert await words(bench, *claims) == [Word.GRANTED, Word.GRANTED, Word.LIMITED, Word.LIMITED]
    level = (await bench.quotas.levels([Q]))["q"]
    assert (level.allowed, level.limited, level.remaining) == (2, 2, 0)
    assert [fact["status"] for fact in await journalled(bench)] == [
        "running",
        "running",
        "limited",
        "limited",
    ]
    assert await bench.plain.zcard(keys.RUNNING) == 2


@pytest.mark.parametrize(
    ("define", "word", "status"),
    [
        ({}, Word.MISSING, "skipped"),
        ({"enabled": False}, Word.DISABLED, "skipped"),
        ({"capacity": 0.5}, Word.IMPOSSIBLE, "limited"),
        ({"capacity": 1}, Word.GRANTED, "running"),
    ],
)
async def test_every_refusal_moves_the_cursor_and_is_written_down(
    bench: Bench, define: dict[str, object], word: Word, status: str
) -> None:
    if define:
        await bench.quotas.define(make_quota(**{"id": "q", "capacity": 9, "refill_rate": 0, **define}))  # type: ignore[arg-type]
    start = await cursor_of(bench)
    assert await words(bench, tick(start + 1, start, quota_id="q", cost_micro=MICRO)) == [word]
    assert await cursor_of(bench) == start + 1
    fact = (await journalled(bench))[0]
    assert fact["status"] == status
    assert fact.get("reason") == (None if word is Word.GRANTED else word)


@pytest.mark.parametrize("define", [False, True])
async def test_a_task_that_allows_it_runs_without_its_quota(bench: Bench, define: bool) -> None:
    if define:
        await bench.quotas.define(make_quota(id="q", capacity=9, refill_rate=0, enabled=False))
    claim = tick(0, 0, quota_id="q", cost_micro=MICRO, allow_missing=True, mode=Mode.TRIGGER)
    assert await words(bench, claim) == [Word.GRANTED]


async def test_a_paused_task_skips_its_ticks_and_can_still_be_triggered(bench: Bench) -> None:
    start = await cursor_of(bench)
    await bench.admission.pause("t", paused=True)
    assert await words(bench, tick(start + 1, start)) == [Word.PAUSED]
    assert await words(bench, tick(0, 0, "run2", mode=Mode.TRIGGER)) == [Word.GRANTED]
    await bench.admission.pause("t", paused=False)
    assert await words(bench, tick(start + 2, start + 1, "run3")) == [Word.GRANTED]


async def test_a_full_backlog_stops_what_begins_and_never_what_ends(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, backlog_max=2) as bench:
        start = await cursor_of(bench)
        assert (
            await words(bench, tick(start + 1, start, "r1"), tick(start + 2, start + 1, "r2"))
            == [Word.GRANTED] * 2
        )
        assert await words(bench, tick(start + 3, start + 2, "r3")) == [Word.BACKLOG]
        assert await cursor_of(bench) == start + 2, "the tick stays in the cursor"
        assert await bench.admission.record([("e", "close run=x")]) == 0
        assert await bench.admission.close([Closing("r1", "close run=r1", "t")]) == [True]


async def test_an_end_is_written_for_a_run_that_is_not_open_any_more(bench: Bench) -> None:
    assert await bench.admission.close([Closing("gone", "close run=gone status=ok", "t")]) == [False]
    assert (await journalled(bench))[0]["run"] == "gone"


async def test_only_an_expired_lease_lets_somebody_else_close_a_run(bench: Bench) -> None:
    start = await cursor_of(bench)
    await words(bench, tick(start + 1, start))
    lost = Closing("run1", "close run=run1 status=lost", "t", expired=True)
    assert await bench.admission.close([lost]) == [False]
    assert await bench.admission.expired() == []
    await bench.plain.zadd(keys.RUNNING, {"run1": 1})
    assert [run_id for run_id, _ in await bench.admission.expired()] == ["run1"]
    assert await bench.admission.close([lost]) == [True]
    assert await bench.admission.close([lost]) == [False]
    assert [fact.get("status") for fact in await journalled(bench)] == ["running", "lost"]


async def test_a_beat_renews_leases_and_names_the_runs_that_were_closed(bench: Bench) -> None:
    start = await cursor_of(bench)
    await words(bench, tick(start + 1, start))
    await bench.plain.zadd(keys.RUNNING, {"run1": 1})
    held = [Run(run_id, "t", Trigger.CRON, start + 1, start + 1, None, 0) for run_id in ("run1", "gone")]
    assert await bench.admission.beat(held) == held[1:]
    assert await bench.admission.expired() == []


async def test_a_schedule_that_was_changed_starts_now(bench: Bench) -> None:
    first = await cursor_of(bench)
    moved = (await bench.admission.track([Tracked("t")], from_now=True))[0].last_tick_us
    assert moved > first
    assert await cursor_of(bench) == moved


async def test_a_duty_has_one_holder_at_a_time(bench: Bench, valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url) as other:
        other.admission._instance = "other"
        assert await bench.admission.hold("flusher", ttl_s=5)
        assert not await other.admission.hold("flusher", ttl_s=5)
        assert await bench.admission.hold("flusher", ttl_s=5), "renewing is taking it again"
        await bench.admission.hold("flusher", ttl_s=0)
        assert await other.admission.hold("flusher", ttl_s=5)


async def test_trim_drops_only_what_was_read(bench: Bench) -> None:
    for name in "abc":
        await bench.admission.record([(f"{name}.1", f"close run={name}"), (f"{name}.2", f"close run={name}")])
    entries = await bench.plain.xrange(keys.JOURNAL)
    first, second = ((entry[0], next(iter(entry[1]))) for entry in entries[:2])
    assert await bench.admission.trim(Ends(("0-1", "other"), second), 4) == -1
    assert await bench.admission.trim(Ends(first, (second[0], "other")), 4) == -1
    assert await bench.plain.xlen(keys.JOURNAL) == 3
    assert await bench.admission.trim(Ends(first, second), 4) == 2
    assert await bench.plain.hget(keys.MARKER, "backlog") == "2"
    assert await bench.admission.trim(Ends(first, second), 4) == -1, "sent twice it does nothing"


async def test_out_of_memory_refuses_before_any_write_and_still_lets_runs_end(bench: Bench) -> None:
    await bench.quotas.define(make_quota(id="q", capacity=9, refill_rate=0))
    start = await cursor_of(bench)
    await words(bench, tick(start + 1, start))
    await bench.plain.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unavailable, match="refuses"):
            await bench.batcher.ask((("q", "", MICRO),))
        with pytest.raises(Unavailable, match="refuses"):
            await words(bench, tick(start + 2, start + 1, "run2"))
        assert await bench.admission.close([Closing("run1", "close run=run1", "t")]) == [True]
        ends = [(entry[0], next(iter(entry[1]))) for entry in await bench.plain.xrange(keys.JOURNAL)]
        assert await bench.admission.trim(Ends(ends[0], ends[-1]), 2) == 2
    finally:
        await bench.plain.config_set("maxmemory", "0")
    assert (await bench.quotas.levels([Q]))["q"].remaining == 9
    assert await cursor_of(bench) == start + 1


@pytest.mark.parametrize(
    "broken",
    ["level", "quota", "refused", "task", "journal", "running", "due", "run", "task_slots", "quota_slots"],
)
async def test_a_key_of_the_wrong_type_fails_before_anything_is_written(bench: Bench, broken: str) -> None:
    await bench.quotas.define(make_quota(id="q", capacity=9, refill_rate=0, max_concurrent=3))
    start = await cursor_of(bench)
    key = {
        "level": keys.level("q"),
        "quota": keys.quota("q"),
        "refused": keys.refused("q"),
        "task": keys.task("t"),
        "journal": keys.JOURNAL,
        "running": keys.RUNNING,
        "due": keys.DUE,
        "run": keys.run("run1"),
        "task_slots": keys.task_slots("t"),
        "quota_slots": keys.quota_slots("q"),
    }[broken]
    await bench.plain.delete(key)
    await bench.plain.sadd(key, "not what it should be")
    before = {name: await bench.plain.dump(name) for name in await bench.plain.keys("*")}
    with pytest.raises(QuotaflowError, match="WRONGTYPE"):
        await words(bench, tick(start + 1, start, quota_id="q", cost_micro=MICRO, max_running=3))
    assert {name: await bench.plain.dump(name) for name in await bench.plain.keys("*")} == before


@pytest.mark.parametrize(
    "amount",
    [
        "nan",
        "inf",
        "-5",
        "1e3",
        "1.5",
        "",
        "１２",
        "1_0",
        "0x10",
        "9000000000000001",
        "10000000000000000",
        " 1",
    ],
)
async def test_lua_refuses_what_is_no_whole_amount(bench: Bench, amount: str) -> None:
    await bench.quotas.define(make_quota(id="q", capacity=9, refill_rate=1))
    script_keys = [keys.MARKER, "lane", keys.quota("q"), keys.refused("q"), keys.level("q")]
    with pytest.raises(QuotaflowError, match="INVALID"):
        await bench.fence.run("acquire", script_keys, ["batch", amount])
    for request in (f"1 1 {amount}", f"0 1 1 {amount}"):
        if amount and request.split() == request.split(" "):  # more spaces than one do no harm
            with pytest.raises(QuotaflowError, match="INVALID"):
                await bench.fence.run("acquire_mixed", script_keys, ["batch", "1", request])
    with pytest.raises(QuotaflowError, match="INVALID"):
        await words(bench, tick(0, 0, quota_id="q", cost_micro=amount, mode=Mode.TRIGGER))
    level = (await bench.quotas.levels([Q]))["q"]
    assert (level.remaining, level.allowed, level.limited) == (9, 0, 0)


async def test_a_frozen_redis_is_given_up_within_the_deadline(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, deadline_s=0.2) as bench:
        await bench.quotas.define(make_quota(id="q", capacity=9, refill_rate=0))
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unavailable):
                await bench.batcher.ask((("q", "", MICRO),))
            assert asyncio.get_running_loop().time() - started < 5, "it would have gone on for ever"
        finally:
            os.kill(valkey.pid, signal.SIGCONT)


async def test_cancelled_callers_leave_clean_connections_behind(bench: Bench) -> None:
    await bench.quotas.define(make_quota(id="q", capacity=9e9, refill_rate=0))
    for spins in range(20):
        calls = [bench.batcher.ask((("q", "", MICRO),)) for _ in range(20)]
        for _ in range(spins):
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert (await bench.batcher.ask((("q", "", 0),))).quota_id == "q"
