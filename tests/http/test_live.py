"""/api/events: many pages listen, one looks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from quotaflow.edges.http.pulse import LOOK_S, Pulse
from quotaflow.errors import Unavailable
from quotaflow.timing import ManualClock

LISTENERS = 20


class Looks:
    """Counts looks; each waits until it is let go, as a server lets wait."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.wrong: Exception | None = None

    async def look(self) -> object:
        self.count += 1
        await self.gate.wait()
        if self.wrong is not None:
            raise self.wrong
        return self.count


@contextlib.asynccontextmanager
async def listening(pulse: Pulse, clock: ManualClock, felt: list[object]) -> AsyncIterator[None]:
    """Listen as twenty streams do, not all at the same moment."""

    async def listen(at_s: float) -> None:
        await clock.sleep(at_s)
        while True:
            felt.append(await pulse.feel())
            await clock.sleep(LOOK_S)

    async with asyncio.TaskGroup() as group:
        streams = [group.create_task(listen(number / LISTENERS)) for number in range(LISTENERS)]
        yield
        for stream in streams:
            stream.cancel()


async def test_twenty_who_listen_share_one_look_a_second() -> None:
    clock, looks, felt = ManualClock(), Looks(), list[object]()
    async with listening(Pulse(looks.look, clock), clock, felt):
        await clock.advance(9.99)
    assert looks.count == 10
    assert len(felt) == 10 * LISTENERS
    assert set(felt) == set(range(1, 11))


async def test_nobody_looks_while_nobody_listens() -> None:
    clock, looks = ManualClock(), Looks()
    pulse = Pulse(looks.look, clock)
    assert looks.count == 0
    await pulse.feel()
    await clock.advance(60)
    assert looks.count == 1
    assert await pulse.feel() == 2


async def test_who_asks_during_a_look_waits_for_it_and_who_leaves_takes_nobody_along() -> None:
    looks = Looks()
    pulse = Pulse(looks.look, ManualClock())
    looks.gate.clear()
    asking = [asyncio.create_task(pulse.feel()) for _ in range(LISTENERS)]
    while looks.count == 0:
        await asyncio.sleep(0)
    asking[0].cancel()
    looks.gate.set()
    assert await asyncio.gather(*asking[1:]) == [2] * (LISTENERS - 1)
    assert looks.count == 2


async def test_a_server_that_goes_away_is_something_new() -> None:
    clock, looks = ManualClock(), Looks()
    pulse = Pulse(looks.look, clock)
    before = await pulse.feel()
    looks.wrong = Unavailable("SQL is away")
    await clock.advance(LOOK_S)
    away = await pulse.feel()
    await clock.advance(LOOK_S)
    assert away == await pulse.feel() != before
    looks.wrong = KeyError("a bug")
    await clock.advance(LOOK_S)
    with pytest.raises(KeyError):
        await pulse.feel()
