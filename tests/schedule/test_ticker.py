"""The ticker, under a clock that only moves when told."""

import asyncio
from collections.abc import Sequence

from quotaflow.errors import Backlog, Unavailable
from quotaflow.ids import Ids
from quotaflow.runs import Answer, Tick
from quotaflow.schedule.ticker import Ticker
from quotaflow.timing import ManualClock
from tests.schedule.ticking import SECOND, START_US, Cursors, Room, schedule, seconds, ticking


async def test_every_moment_is_claimed_once_and_in_order() -> None:
    async with ticking(schedule("a", "* * * * * *"), schedule("b", "*/2 * * * * *")) as (clock, cursors, _):
        await clock.advance(4)
        assert seconds(cursors.ran) == [("a", 1), ("a", 2), ("b", 2), ("a", 3), ("a", 4), ("b", 4)]


async def test_what_is_due_together_goes_out_in_few_calls_in_the_order_of_registration() -> None:
    async with ticking(*[schedule(f"t{n}", "* * * * * *") for n in range(600)]) as (clock, cursors, _):
        await clock.advance(1)
        assert [task_id for task_id, _ in cursors.ran] == [f"t{n}" for n in range(600)]
        assert cursors.calls == [256, 256, 88]


async def test_a_tick_that_another_daemon_took_is_let_go() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, _):
        cursors.at["a"] = START_US + SECOND
        await clock.advance(2)
        assert seconds(cursors.ran) == [("a", 2)]


async def test_a_cursor_that_is_behind_is_followed_back_and_nothing_is_skipped() -> None:
    async with ticking(schedule("a", "* * * * * *", START_US + 2 * SECOND)) as (clock, cursors, _):
        cursors.at["a"] = START_US
        await clock.advance(3)
        assert seconds(sorted(cursors.ran + cursors.missed)) == [("a", 1), ("a", 2), ("a", 3)]


async def test_after_an_outage_skip_runs_only_the_newest_moment_within_the_grace() -> None:
    story = ticking(
        schedule("a", "* * * * * *"), first=lambda clock: setattr(clock, "_now_us", START_US + 5 * SECOND)
    )
    async with story as (clock, cursors, _):
        await clock.advance(0.001)
        assert seconds(cursors.missed) == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]
        assert seconds(cursors.ran) == [("a", 5)]


async def test_after_an_outage_beyond_the_grace_skip_misses_everything() -> None:
    story = ticking(
        schedule("a", "0 * * * *"),
        grace_s=60,
        first=lambda clock: setattr(clock, "_now_us", START_US + 7200 * SECOND),
    )
    async with story as (clock, cursors, _):
        await clock.advance(0.001)
        assert cursors.ran == []
        assert len(cursors.missed) == 2


async def test_coalesce_runs_once_for_all_that_was_missed() -> None:
    late = schedule("a", "0 * * * *", misfire="coalesce")
    story = ticking(late, first=lambda clock: setattr(clock, "_now_us", START_US + 5 * 3600 * SECOND))
    async with story as (clock, cursors, _):
        await clock.advance(0.001)
        assert (len(cursors.missed), len(cursors.ran)) == (4, 1)


async def test_catchup_runs_the_newest_n_even_after_a_thousand_moments() -> None:
    late = schedule("a", "* * * * * *", misfire="catchup(3)")
    story = ticking(late, first=lambda clock: setattr(clock, "_now_us", START_US + 1000 * SECOND))
    async with story as (clock, cursors, _):
        await clock.advance(0.001)
        assert seconds(cursors.ran) == [("a", 998), ("a", 999), ("a", 1000)]
        assert seconds(cursors.missed) == [("a", n) for n in range(1, 998)]
        assert max(cursors.calls) <= 256


async def test_a_long_backlog_of_one_task_does_not_hold_up_the_others() -> None:
    async with ticking(
        schedule("slow", "* * * * * *"),
        schedule("a", "* * * * * *", START_US + 999 * SECOND),
        first=lambda clock: setattr(clock, "_now_us", START_US + 1000 * SECOND),
    ) as (clock, cursors, _):
        await clock.advance(0.001)
        assert [task_id for task_id, _ in cursors.ran] == ["a", "slow"]


