"""One connection, many callers: their answers come in order, and whoever leaves disturbs nobody."""

import asyncio
import os
import signal

import pytest

from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.limiter import keys
from quotaflow.limiter.turns import BATCH, LANES
from tests.limiter.conftest import Bench, bench_on
from tests.servers import ValkeyProcess


async def held(bench: Bench, duty: str) -> object:
    """Ask for something whose answer is the question's own: 1 for whoever is the first."""
    return await bench.fence.run("lease", [keys.MARKER, keys.lease(duty)], ["me", "60000"])


async def test_everybody_gets_the_answer_to_his_own_question(bench: Bench) -> None:
    await bench.plain.set(keys.lease("3"), "somebody else")
    assert await asyncio.gather(*[held(bench, str(duty)) for duty in range(5)]) == [1, 1, 1, 0, 1]


async def test_who_stops_waiting_leaves_the_connection_to_the_others(bench: Bench) -> None:
    link = await bench.wire.connect()
    callers = [asyncio.create_task(held(bench, str(duty))) for duty in range(4)]
    await asyncio.sleep(0)
    callers[1].cancel()
    await asyncio.wait(callers)
    assert [caller.cancelled() or caller.result() for caller in callers] == [1, True, 1, 1]
    assert bench.wire.link is link


async def test_an_error_is_told_to_its_own_caller_only(bench: Bench) -> None:
    answers = await asyncio.gather(
        bench.fence.run("lease", [keys.MARKER, keys.lease("a")], ["me", "no number"]),
        held(bench, "b"),
        return_exceptions=True,
    )
    assert isinstance(answers[0], QuotaflowError)
    assert answers[1] == 1


async def test_a_connection_that_is_silent_for_too_long_is_given_up(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, deadline_s=0.2) as bench:
        link = await bench.wire.connect()
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await held(bench, "a")
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert bench.wire.link is not link
        bench.fence._deadline_s = 5
        assert await held(bench, "b") == 1


async def test_who_had_to_wait_for_a_lane_is_told_the_whole_deadline(valkey: ValkeyProcess) -> None:
    async with bench_on(valkey.url, deadline_s=0.5) as bench:
        await bench.wire.connect()
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            asked = [bench.batcher.ask((("q", str(number), 0),)) for number in range(BATCH * (LANES + 1))]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert {str(answer) for answer in answers} == {"Redis did not answer within 0.5 s"}
