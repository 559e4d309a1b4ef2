"""Several daemons have the same tasks: one claims a tick at its moment, the others make sure of it."""

import asyncio

from quotaflow.errors import Unavailable
from quotaflow.ids import Ids
from quotaflow.schedule.ticker import Ticker
from quotaflow.timing import ManualClock
from tests.schedule.ticking import START_US, Cursors, Room, schedule, seconds, ticking


async def test_two_daemons_claim_each_tick_once_between_them() -> None:
    clock = ManualClock(START_US)
    cursors, names = Cursors(clock), [f"t{n}" for n in range(20)]
    tickers = [
        Ticker(clock, Ids(clock, node), cursors.claim, cursors.look, Room(), grace_s=60)
        for node in ("n1", "n2")
    ]
    for ticker in tickers:
        for name in names:
            cursors.at[name] = START_US
            ticker.put(schedule(name, "* * * * * *"))
        ticker.share(["n1", "n2"])
    running = [asyncio.create_task(ticker.run()) for ticker in tickers]
    await clock.advance(3.5)
    assert sorted(seconds(cursors.ran)) == sorted((name, second) for name in names for second in (1, 2, 3))
    assert len(cursors.sent) == 60
    assert all(0 < ticker.claimed < 60 for ticker in tickers)
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def test_a_tick_that_its_daemon_does_not_claim_is_claimed_by_another_a_little_later() -> None:
    names = [f"t{n}" for n in range(20)]
    async with ticking(*[schedule(name, "* * * * * *") for name in names]) as (clock, cursors, ticker):
        ticker.share(["node", "gone"])
        await clock.advance(1.05)
        at_once = {task_id for task_id, _ in cursors.ran}
        assert 0 < len(at_once) < 20
        await clock.advance(0.1)
        assert sorted(seconds(cursors.ran)) == sorted((name, 1) for name in names)
        assert {task_id for task_ids in cursors.looks for task_id in task_ids} == {*names} - at_once


async def test_daemons_that_come_and_go_change_who_claims_at_once() -> None:
    names = [f"t{n}" for n in range(20)]
    async with ticking(*[schedule(name, "* * * * * *") for name in names]) as (clock, cursors, ticker):
        ticker.share(["node", "other"])
        await clock.advance(1.05)
        ticker.share(["node"])
        await clock.advance(0.01)
        assert sorted(seconds(cursors.ran)) == sorted((name, 1) for name in names)
        await clock.advance(1)
        assert len(cursors.ran) == 40
        assert cursors.looks == []


async def test_a_look_that_fails_keeps_the_ticks() -> None:
    async with ticking(*[schedule(f"t{n}", "* * * * * *") for n in range(20)]) as (clock, cursors, ticker):
        ticker.share(["node", "gone"])
        cursors.failing = Unavailable("Redis is away")
        await clock.advance(1.5)
        assert cursors.ran == []
        cursors.failing = None
        await clock.advance(0.4)
        assert len(cursors.ran) == 20


def test_daemons_with_other_tasks_have_another_fingerprint() -> None:
    def fingerprint(*names: str) -> str:
        clock = ManualClock(START_US)
        cursors = Cursors(clock)
        ticker = Ticker(clock, Ids(clock), cursors.claim, cursors.look, Room(), grace_s=60)
        for name in names:
            ticker.put(schedule(name, "* * * * *"))
        return ticker.fingerprint()

    assert fingerprint() == ""
    assert fingerprint("a", "b") == fingerprint("b", "a") != fingerprint("a", "c")
