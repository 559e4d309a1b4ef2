"""`scripts/bench flush`: journal facts into SQL, ours beside SQLAlchemy's own ways, in turns on durable settings."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop
from sqlalchemy import insert

from benchmarks.machine import describe
from benchmarks.report import Report
from quotaflow.control.closing import closing_fact
from quotaflow.journal.fold import Fact, fold
from quotaflow.model import Status, Trigger
from quotaflow.runs import Outcome, Run
from quotaflow.store import Store
from quotaflow.store.tables import traces
from tests.servers import PostgresProcess

SIZES = (500, 5_000)
Way = Callable[[Store, Sequence[Fact]], Awaitable[None]]


def facts(start: int, count: int) -> list[Fact]:
    """Write the lines of runs that have ended, as the daemon journals them."""
    now_us = 1_750_000_000_000_000
    lines = []
    for number in range(start, start + count):
        at_us = now_us + number * 1_000
        run = Run(
            f"{at_us:014x}-0123456789-{number:06x}",
            "task",
            Trigger.CRON,
            at_us,
            at_us + 900,
            "api",
            1_000_000,
        )
        outcome = Outcome(run, Status.OK, at_us + 1_500, at_us + 9_500, 8.0)
        lines.append(Fact(run.run_id + ".close", closing_fact(outcome, "0123456789")))
    return lines


async def ours(store: Store, some: Sequence[Fact]) -> None:
    """Do what the flusher does, from the lines on."""
    await store.write_batch(fold(some))


async def executemany(store: Store, some: Sequence[Fact]) -> None:
    """Insert dictionaries, SQLAlchemy's documented way for many rows."""
    rows = [row._asdict() for row in fold(some).closed]
    async with store._database.write() as connection:
        await connection.execute(traces.insert(), rows)


async def values(store: Store, some: Sequence[Fact]) -> None:
    """Insert by one statement with all values in it."""
    rows = [row._asdict() for row in fold(some).closed]
    async with store._database.write() as connection:
        for first in range(0, len(rows), 500):  # databases bound the number of parameters
            await connection.execute(insert(traces).values(rows[first : first + 500]))


WAYS: dict[str, Way] = {
    "quotaflow": ours,
    "conn.execute(insert, rows)": executemany,
    "insert().values(rows)": values,
}


async def _stall(until: asyncio.Event) -> float:
    """Return the longest time the event loop was not free, in ms."""
    worst = 0.0
    while not until.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0)
        worst = max(worst, time.perf_counter() - before)
    return worst * 1e3


async def measure(report: Report, name: str, store: Store) -> None:
    """Write batches of each size each way, in turns."""
    rounds, start = (2 if report.quick else 7), 0
    for size in SIZES:
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, write in WAYS.items():
                some, done = facts(start, size), asyncio.Event()
                start += size
                stalling = asyncio.create_task(_stall(done))
                await asyncio.sleep(0)
                began = time.perf_counter()
                await write(store, some)
                took = time.perf_counter() - began
                done.set()
                found[way].append((size / took, await stalling))
        rate = {way: statistics.median(one for one, _ in took) for way, took in found.items()}
        report.show(
            f"{name}, {size:,} facts a batch",
            {
                way: {
                    "facts/s": rate[way],
                    "longest stall ms": statistics.median(stall for _, stall in took),
                    "ours is x": rate["quotaflow"] / rate[way],
                }
                for way, took in found.items()
            },
        )


async def main(*, quick: bool, json_file: Path | None) -> int:
    """Measure both databases."""
    report = Report(describe(), quick)
    with tempfile.TemporaryDirectory() as folder, PostgresProcess() as postgres:
        async with postgres.database() as url:
            for name, where in (("SQLite", f"sqlite+aiosqlite:///{folder}/store.db"), ("PostgreSQL", url)):
                store = await Store.open(where, deadline_s=60)
                await measure(report, name, store)
                await store.close()
    if json_file:
        report.write(json_file)
    return 0


def run(*, quick: bool, json_file: Path | None) -> int:
    """Run on uvloop, as the daemon does."""
    return uvloop.run(main(quick=quick, json_file=json_file))
