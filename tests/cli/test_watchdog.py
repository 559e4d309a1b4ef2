"""The watchdog of the event loop, by a clock that is set."""

import asyncio
from typing import Any

import pytest
from jinja2 import Template

from quotaflow.edges.cli.watchdog import BEAT_EVERY_S, FRAMES, Watchdog
from quotaflow.edges.http.vitals import Vitals
from quotaflow.timing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def watchdog(clock: ManualClock) -> Watchdog:
    made = Watchdog(Vitals(clock), clock, asyncio.get_running_loop())
    made.beat()
    return made


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


async def test_a_block_is_told_once_while_it_goes_on_and_once_when_it_ends(
    watchdog: Watchdog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await clock.advance(BEAT_EVERY_S + 1.5)
    for _ in range(3):
        watchdog.look()
    await clock.advance(2)
    watchdog.look()
    watchdog.beat()
    begun, ended = told(caplog)
    assert (begun["event"], begun["blocked_ms"]) == ("loop.blocked", 1500)
    task = asyncio.current_task()
    assert task is not None
    assert begun["task"] == task.get_name()
    assert "Watchdog.look" in begun["stack"], "which is what runs here"
    assert begun["stack"].count(" < ") < FRAMES
    assert (ended["event"], ended["blocked_ms"]) == ("loop.back", 3500)
    assert watchdog._vitals.figures() == {"blocks": 1, "longest_s": 3.5}


async def test_a_block_in_a_template_which_stands_in_no_module_is_told_too(
    watchdog: Watchdog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await clock.advance(BEAT_EVERY_S + 2)
    Template("{{ look() }}").render(look=watchdog.look)
    (begun,) = told(caplog)
    assert "root (<template>:" in begun["stack"]


async def test_each_block_is_told_and_the_longest_is_kept(
    watchdog: Watchdog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (2, 5, 3):
        await clock.advance(BEAT_EVERY_S + seconds)
        watchdog.look()
        watchdog.beat()
    assert [line["event"] for line in told(caplog)] == ["loop.blocked", "loop.back"] * 3
    assert watchdog._vitals.figures() == {"blocks": 3, "longest_s": 5.0}


async def test_a_beat_that_is_one_second_late_is_no_block(
    watchdog: Watchdog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        await clock.advance(BEAT_EVERY_S + 1)
        watchdog.look()
        watchdog.beat()
    assert told(caplog) == []
    assert watchdog._vitals.figures() == {"blocks": 0, "longest_s": 0.0}
