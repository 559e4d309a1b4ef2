"""Three daemons, three processes, one Valkey, one PostgreSQL: 1,000 tasks due every second, each run exactly once."""

import asyncio
import contextlib
import math
import tempfile
import time
from collections import Counter
from pathlib import Path

import asyncpg

from benchmarks.children import Child, child
from benchmarks.expressions import EVERY_SECOND
from benchmarks.measure import Row, lateness_ms, read_rows, spread, within
from benchmarks.report import Report
from tests.servers import PostgresProcess, ValkeyProcess

DAEMONS = 3
TASKS = 1_000
EXPRESSIONS = 250
SETTLE_S = 3  # the first seconds belong to connections and caches

_COUNTS = """
SELECT count(*) AS rows, count(DISTINCT (task_id, scheduled_for)) AS ticks FROM traces
WHERE trigger = 'cron' AND scheduled_for >= to_timestamp($1) AND scheduled_for < to_timestamp($2)
"""
_ENDINGS = """
SELECT status, count(*) FROM traces
WHERE scheduled_for >= to_timestamp($1) AND scheduled_for < to_timestamp($2) GROUP BY status
"""
_LATE = """
SELECT extract(epoch FROM started_at - scheduled_for)::float8 * 1000 FROM traces
WHERE started_at IS NOT NULL AND scheduled_for >= to_timestamp($1) AND scheduled_for < to_timestamp($2)
"""
_DOUBLE = "SELECT count(*) FROM dead_letters WHERE error LIKE 'double_claim%'"


async def measure(report: Report) -> None:
    """Run the daemons, then count in SQL."""
    seconds = 5 if report.quick else 25
    with ValkeyProcess() as valkey, PostgresProcess() as postgres, tempfile.TemporaryDirectory() as folder:
        async with postgres.database() as store:
            files = [Path(folder, f"rows{number}") for number in range(DAEMONS)]
            from_s, cpu_us = await _run(Path(folder), files, valkey.url, store, seconds)
            sql = await _ask_sql(store, from_s, from_s + seconds)
        rows = [row for file in files for row in within(read_rows(file), from_s, seconds)]
    _judge(report, rows, sql, seconds, cpu_us)


async def _run(folder: Path, files: list[Path], redis: str, store: str, seconds: int) -> tuple[int, float]:
    """Let the daemons work; return the first second that counts, and their CPU per run."""
    async with contextlib.AsyncExitStack() as stack:
        daemons: list[Child] = []
        for number, file in enumerate(files):
            settings = {"data_dir": str(folder / str(number)), "redis__url": redis, "store__url": store}
            work = {"crons": EVERY_SECOND[:EXPRESSIONS], "tasks": TASKS, "limited_every": 2, "rows": str(file)}
            daemons.append(await stack.enter_async_context(child("daemon", settings=settings, **work)))
        from_s = math.ceil(time.time()) + SETTLE_S
        await asyncio.sleep(from_s - 0.2 - time.time())
        before = [await daemon.ask("figures") for daemon in daemons]
        await asyncio.sleep(seconds)
        after = [await daemon.ask("figures") for daemon in daemons]
        await asyncio.sleep(1.5)  # the last second runs and is written
    cpu_s = sum(end["cpu_s"] - begin["cpu_s"] for begin, end in zip(before, after, strict=True))
    fired = sum(end["fired"] - begin["fired"] for begin, end in zip(before, after, strict=True))
    return from_s, cpu_s / max(fired, 1) * 1e6


async def _ask_sql(store: str, from_s: int, to_s: int) -> dict[str, object]:
    connection = await asyncpg.connect(store.replace("+asyncpg", ""), timeout=10)
    try:
        found = dict(await connection.fetchrow(_COUNTS, float(from_s), float(to_s)))
        late = [value for (value,) in await connection.fetch(_LATE, float(from_s), float(to_s))]
        return {**found, "double_claims": await connection.fetchval(_DOUBLE), "late": late}
    finally:
        await connection.close()


def _judge(report: Report, rows: list[Row], sql: dict[str, object], seconds: int, cpu_us: float) -> None:
    wanted = TASKS * seconds
    late_sql = sql.pop("late")
    assert isinstance(late_sql, list)
    twice = sum(times - 1 for times in Counter((number, due) for number, due, _ in rows).values())
    title = f"{DAEMONS} daemons, {TASKS:,} ticks a second for {seconds} s, {EXPRESSIONS} expressions"
    found = {
        "body started, ms late": {**spread(lateness_ms(rows)), "runs": len(rows), "cpu us/run": round(cpu_us)},
        "traces.started_at, ms late": {**spread(late_sql), "runs": sql["rows"]},
    }
    report.show(title, {name: dict(figures) for name, figures in found.items()})
    missed = wanted - int(str(sql["ticks"]))
    doubled = twice + int(str(sql["rows"])) - int(str(sql["ticks"])) + int(str(sql["double_claims"]))
    report.at_most("together: ticks missed", missed, 0)
    report.at_most("together: ticks run twice", doubled, 0)
    report.at_most("together: runs not ok", wanted - int(str(sql["ok"])), 0)
    report.at_most("together: lateness p99", found["body started, ms late"]["p99"], 150, "ms")  # type: ignore[arg-type]
