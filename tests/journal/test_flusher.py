"""Nothing leaves Redis before SQL has it, and nothing gets there twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from quotaflow import facts
from quotaflow.control.recovery import ends_of
from quotaflow.errors import Unavailable
from quotaflow.journal.flusher import GATHER_S, Flusher, Portion
from quotaflow.limiter import keys
from quotaflow.limiter.client import connect
from quotaflow.records import Batch
from quotaflow.store import Store
from quotaflow.timing import ManualClock, SystemClock
from tests.limiter.conftest import Bench, bench_on
from tests.runner.journalled import asleep, until
from tests.servers import PATIENCE_S, ValkeyProcess


class Line:
    """A flusher between a real Redis and a real SQLite, with two taps to close."""

    def __init__(self, bench: Bench, store: Store, reader: Any, batch: int) -> None:
        self.bench, self.store = bench, store
        self.write_error: Exception | None = None
        self.most = 1_000_000  # facts in a batch for which this SQL is fast enough
        self.trim_error: Exception | None = None
        self.written: list[int] = []
        self.flusher = Flusher(reader, keys.JOURNAL, self.write, self.trim, SystemClock(), batch=batch)

    async def write(self, batch: Batch) -> None:
        if self.write_error:
            raise self.write_error
        if len(batch.closed) > self.most:
            raise Unavailable("SQL is too slow")
        await self.store.write_batch(batch)
        self.written.append(len(batch.opened) + len(batch.closed))

    async def trim(self, portion: Portion) -> int:
        if self.trim_error:
            raise self.trim_error
        return await self.bench.admission.trim(ends_of(portion), len(portion.facts))

    async def left(self) -> int:
        return int(await self.bench.plain.xlen(keys.JOURNAL))

    async def runs(self) -> set[str]:
        return {trace.run_id for trace in (await self.store.list_traces(limit=1000)).items}


@pytest.fixture
async def line(valkey: ValkeyProcess, tmp_path: Path) -> AsyncIterator[Line]:
    reader = connect(valkey.url, deadline_s=3)
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db", deadline_s=PATIENCE_S)
    async with bench_on(valkey.url, backlog_max=100_000) as bench:
        yield Line(bench, store, reader, batch=100)
    await store.close()
    await reader.aclose()


def fact(name: str, **more: facts.Value) -> tuple[str, str]:
    fields: dict[str, facts.Value] = {
        "run": name,
        "task": "t",
        "trigger": "call",
        "cost": 1,
        "attempt": 1,
        "instance": "i",
        "claimed": 6,
    }
    ended: dict[str, facts.Value] = {
        "started": 7,
        "finished": 8,
        "latency_ms": "1.0",
        "wait_ms": "1.0",
        "status": "ok",
    }
    return f"{name}.close", facts.encode("close", {**fields, **ended, **more})


async def journal(line: Line, names: Sequence[str]) -> None:
    for name in names:
        await line.bench.admission.record([fact(name)])


async def test_what_is_journalled_reaches_sql_and_then_leaves_redis(line: Line) -> None:
    await journal(line, ["a", "b", "c"])
    assert await line.flusher.flush_once() == 3
    assert await line.runs() == {"a", "b", "c"}
    assert await line.left() == 0
    assert await line.bench.plain.hget(keys.MARKER, "backlog") == "0"
    assert await line.flusher.flush_once() == 0


async def test_while_sql_is_away_everything_stays_in_redis(line: Line) -> None:
    await journal(line, ["a", "b"])
    line.write_error = Unavailable("away")
    with pytest.raises(Unavailable):
        await line.flusher.flush_once()
    assert await line.left() == 2
    line.write_error = None
    await line.flusher.drain()
    assert await line.runs() == {"a", "b"}


async def test_a_batch_that_was_committed_and_not_trimmed_is_read_again_without_harm(line: Line) -> None:
    await journal(line, ["a", "b"])
    line.trim_error = Unavailable("killed between commit and trim")
    with pytest.raises(Unavailable):
        await line.flusher.flush_once()
    assert await line.left() == 2
    line.trim_error = None
    await journal(line, ["c"])
    assert await line.flusher.drain() == 3
    assert await line.runs() == {"a", "b", "c"}
    assert await line.left() == 0


async def test_a_flush_cancelled_anywhere_can_be_done_again(line: Line) -> None:
    await journal(line, [f"r{n}" for n in range(20)])
    for spins in range(0, 60, 3):
        flushing = asyncio.create_task(line.flusher.flush_once())
        for _ in range(spins):
            await asyncio.sleep(0)
        flushing.cancel()
        await asyncio.wait([flushing])
    await line.flusher.drain()
    assert len(await line.runs()) == 20
    assert await line.left() == 0


async def test_two_flushers_at_once_write_the_same_rows_once(line: Line) -> None:
    await journal(line, [f"r{n}" for n in range(300)])
    other = Flusher(line.bench.plain, keys.JOURNAL, line.write, line.trim, SystemClock(), batch=50)
    await asyncio.gather(line.flusher.drain(), other.drain())
    assert len(await line.runs()) == 300
    assert await line.left() == 0


async def test_garbage_in_the_stream_is_parked_and_the_rest_goes_on(line: Line) -> None:
    await journal(line, ["a"])
    await line.bench.plain.xadd(keys.JOURNAL, {"evil.1": "not a fact at all"})
    await journal(line, ["b"])
    await line.flusher.drain()
    assert await line.runs() == {"a", "b"}
    assert (await line.store.counts()).dead_letters == 1
    assert line.flusher.dead == 1


async def test_a_row_that_sql_refuses_is_found_by_halving_and_parked(line: Line) -> None:
    """
    A task id longer than the column, or a moment beyond the calendar: the database says no to the whole batch.
    """
    await line.bench.admission.record([fact("a"), fact("b"), fact("bad", claimed=10**18), fact("c")])
    await line.flusher.drain()
    assert await line.runs() == {"a", "b", "c"}
    assert (await line.store.counts()).dead_letters == 1
    assert await line.left() == 0


async def test_a_batch_takes_whole_entries_until_it_is_full(line: Line) -> None:
    for first in range(0, 400, 40):
        await line.bench.admission.record([fact(f"r{first + n}") for n in range(40)])
    await line.flusher.flush_once()
    assert line.written == [400], "one page of entries at a time; an entry is never split"
    assert await line.left() == 0


async def test_a_sql_that_is_too_slow_for_a_batch_gets_smaller_ones_until_it_keeps_up(line: Line) -> None:
    for first in range(0, 400, 10):
        await line.bench.admission.record([fact(f"r{first + n}") for n in range(10)])
    line.most = 60
    for _ in range(3):  # 400, 200 and 100 at once are too many
        with pytest.raises(Unavailable, match="too slow"):
            await line.flusher.flush_once()
    await line.flusher.flush_once()
    assert line.written == [50]
    line.most = 400
    await line.flusher.drain()
    assert line.written == [50, 100, 200, 50], "and as many as before when it does"
    assert await line.left() == 0
    assert len(await line.runs()) == 400


async def test_it_wakes_up_for_new_facts_and_tells_how_old_the_oldest_is(line: Line) -> None:
    running = asyncio.create_task(line.flusher.run(lambda: True))
    await journal(line, ["a"])
    async with asyncio.timeout(30):
        while await line.left():
            await asyncio.sleep(0.005)
    assert await line.flusher.oldest_age_s() == 0
    running.cancel()
    await asyncio.wait([running])
    await journal(line, ["b"])
    assert 0 <= await line.flusher.oldest_age_s() < 60


async def test_without_redis_nobody_knows_how_old_the_oldest_is(line: Line, valkey: ValkeyProcess) -> None:
    valkey.kill()
    with pytest.raises(Unavailable, match="Redis cannot be reached"):
        await line.flusher.oldest_age_s()


async def test_without_the_duty_it_leaves_the_stream_alone(line: Line) -> None:
    running = asyncio.create_task(line.flusher.run(lambda: False))
    await journal(line, ["a"])
    await asyncio.sleep(0.1)  # long enough for five of its looks
    assert await line.left() == 1
    running.cancel()
    await asyncio.wait([running])


async def test_it_lets_due_work_start_first_but_not_for_ever(line: Line) -> None:
    clock = ManualClock()
    flusher = Flusher(
        line.bench.plain, keys.JOURNAL, line.write, line.trim, clock, batch=500, is_busy=lambda: True
    )
    running = asyncio.create_task(flusher.run(lambda: True))
    await journal(line, ["a"])
    for _ in range(10):
        await until(lambda: asleep(clock))
        await clock.advance(GATHER_S)
    assert line.written == []
    async with asyncio.timeout(30):
        while await line.left():
            await clock.advance(GATHER_S)
    running.cancel()
