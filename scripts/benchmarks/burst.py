"""One daemon, 10,000 tasks due in the same second: in order, and how soon every trace is in SQL."""

import asyncio
import contextlib
import math
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import asyncpg

from benchmarks.children import child
from benchmarks.measure import Row, lateness_ms, medians, read_rows, spread
from benchmarks.report import Report
from tests.servers import PostgresProcess, ValkeyProcess

TASKS = 10_000
ASKED_PER_S = 1_500
OPENING_S = 14  # a daemon with 10,000 tasks needs some seconds until it ticks
GIVE_UP_S = 40
POLL_S = 0.05

_DONE = "SELECT count(*) FROM traces WHERE status = 'ok'"
_ORDER = "SELECT task_id FROM traces ORDER BY claimed_at, run_id"

Ask = Callable[[str], Awaitable[list[tuple[object, ...]]]]
Place = tuple[dict[str, str], Ask]  # settings of the daemon, and a way to ask its store


async def measure(report: Report) -> None:
    """Measure on SQLite and on PostgreSQL, in turns."""
    rounds = 1 if report.quick else 3
    found: dict[str, list[dict[str, float]]] = {"SQLite": [], "PostgreSQL": []}
    with PostgresProcess() as postgres:
        for _ in range(rounds):
            async with _sqlite() as (settings, ask):
                found["SQLite"].append(await _once(settings, ask))
            async with _postgres(postgres) as (settings, ask):
                found["PostgreSQL"].append(await _once(settings, ask))
    middle = {store: medians(figures) for store, figures in found.items()}
    report.show(f"1 daemon, {TASKS:,} ticks in one second", {name: dict(row) for name, row in middle.items()})
    for store, figures in middle.items():
        report.at_least(f"burst: runs per second into {store}", figures["runs/s"], ASKED_PER_S)
        report.at_most(f"burst: out of order, {store}", figures["out of order"], 0)
        report.at_most(f"burst: not run, {store}", TASKS - figures["runs"], 0)


@contextlib.asynccontextmanager
async def _sqlite() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory() as folder:

        async def ask(query: str) -> list[tuple[object, ...]]:
            with contextlib.closing(
                sqlite3.connect(f"file:{folder}/quotaflow.db?mode=ro", uri=True)
            ) as connection:
                return connection.execute(query).fetchall()

        yield {"data_dir": folder}, ask


@contextlib.asynccontextmanager
async def _postgres(server: PostgresProcess) -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        async with server.database() as url:
            connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10)
            try:

                async def ask(query: str) -> list[tuple[object, ...]]:
                    return [tuple(row) for row in await connection.fetch(query)]

                yield {"data_dir": folder, "store__url": url}, ask
            finally:
                await connection.close()


async def _once(settings: dict[str, str], ask: Ask) -> dict[str, float]:
    due_s = math.ceil(time.time()) + OPENING_S
    cron = datetime.fromtimestamp(due_s, UTC).strftime("%-S %-M %-H * * *")
    with ValkeyProcess() as valkey:
        given = {**settings, "redis__url": valkey.url}
        rows = str(Path(settings["data_dir"], "rows"))
        async with child(
            "daemon", settings=given, crons=[cron], tasks=TASKS, limited_every=2, rows=rows
        ) as daemon:
            assert time.time() < due_s - 0.5, "the daemon was not ready in time: raise OPENING_S"
            await asyncio.sleep(due_s - 0.3 - time.time())
            before = await daemon.ask("figures")
            await asyncio.sleep(due_s + 0.5 - time.time())
            took_s = await _until_written(ask, due_s)
            after = await daemon.ask("figures")
            claimed = [int(str(task_id)[1:]) for (task_id,) in await ask(_ORDER)]
    started = read_rows(Path(rows))
    return {
        "runs": len(claimed),
        "runs/s": TASKS / took_s,
        "all in SQL after s": took_s,
        "cpu us/run": (after["cpu_s"] - before["cpu_s"]) / TASKS * 1e6,
        "out of order": _misplaced(claimed) + _misplaced([number for number, _, _ in started]),
        **_late(started),
    }


async def _until_written(ask: Ask, due_s: int) -> float:
    """Return how long after the moment the last trace was there for another connection to read."""
    while time.time() < due_s + GIVE_UP_S:
        asked_s = time.time()
        if (await ask(_DONE))[0][0] == TASKS:
            return asked_s - due_s
        await asyncio.sleep(POLL_S)
    return math.inf


def _misplaced(numbers: list[int]) -> int:
    """Count neighbours in the wrong order."""
    return sum(1 for first, second in pairwise(numbers) if first > second)


def _late(rows: list[Row]) -> dict[str, float]:
    return {f"late {name} ms": value for name, value in spread(lateness_ms(rows)).items()}
