"""Leases hold for every run that is here, and a run that nobody holds is closed as lost. On a real server."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from quotaflow.amounts import MICRO
from quotaflow.control.closing import Closer, Leases
from quotaflow.errors import Unavailable
from quotaflow.journal.fold import fold
from quotaflow.limiter import keys
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Trace
from quotaflow.runner.execute import Executor
from quotaflow.runner.pool import Pool
from quotaflow.runner.registry import REGISTRY
from quotaflow.runs import Run
from quotaflow.store import Store
from quotaflow.timing import Clock, ManualClock, SystemClock
from tests.limiter.conftest import Bench
from tests.runner.journalled import admit, asleep, closed, ended, journal, until
from tests.runner.runs import task_of
from tests.servers import ValkeyProcess

LEASE_US = 8_000_000


def leases_of(bench: Bench, clock: Clock, held: Callable[[], list[Run]] = list) -> Leases:
    """Keep the leases of what is held; nothing of it is ever taken from us."""

    def end(run_id: str, status: Status, leg: str | None) -> bool:
        raise AssertionError((run_id, status, leg))

    return Leases(bench.admission, clock, "me", held, end, clock.wall_us)


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
    await admit(bench, "somebody else's", lease_s=1, instance="other")
    before = dict(await bench.plain.zrange(keys.RUNNING, 0, -1, withscores=True))
    leases = leases_of(bench, ManualClock(), lambda: [*pool.open_runs(), *closer.unwritten()])
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
    run = await admit(bench, "r1", lease_s=1)

    def held() -> list[Run]:
        nonlocal beats
        beats += 1
        return [run]

    beating = asyncio.create_task(leases_of(bench, clock, held).run())
    for expected in (1, 2, 3):
        await until(lambda: asleep(clock))
        await clock.advance(1.9)
        assert beats == expected
        await clock.advance(0.1)
    beating.cancel()


async def test_a_run_that_was_taken_from_us_is_ended_here(bench: Bench) -> None:
    ours, closed_by_others = await admit(bench, "r1"), await admit(bench, "r2", lease_s=0.01)
    await asyncio.sleep(0.02)
    assert await leases_of(bench, ManualClock()).sweep() == 1
    ended_here: list[tuple[str, Status, str | None]] = []

    def end(run_id: str, status: Status, leg: str | None) -> bool:
        ended_here.append((run_id, status, leg))
        return True

    clock = ManualClock()
    await Leases(bench.admission, clock, "me", lambda: [ours, closed_by_others], end, clock.wall_us).beat()
    assert ended_here == [("r2", Status.LOST, "1")]


async def test_a_run_whose_lease_ran_out_is_closed_as_lost_with_every_column(bench: Bench) -> None:
    run = await admit(bench, "r1", lease_s=0.01, instance="other")
    await admit(bench, "alive")
    await asyncio.sleep(0.02)
    leases = leases_of(bench, ManualClock(start_us=run.claimed_us + 9_000_000))
    assert (await leases.sweep(), leases.lost) == (1, 1)
    assert (await leases.sweep(), leases.lost) == (0, 1)
    folded = fold(await journal(bench))
    assert (folded.dead, [row.run_id for row in folded.opened]) == ([], ["alive"])
    assert [trace._asdict() for trace in folded.closed] == [
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
            "due_us": None,
            "tries": None,
            "plan": None,
        }
    ]
    assert await bench.plain.zrange(keys.RUNNING, 0, -1) == ["alive"]


async def test_a_lease_renewed_between_looking_and_closing_saves_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await admit(bench, "r1", lease_s=0.01)
    await asyncio.sleep(0.02)
    look = bench.admission.expired

    async def look_and_lose_the_race() -> list[tuple[str, str]]:
        found = await look()
        assert await bench.admission.beat([run]) == []
        return found

    monkeypatch.setattr(bench.admission, "expired", look_and_lose_the_race)
    leases = leases_of(bench, ManualClock())
    assert (await leases.sweep(), leases.lost) == (0, 0)
    assert await closed(bench) == {}


async def test_a_run_closed_by_another_daemon_meanwhile_is_closed_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admit(bench, "r1", lease_s=0.01)
    await asyncio.sleep(0.02)
    other = leases_of(bench, ManualClock())
    look = bench.admission.expired

    async def look_late() -> list[tuple[str, str]]:
        found = [(run_id, "") for run_id, _ in await look()]
        monkeypatch.setattr(bench.admission, "expired", look)
        assert await other.sweep() == 1
        return found

    monkeypatch.setattr(bench.admission, "expired", look_late)
    assert await leases_of(bench, ManualClock()).sweep() == 0
    assert await closed(bench) == {"r1": Status.LOST}


async def test_the_beat_goes_on_after_redis_was_away(bench: Bench, valkey: ValkeyProcess) -> None:
    await admit(bench, "r1", lease_s=0.01)
    clock = ManualClock()
    leases = leases_of(bench, clock)
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
    assert await leases_of(bench, SystemClock()).sweep() == 1
    await store.write_batch(fold(await journal(bench)))
    before = await store.get_trace("r1")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(closer.run())
        closer.deliver(ended(run))
        await closer.settle()
        running.cancel()
    await store.write_batch(fold((await journal(bench))[2:]))
    after = await store.get_trace("r1")
    await store.close()
    assert isinstance(after, Trace)
    assert (before, after.status, after.reason) == (after, Status.LOST, Reason.CRASHED)
