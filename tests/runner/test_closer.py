"""How runs end in the journal, on a real server: outcomes outlive an absent Redis."""

import asyncio

from quotaflow.amounts import MICRO
from quotaflow.control.closing import Closer
from quotaflow.journal.fold import fold
from quotaflow.limiter import keys
from quotaflow.model import Status, Trigger
from quotaflow.runs import Outcome
from quotaflow.timing import ManualClock, SystemClock
from tests.limiter.conftest import Bench
from tests.runner.journalled import admit, asleep, closed, ended, journal, until
from tests.runner.runs import loop_turns
from tests.servers import ValkeyProcess


async def test_an_outcome_becomes_a_fact_with_every_column(bench: Bench, closer: Closer) -> None:
    run = await admit(bench, "r1")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        closer.deliver(ended(run, Status.FAILED, "no: 100% of 'a b'\n"))
        await closer.settle()
        running.cancel()
    folded = fold(await journal(bench))
    assert (folded.opened, folded.dead) == ([], [])
    assert [trace._asdict() for trace in folded.closed] == [
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
            "due_us": None,
            "tries": None,
            "plan": None,
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
    assert fold(await journal(bench)).closed[0].wait_ms == 0


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


async def test_ends_let_runs_start_first_but_not_for_ever(bench: Bench) -> None:
    clock = ManualClock()
    closer = Closer(bench.admission, clock, "me", size=10, is_busy=lambda: True)
    closer.deliver(ended(await admit(bench, "r1")))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        await clock.advance(0.045)
        assert [run.run_id for run in closer.unwritten()] == ["r1"]
        await clock.advance(0.006)
        await closer.settle()
        running.cancel()
    assert await closed(bench) == {"r1": Status.OK}


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
        assert sorted(run.run_id for run in closer.unwritten()) == ["r1", "r2"]
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
    assert (running.cancelled(), closer.unwritten()) == (True, [run])
