"""The same 1,000 ticks a second on one process: ours (each claimed, run, traced in SQL), APScheduler, arq."""

import asyncio
import math
import tempfile
import time
from pathlib import Path

from benchmarks import arq_peer
from benchmarks.children import child
from benchmarks.expressions import EVERY_SECOND
from benchmarks.measure import cpu_s, lateness_ms, medians, read_rows, spread, within
from benchmarks.report import Report
from tests.servers import ValkeyProcess

TASKS = 1_000
EXPRESSIONS = 250
SETTLE_S = 3
NAMES = {
    "daemon": "quotaflow (1 daemon, SQLite, 50 workers, queue 1,000)",
    "apscheduler_peer": "APScheduler (AsyncIOScheduler, cron, memory store, no pool)",
    "arq_peer": f"arq (cron, Redis, max_jobs {arq_peer.MAX_JOBS}, poll {arq_peer.POLL_S} s)",
}


async def measure(report: Report) -> None:
    """Run all three in turns and compare medians."""
    rounds, seconds = (1, 4) if report.quick else (3, 10)
    found: dict[str, list[dict[str, float]]] = {module: [] for module in NAMES}
    for _ in range(rounds):
        for module, figures in found.items():
            figures.append(await _once(module, seconds))
    middle = {NAMES[module]: medians(figures) for module, figures in found.items()}
    ours = middle[NAMES["daemon"]]
    table = {
        name: {
            **row,
            "p99 / ours": round(row["p99"] / ours["p99"], 2),
            "cpu / ours": round(row["cpu us"] / ours["cpu us"], 2),
        }
        for name, row in middle.items()
    }
    report.show(f"1 process, {TASKS:,} ticks a second", {name: dict(row) for name, row in table.items()})


async def _once(module: str, seconds: int) -> dict[str, float]:
    with ValkeyProcess() as valkey, tempfile.TemporaryDirectory() as folder, valkey.client() as client:
        rows_file = Path(folder, "rows")
        given = _given(module, folder, valkey)
        async with child(module, tasks=TASKS, rows=str(rows_file), **given) as running:
            from_s = math.ceil(time.time()) + SETTLE_S
            await asyncio.sleep(from_s - 0.2 - time.time())
            before, server_s = await running.ask("figures"), cpu_s(client)
            await asyncio.sleep(seconds)
            after, server_s = await running.ask("figures"), cpu_s(client) - server_s
            await asyncio.sleep(1)
        rows = within(read_rows(rows_file), from_s, seconds)
    fired = max(1, after["fired"] - before["fired"])
    return {
        "done %": 100 * len(rows) / (TASKS * seconds),
        **spread(lateness_ms(rows)),
        "cpu us": (after["cpu_s"] - before["cpu_s"]) / fired * 1e6,
        "server us": server_s / fired * 1e6,
    }


def _given(module: str, folder: str, valkey: ValkeyProcess) -> dict[str, object]:
    """Return what a child needs beside the number of tasks."""
    match module:
        case "daemon":
            settings = {"data_dir": folder, "redis__url": valkey.url}
            return {"settings": settings, "crons": EVERY_SECOND[:EXPRESSIONS], "limited_every": 2}
        case "arq_peer":
            return {"socket": str(valkey.socket)}
        case _:
            return {}
