"""What /readyz and triggers make of a process that starts, stops, or was blocked."""

import asyncio

import pytest

from quotaflow.edges.http.app import create_app
from quotaflow.edges.http.vitals import TELL_BLOCK_S, Stage, Vitals
from quotaflow.errors import NotOpen
from quotaflow.timing import ManualClock
from tests.http.house import House, asking

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.STOPPING])
async def test_a_process_that_does_not_work_yet_or_any_more_is_not_ready(house: House, stage: Stage) -> None:
    app = create_app(house.qf, trusted=True, vitals=Vitals(ManualClock(), stage))
    async with asking(app) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, [f"the process is {stage}"])


async def test_a_block_of_the_loop_is_a_problem_for_ten_seconds_after_it(house: House) -> None:
    clock = ManualClock()
    vitals = Vitals(clock, Stage.WORKING)
    vitals.blocked(2.34)
    await clock.advance(TELL_BLOCK_S - 0.001)
    (problem,) = (await vitals.readiness(house.qf.statistics)).problems
    assert problem == "the event loop was blocked for 2.3 s: see loop.blocked in the log"
    await clock.advance(0.001)
    assert (await vitals.readiness(house.qf.statistics)).is_ready


async def test_stopping_waits_for_the_trigger_under_way_and_refuses_the_next() -> None:
    vitals = Vitals(ManualClock(), Stage.WORKING)
    with vitals.granting():
        vitals.stage = Stage.STOPPING
        granted = asyncio.create_task(vitals.granted())
        await asyncio.sleep(0)
        assert not granted.done()
        with pytest.raises(NotOpen), vitals.granting():
            pass
    await granted


async def test_with_no_trigger_under_way_stopping_waits_for_nothing() -> None:
    async with asyncio.timeout(30):
        await Vitals(ManualClock()).granted()
