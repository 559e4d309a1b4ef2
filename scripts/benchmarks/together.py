"""Three daemons, three processes, one Valkey, one PostgreSQL: 1,000 tasks due every second, each run exactly once."""

import asyncio
import contextlib
import math
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
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
LATE_MS = 150

_SINCE = "trigger = 'cron' AND scheduled_for >= to_timestamp($1) AND scheduled_for < to_timestamp($2)"
_ROWS = f"SELECT count(*), count(DISTINCT (task_id, scheduled_for)) FROM traces WHERE {_SINCE}"
_ENDINGS = f"SELECT status, count(*) FROM traces WHERE {_SINCE} GROUP BY status ORDER BY status"
_LATE = f"""
SELECT extract(epoch FROM started_at - scheduled_for)::float8 * 1000 FROM traces
WHERE started_at IS NOT NULL AND {_SINCE}
"""
_DOUBLE = "SELECT count(*) FROM dead_letters WHERE error LIKE 'double_claim%'"


@dataclass(frozen=True, slots=True)
class Traces:
    """What SQL knows of the ticks of some seconds."""

    rows: int
    ticks: int
    endings: dict[str, int]
    late_ms: list[float]
    double_claims: int


async def measure(report: Report) -> None:
    """Run the daemons, then count in SQL."""
    seconds = 5 if report.quick else 25
    with ValkeyProcess() as valkey, PostgresProcess() as postgres, tempfile.TemporaryDirectory() as folder:
        async with postgres.database() as store:
            files = [Path(folder, f"rows{number}") for number in range(DAEMONS)]
            from_s, work = await _run(Path(folder), files, valkey.url, store, seconds)
            traces = await _traces(store, from_s, from_s + seconds)
        rows = [row for file in files for row in within(read_rows(file), from_s, seconds)]
    _show(report, seconds, rows, traces, work)
    _judge(report, TASKS * seconds, rows, traces)


async def _run(
    folder: Path, files: list[Path], redis: str, store: str, seconds: int
) -> tuple[int, dict[str, float]]:
    """Let the daemons work; return the first second that counts, and what one run took of them."""
    async with contextlib.AsyncExitStack() as stack:
        daemons: list[Child] = []
        for number, file in enumerate(files):
            settings = {"data_dir": str(folder / str(number)), "redis__url": redis, "store__url": store}
            work = {
                "crons": EVERY_SECOND[:EXPRESSIONS],
                "tasks": TASKS,
                "limited_every": 2,
                "rows": str(file),
            }
            daemons.append(await stack.enter_async_context(child("daemon", settings=settings, **work)))
        from_s = math.ceil(time.time()) + SETTLE_S
        await asyncio.sleep(from_s - 0.2 - time.time())
        before = await _sum(daemons)
        await asyncio.sleep(seconds)
        after = await _sum(daemons)
        await asyncio.sleep(1.5)  # the last second runs and is written
    runs = max(1, after["fired"] - before["fired"])
    return from_s, {
        "cpu us/run": round((after["cpu_s"] - before["cpu_s"]) / runs * 1e6),
        "claims/run": round((after["claimed"] - before["claimed"]) / runs, 2),
    }


async def _sum(daemons: list[Child]) -> dict[str, float]:
    answers = [await daemon.ask("figures") for daemon in daemons]
    return {
        "fired": sum(answer["fired"] for answer in answers),
        "cpu_s": sum(answer["cpu_s"] for answer in answers),
        "claimed": sum(answer["work"]["ticker"]["claimed"] for answer in answers),
    }


async def _traces(store: str, from_s: int, to_s: int) -> Traces:
    connection = await asyncpg.connect(store.replace("+asyncpg", ""), timeout=10)
    seconds = float(from_s), float(to_s)
    try:
        rows, ticks = await connection.fetchrow(_ROWS, *seconds)
        return Traces(
            rows=rows,
            ticks=ticks,
            endings=dict(await connection.fetch(_ENDINGS, *seconds)),
            late_ms=[late for (late,) in await connection.fetch(_LATE, *seconds)],
            double_claims=await connection.fetchval(_DOUBLE),
        )
    finally:
        await connection.close()


def _show(report: Report, seconds: int, rows: list[Row], traces: Traces, work: dict[str, float]) -> None:
    report.show(
        f"{DAEMONS} daemons, {TASKS:,} ticks a second for {seconds} s, {EXPRESSIONS} expressions",
        {
            "body started, ms late": {**spread(lateness_ms(rows)), "runs": len(rows), **work},
            "traces.started_at, ms late": {**spread(traces.late_ms), "runs": traces.rows, **traces.endings},
        },
    )


def _judge(report: Report, wanted: int, rows: list[Row], traces: Traces) -> None:
    twice = sum(times - 1 for times in Counter((number, due_us) for number, due_us, _ in rows).values())
    report.at_most("together: ticks missed", wanted - traces.ticks, 0)
    report.at_most("together: ticks run twice", twice + traces.rows - traces.ticks + traces.double_claims, 0)
    report.at_most("together: runs not ok", traces.rows - traces.endings.get("ok", 0), 0)
    report.at_most("together: lateness p99", spread(lateness_ms(rows))["p99"], LATE_MS, "ms")
