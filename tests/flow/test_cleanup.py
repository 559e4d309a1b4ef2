"""Cleaning: when, how often, by whom, and what happens when SQL is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quotaflow import Quotaflow
from quotaflow.control.cleanup import FIRST_S, HOUR_US, Cleanup, cutoff_us, next_due_us
from quotaflow.control.duty import Duty
from quotaflow.errors import CleanupDisabled, Unavailable
from quotaflow.records import Batch, DeadLetter
from quotaflow.settings import Retention
from quotaflow.store import Cut, Part, Portion, Store
from quotaflow.timing import ManualClock
from tests.flow.conftest import MakeSettings
from tests.flow.test_recovery import until
from tests.servers import PATIENCE_S

DAY_S = 86_400
START_US = ManualClock().wall_us()


class Office:
    """A store with old rows in it, and who cleans it; the clock is set by hand."""

    def __init__(self, store: Store, clock: ManualClock, retention: Retention) -> None:
        self.store, self.clock = store, clock
        duty = Duty("cleaner", None, clock, shared=False)  # type: ignore[arg-type]
        self.cleanup = Cleanup(retention, 3600, store, duty, clock, "me")

    async def letters(self, count: int) -> None:
        """Write rows that are old two days from now."""
        name = f"{self.clock.wall_us():x}"
        dead = [DeadLetter(f"{name}-{number}", "{}", "why") for number in range(count)]
        await self.store.write_batch(Batch(dead=dead))

    async def left(self) -> int:
        """Count the rows."""
        return (await self.store.counts()).dead_letters

    async def total(self) -> int:
        """Return how many rows were ever removed."""
        return (await self.store.cleanup_record()).total_count

    async def ended(self) -> None:
        """Wait until nobody cleans, moving on from pause to pause."""

        async def idle() -> bool:
            await self.clock.advance(0.5)
            return not (await self.cleanup.state()).is_running

        await until(idle)


@asynccontextmanager
async def office(
    directory: Path, clock: ManualClock | None = None, **settings: object
) -> AsyncIterator[Office]:
    """Open the store and clean it until the block ends."""
    clock = clock or ManualClock()
    retention = Retention.model_validate({"days": 1, "every_hours": 24.0, **settings})
    store = await Store.open(f"sqlite+aiosqlite:///{directory}/store.db", clock=clock, deadline_s=PATIENCE_S)
    made = Office(store, clock, retention)
    running = asyncio.create_task(made.cleanup.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])
        await store.close()
        assert running.cancelled()


def test_rows_that_request_ids_are_looked_up_in_are_kept_as_long_as_these() -> None:
    assert cutoff_us(10 * DAY_S * 1_000_000, 3, 3600) == 7 * DAY_S * 1_000_000
    assert cutoff_us(10 * DAY_S * 1_000_000, 3, 5 * DAY_S) == 5 * DAY_S * 1_000_000
    assert cutoff_us(1, 36_500, 0) == 0


def test_restarts_do_not_postpone_it_and_failures_wait_for_the_next_interval() -> None:
    first = 5_000 * HOUR_US
    assert next_due_us(None, None, first, 24) == first + FIRST_S * 1e6
    assert next_due_us(first - 20 * HOUR_US, None, first, 24) == first + 4 * HOUR_US
    assert next_due_us(first - 100 * HOUR_US, None, first, 24) == first + FIRST_S * 1e6
    assert next_due_us(None, first + HOUR_US, first, 24) == first + 25 * HOUR_US


async def test_the_first_cleaning_is_a_minute_after_the_start_and_the_next_a_day_later(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as here:
        await here.letters(3)
        await here.clock.advance(59)
        assert (await here.store.cleanup_record()).last_us is None

        async def first() -> bool:
            await here.clock.advance(0.5)
            return (await here.store.cleanup_record()).last_us is not None

        await until(first)
        assert await here.left() == 3, "they are young"
        await here.letters(2)
        due_us = (await here.cleanup.state()).next_us
        assert due_us is not None
        assert START_US + DAY_S * 1e6 < due_us < START_US + (DAY_S + 120) * 1e6
        await here.clock.advance(DAY_S + 240)

        async def second() -> bool:
            await here.clock.advance(30)
            return await here.left() == 0

        await until(second)
        await here.ended()
        assert await here.total() == 5


async def test_a_cleaning_goes_in_portions_with_pauses_and_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(tmp_path, batch=2) as here:
        await here.letters(7)
        await here.clock.advance(0)
        removed: list[int] = []
        real = here.store.remove_old

        async def seen(part: Part, cut: Cut, after: str = "") -> Portion:
            portion = await real(part, cut, after)
            removed.extend([portion.removed] if portion.removed else [])
            return portion

        monkeypatch.setattr(here.store, "remove_old", seen)
        here.clock._now_us += 2 * DAY_S * 1_000_000  # nobody else wakes
        assert await here.cleanup.start()
        assert not await here.cleanup.start(), "one at a time"

        async def paused() -> bool:
            return len(removed) == 1

        await until(paused)
        assert (await here.cleanup.state()).is_running
        assert await here.left() == 5
    async with office(tmp_path, here.clock, batch=2) as again:
        assert await again.total() == 2, "what was removed is counted although it was stopped"
        assert not await again.cleanup.start(), "its lease has not run out yet"
        again.clock._now_us += 31_000_000
        assert await again.cleanup.start()
        await again.ended()
        assert (await again.left(), await again.total()) == (0, 7)


async def test_when_sql_is_away_it_is_logged_and_tried_at_the_next_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with office(tmp_path, every_hours=1.0) as here:
        real = here.store.cleanup_record

        async def away() -> None:
            raise Unavailable("the moon is down")

        monkeypatch.setattr(here.store, "cleanup_record", away)
        await here.clock.advance(FIRST_S + 1)
        await here.clock.advance(1800)
        assert [record.getMessage().count("the moon is down") for record in caplog.records] == [1]
        with pytest.raises(Unavailable):
            await here.cleanup.state()
        monkeypatch.setattr(here.store, "cleanup_record", real)
        failed_us = START_US + round(FIRST_S * 1e6)
        assert (await here.cleanup.state()).next_us == failed_us + HOUR_US

        async def done() -> bool:
            await here.clock.advance(60)
            return (await real()).last_us is not None

        await until(done)
        assert ((await real()).last_us or 0) >= failed_us + HOUR_US


async def test_a_cleaner_that_is_off_does_nothing_unless_somebody_insists(tmp_path: Path) -> None:
    async with office(tmp_path, enabled=False) as here:
        await here.letters(3)
        await here.clock.advance(3 * DAY_S)
        assert (await here.cleanup.state()).next_us is None
        with pytest.raises(CleanupDisabled):
            await here.cleanup.start()
        assert await here.cleanup.start(7, force=True)
        await here.ended()
        assert await here.left() == 3, "seven days were asked for"
        assert await here.cleanup.start(force=True)
        await here.ended()
        assert await here.left() == 0


async def test_a_failed_trigger_leaves_the_way_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with office(tmp_path) as here:
        real = here.store.begin_cleanup

        async def away(_owner: str) -> bool:
            raise Unavailable("the moon is down")

        monkeypatch.setattr(here.store, "begin_cleanup", away)
        with pytest.raises(Unavailable):
            await here.cleanup.start()
        monkeypatch.setattr(here.store, "begin_cleanup", real)
        assert await here.cleanup.start()
        await here.ended()


async def test_a_whole_quotaflow_has_its_cleaner(make_settings: MakeSettings) -> None:
    async with Quotaflow.open(make_settings()) as qf:
        assert await qf.cleanup.start()

        async def ended() -> bool:
            return (await qf.cleanup.state()).record.last_us is not None

        await until(ended)
