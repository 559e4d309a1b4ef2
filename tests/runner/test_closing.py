"""How runs end in the journal, on a real server: outcomes outlive an absent Redis, and no run stays open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from quotaflow import facts
from quotaflow.control.closing import Closer, Leases
from quotaflow.control.storing import Writer
from quotaflow.errors import Unavailable
from quotaflow.journal.fold import Fact, columns, fold
from quotaflow.limiter import keys
from quotaflow.limiter.admission import Admission, Claim, Mode
from quotaflow.model import MICRO, Outcome, Reason, Run, Status, Trigger, Word
from quotaflow.runner.execute import Executor
from quotaflow.runner.pool import Pool
from quotaflow.runner.registry import REGISTRY
from quotaflow.store import Store, TraceRow
from quotaflow.timing import ManualClock, SystemClock
from tests.limiter.conftest import Bench, bench_on
from tests.runner.conftest import loop_turns, task_of
from tests.servers import ValkeyProcess

LEASE_US = 8_000_000


@pytest.fixture
async def bench(valkey: ValkeyProcess) -> AsyncIterator[Bench]:
    """Give a ready fence on an empty server; calls have a third of a second."""
    async with bench_on(valkey.url, deadline_s=0.3) as ready:
        yield ready


def opening(run_id: str) -> str:
    """Write the line that opens a run, as the gate does."""
    fields: dict[str, facts.Value] = {
        "run": run_id,
        "task": "任务 1",
        "quota": "api",
        "trigger": Trigger.CRON,
        "at": 1_700_000_000_000_000,
        "cost": 2 * MICRO,
        "attempt": 1,
        "instance": "other",
    }
    return facts.encode(facts.OPEN, fields)


async def admit(bench: Bench, run_id: str, *, lease_s: float = 8.0) -> Run:
    """Admit a run whose lease is as long as asked."""
    admission = Admission(bench.fence, bench.client, instance="other", lease_s=lease_s, backlog_max=1000)
    await admission.track([("任务 1", False)])
    (answer,) = await admission.claim([Claim(Mode.TRIGGER, "任务 1", run_id, opening(run_id))])
    assert answer.word is Word.GRANTED
    at_us = 1_700_000_000_000_000
    return Run(run_id, "任务 1", Trigger.CRON, at_us, answer.number, "api", 2 * MICRO)


def ended(run: Run, status: Status = Status.OK, error: str | None = None) -> Outcome:
    started_us, finished_us = run.claimed_us + 1_500, run.claimed_us + 251_500
    return Outcome(run, status, started_us, finished_us, 250.0, None, error and "ApiError", error)


async def journal(bench: Bench) -> list[Fact]:
    entries = await bench.plain.xrange(keys.JOURNAL)
    return [Fact(event, line) for _, fields in entries for event, line in fields.items()]


async def closed(bench: Bench) -> dict[str, Status]:
    """Return the runs whose ends are journalled."""
    rows = [
        columns(facts.decode(fact.line)[1])
        for fact in await journal(bench)
        if fact.event_id.endswith(".close")
    ]
    assert len({row["run_id"] for row in rows}) == len(rows)
    return {row["run_id"]: row["status"] for row in rows}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


async def asleep(clock: ManualClock) -> bool:
    """Somebody waits for the clock."""
    return any(not wake.done() for _, _, wake in clock._sleepers)


@pytest.fixture
async def closer(bench: Bench) -> Closer:
    """Give a closer of up to 3 unwritten outcomes; it is not running yet."""
    return Closer(bench.admission, SystemClock(), "me", size=3)


async def test_an_outcome_becomes_a_fact_with_every_column(bench: Bench, closer: Closer) -> None:
    run = await admit(bench, "r1")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        closer.deliver(ended(run, Status.FAILED, "no: 100% of 'a b'\n"))
        await closer.settle()
        running.cancel()
    folded = fold(await journal(bench))
    assert (folded.opened, folded.dead) == ([], [])
    assert folded.closed == [
        {
            "run_id": "r1",
            "task_id": "任务 1",
            "quota_id": "api",
            "trigger": Trigger.CRON,
            "scheduled_for_us": 1_700_000_000_000_000,
            "claimed_us": run.claimed_us,
            "started_us": run.claimed_us + 1_500,
            "finished_us": run.claimed_us + 251_500,
            "status": Status.FAILED,
            "reason": None,
            "attempt": 1,
            "latency_ms": 250.0,
            "wait_ms": 1.5,
            "cost_micro": 2 * MICRO,
            "error_type": "ApiError",
            "error": "no: 100% of 'a b'\n",
            "instance_id": "me",
        }
    ]
    assert await bench.plain.zcard(keys.RUNNING) == 0
    assert not await bench.plain.exists(keys.run("r1"))


async def test_a_run_that_began_before_its_claim_by_another_clock_waited_no_time(
    bench: Bench, closer: Closer
) -> None:
    run = await admit(bench, "r1")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        closer.deliver(Outcome(run, Status.OK, run.claimed_us - 5_000, run.claimed_us, 5.0))
        await closer.settle()
        running.cancel()
    assert fold(await journal(bench)).closed[0]["wait_ms"] == 0


async def test_outcomes_leave_in_batches(bench: Bench) -> None:
    closer = Closer(bench.admission, SystemClock(), "me", size=1000)
    runs = [await admit(bench, f"r{number}") for number in range(300)]
    for run in runs:
        closer.deliver(ended(run))
    assert len(closer.unwritten()) == 300
    before = await bench.plain.xlen(keys.JOURNAL)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        await closer.settle()
        running.cancel()
    assert await closed(bench) == {run.run_id: Status.OK for run in runs}
    assert await bench.plain.xlen(keys.JOURNAL) - before == 2
    assert closer.unwritten() == []


async def test_whoever_delivers_waits_while_too_much_is_unwritten(bench: Bench, closer: Closer) -> None:
    for number in range(3):
        await asyncio.wait_for(closer.wait_free(), 1)
        closer.deliver(ended(await admit(bench, f"r{number}")))
    waiting = asyncio.create_task(closer.wait_free())
    await loop_turns()
    assert not waiting.done()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        await asyncio.wait_for(waiting, 5)
        running.cancel()


async def test_outcomes_survive_a_redis_that_is_away(bench: Bench, valkey: ValkeyProcess) -> None:
    clock = ManualClock()
    closer = Closer(bench.admission, clock, "me", size=3)
    first, second = await admit(bench, "r1"), await admit(bench, "r2")
    valkey.kill()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        closer.deliver(ended(first))
        for pause_s in (0.05, 0.1, 0.2):
            await until(lambda: asleep(clock))  # one more attempt has failed
            await clock.advance(pause_s)
        closer.deliver(ended(second, Status.FAILED, "x"))
        assert sorted(closer.unwritten()) == ["r1", "r2"]
        valkey.start()

        async def written() -> bool:
            await clock.advance(1)
            return not closer.unwritten()

        await until(written)
        await closer.settle()
        running.cancel()
    assert await closed(bench) == {"r1": Status.OK, "r2": Status.FAILED}


async def test_a_closer_stopped_while_redis_is_away_keeps_what_it_had(
    bench: Bench, closer: Closer, valkey: ValkeyProcess
) -> None:
    run = await admit(bench, "r1")
    valkey.kill()
    running = asyncio.create_task(closer.run())
    closer.deliver(ended(run))
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), closer.unwritten()) == (True, ["r1"])


async def test_leases_hold_for_what_waits_what_runs_and_what_is_not_yet_written(
    bench: Bench, closer: Closer, executor: Executor
) -> None:
    async def job() -> None:
        await asyncio.sleep(60)

    task_of(job, "任务 1")
    pool = Pool(SystemClock(), executor, REGISTRY.get, closer, concurrency=1, queue_size=5)
    for run_id in ("running", "queued"):
        pool.inbox.put(await admit(bench, run_id, lease_s=1))
    closer.deliver(ended(await admit(bench, "unwritten", lease_s=1)))
    await admit(bench, "somebody else's", lease_s=1)
    before = dict(await bench.plain.zrange(keys.RUNNING, 0, -1, withscores=True))
    leases = Leases(bench.admission, ManualClock(), lambda: [*pool.open_runs(), *closer.unwritten()])
    working, beating = asyncio.create_task(pool.run()), asyncio.create_task(leases.run())
    renewed = {"running", "queued", "unwritten"}

    async def all_renewed() -> bool:
        now = dict(await bench.plain.zrange(keys.RUNNING, 0, -1, withscores=True))
        return {run_id for run_id in now if now[run_id] > before[run_id] + LEASE_US / 2} == renewed

    await until(all_renewed)
    pool.interrupt()
    beating.cancel()
    await asyncio.wait([working, beating])


async def test_a_beat_every_two_seconds_keeps_a_lease_of_eight(bench: Bench) -> None:
    clock, beats = ManualClock(), 0

    def held() -> list[str]:
        nonlocal beats
        beats += 1
        return ["r1"]

    await admit(bench, "r1", lease_s=1)
    beating = asyncio.create_task(Leases(bench.admission, clock, held).run())
    for expected in (1, 2, 3):
        await until(lambda: asleep(clock))
        await clock.advance(1.9)
        assert beats == expected
        await clock.advance(0.1)
    beating.cancel()


async def test_a_run_whose_lease_ran_out_is_closed_as_lost_with_every_column(bench: Bench) -> None:
    run = await admit(bench, "r1", lease_s=0.01)
    await admit(bench, "alive")
    await asyncio.sleep(0.02)
    leases = Leases(bench.admission, ManualClock(start_us=run.claimed_us + 9_000_000), list)
    assert (await leases.sweep(), leases.lost) == (1, 1)
    assert (await leases.sweep(), leases.lost) == (0, 1)
    folded = fold(await journal(bench))
    assert (folded.dead, [row["run_id"] for row in folded.opened]) == ([], ["alive"])
    assert folded.closed == [
        {
            "run_id": "r1",
            "task_id": "任务 1",
            "quota_id": "api",
            "trigger": Trigger.CRON,
            "scheduled_for_us": 1_700_000_000_000_000,
            "claimed_us": run.claimed_us,
            "started_us": None,
            "finished_us": run.claimed_us + 9_000_000,
            "status": Status.LOST,
            "reason": Reason.CRASHED,
            "attempt": 1,
            "latency_ms": None,
            "wait_ms": None,
            "cost_micro": 2 * MICRO,
            "error_type": None,
            "error": None,
            "instance_id": "other",
        }
    ]
    assert await bench.plain.zrange(keys.RUNNING, 0, -1) == ["alive"]


async def test_a_lease_renewed_between_looking_and_closing_saves_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admit(bench, "r1", lease_s=0.01)
    await asyncio.sleep(0.02)
    look = bench.admission.expired

    async def look_and_lose_the_race() -> list[tuple[str, str]]:
        found = await look()
        await bench.admission.beat(["r1"])
        return found

    monkeypatch.setattr(bench.admission, "expired", look_and_lose_the_race)
    leases = Leases(bench.admission, ManualClock(), list)
    assert (await leases.sweep(), leases.lost) == (0, 0)
    assert await closed(bench) == {}


async def test_a_run_closed_by_another_daemon_meanwhile_is_closed_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admit(bench, "r1", lease_s=0.01)
    await asyncio.sleep(0.02)
    other = Leases(bench.admission, ManualClock(), list)
    look = bench.admission.expired

    async def look_late() -> list[tuple[str, str]]:
        found = [(run_id, "") for run_id, _ in await look()]
        monkeypatch.setattr(bench.admission, "expired", look)
        assert await other.sweep() == 1
        return found

    monkeypatch.setattr(bench.admission, "expired", look_late)
    assert await Leases(bench.admission, ManualClock(), list).sweep() == 0
    assert await closed(bench) == {"r1": Status.LOST}


async def test_the_beat_goes_on_after_redis_was_away(bench: Bench, valkey: ValkeyProcess) -> None:
    await admit(bench, "r1", lease_s=0.01)
    clock = ManualClock()
    leases = Leases(bench.admission, clock, list)
    valkey.stop()
    with pytest.raises(Unavailable):
        await leases.sweep()
    beating = asyncio.create_task(leases.run())
    await until(lambda: asleep(clock))
    valkey.start()

    async def lost() -> bool:
        await clock.advance(2)
        return leases.lost == 1

    await until(lost)
    beating.cancel()
    assert await closed(bench) == {"r1": Status.LOST}


async def test_the_late_end_of_a_lost_run_changes_nothing(
    bench: Bench, closer: Closer, tmp_path: Path
) -> None:
    run = await admit(bench, "r1", lease_s=0.01)
    await asyncio.sleep(0.02)
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", deadline_s=5)
    writer = Writer(store, SystemClock())
    assert await Leases(bench.admission, SystemClock(), list).sweep() == 1
    await writer.batch(fold(await journal(bench)))
    before = await store.get_trace("r1")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        closer.deliver(ended(run))
        await closer.settle()
        running.cancel()
    await writer.batch(fold((await journal(bench))[2:]))
    after = await store.get_trace("r1")
    await store.close()
    assert isinstance(after, TraceRow)
    assert (before, after.status, after.reason) == (after, Status.LOST, Reason.CRASHED)