async def test_never_more_is_claimed_than_the_runner_has_room_for() -> None:
    room = Room(3)
    async with ticking(*[schedule(f"t{n}", "* * * * * *") for n in range(5)], room=room) as (
        clock,
        cursors,
        ticker,
    ):
        await clock.advance(1)
        assert len(cursors.ran) >= 3
        assert cursors.calls[0] == 3
        room.set(0)
        claimed = len(cursors.ran)
        await clock.advance(1)
        assert len(cursors.ran) <= claimed + 3
        assert ticker.statistics()["waits_for_room"] >= 1


async def test_what_waits_for_room_is_claimed_in_order_once_there_is_some() -> None:
    room = Room(0)
    async with ticking(*[schedule(f"t{n}", "0 * * * * *") for n in range(4)], room=room) as (
        clock,
        cursors,
        _,
    ):
        await clock.advance(20)
        assert cursors.ran == []
        room.set(2)
        await clock.advance(0.001)
        await clock.advance(0.001)
        assert [task_id for task_id, _ in cursors.ran] == ["t0", "t1", "t2", "t3"]


async def test_while_redis_is_away_ticks_are_kept_and_sent_again_under_the_same_ids() -> None:
    async with ticking(schedule("a", "0 * * * * *")) as (clock, cursors, _):
        cursors.failing = Unavailable("away")
        await clock.advance(25)
        assert cursors.ran == []
        cursors.failing = None
        await clock.advance(1)
        assert seconds(cursors.ran) == [("a", 20)]
        assert len({tick.run_id for tick in cursors.sent}) == 1


async def test_a_full_backlog_keeps_ticks_in_the_cursor() -> None:
    async with ticking(schedule("a", "0 * * * * *")) as (clock, cursors, _):
        cursors.failing = Backlog("full")
        await clock.advance(25)
        cursors.failing = None
        await clock.advance(1)
        assert seconds(cursors.ran) == [("a", 20)]


async def test_a_clock_that_runs_ahead_of_redis_is_corrected() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, ticker):
        cursors.ahead_us = -400_000
        await clock.advance(5)
        assert ticker.statistics()["clock_offset_us"] == -400_000
        assert seconds(cursors.ran) == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]


async def test_a_clock_that_lags_behind_redis_is_corrected() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, ticker):
        cursors.ahead_us = 400_000
        await clock.advance(3)
        assert ticker.statistics()["clock_offset_us"] == 400_000
        await clock.advance(0.65)
        assert seconds(cursors.ran)[-1] == ("a", 4)


async def test_a_replaced_schedule_forgets_its_old_moments() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, ticker):
        await clock.advance(1)
        ticker.put(schedule("a", "*/10 * * * * *", cursors.at["a"]))
        await clock.advance(10)
        assert seconds(cursors.ran) == [("a", 1), ("a", 10)]


async def test_a_claim_on_its_way_is_waited_for_when_the_ticker_is_stopped() -> None:
    """What Redis granted must reach the runner: otherwise it would stay claimed until its lease runs out."""
    clock = ManualClock(START_US)
    cursors, answered, go_on = Cursors(clock), [], asyncio.Event()

    async def slow(ticks: Sequence[Tick]) -> list[Answer]:
        answers = await cursors.claim(ticks)
        await go_on.wait()
        answered.append(answers)
        return answers

    ticker = Ticker(clock, Ids(clock, "node"), slow, cursors.look, Room(), grace_s=60)
    ticker.put(schedule("a", "* * * * * *"))
    running = asyncio.create_task(ticker.run())
    await clock.advance(1)
    running.cancel()
    await clock.advance(0)
    assert not running.done()
    go_on.set()
    await asyncio.wait([running])
    assert len(answered) == 1


async def test_schedules_of_the_same_task_and_moment_can_stand_in_the_heap_together() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, ticker):
        ticker.put(schedule("a", "*/1 * * * * *", cursors.at["a"]))
        await clock.advance(2)
        assert seconds(cursors.ran) == [("a", 1), ("a", 2)]


async def test_a_dropped_schedule_ticks_no_more() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, ticker):
        await clock.advance(1)
        ticker.drop("a")
        await clock.advance(5)
        assert seconds(cursors.ran) == [("a", 1)]
        assert ticker.next_us("a") is None


async def test_stopping_in_the_middle_of_a_claim_loses_no_schedule() -> None:
    async with ticking(schedule("a", "* * * * * *")) as (clock, cursors, ticker):
        cursors.failing = asyncio.CancelledError()
        await clock.advance(1)
        assert ticker.statistics()["schedules"] == 1
        assert ticker.next_us("a") == START_US + SECOND
