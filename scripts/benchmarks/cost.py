"""CPU of one firing up to the claimed grant, ours and the server's; the runner and the journal are not there."""

import asyncio
import statistics
import tempfile
import time

from benchmarks.children import Child, child
from benchmarks.expressions import EVERY_SECOND
from benchmarks.measure import cpu_s, medians
from benchmarks.report import Report
from tests.servers import ValkeyProcess

TASKS = 1_000
EXPRESSIONS = 200
ASKED_US = 60


async def measure(report: Report) -> None:
    """Claim for some seconds, without and with a quota, in turns."""
    rounds, seconds = (1, 4) if report.quick else (3, 8)
    found: dict[str, list[dict[str, float]]] = {"without a quota": [], "each under a quota": []}
    for _ in range(rounds):
        found["without a quota"].append(await _once(seconds, limited_every=0))
        found["each under a quota"].append(await _once(seconds, limited_every=1))
    middle = {kind: medians(figures) for kind, figures in found.items()}
    title = f"CPU of a claim, {TASKS:,} a second, {EXPRESSIONS} expressions"
    report.show(title, {name: dict(row) for name, row in middle.items()})
    worst = max(statistics.median(row["our us/claim"] for row in rows) for rows in found.values())
    report.at_most("cost: our CPU per claim", worst, ASKED_US, "us")


async def _once(seconds: int, *, limited_every: int) -> dict[str, float]:
    with ValkeyProcess() as valkey, tempfile.TemporaryDirectory() as folder, valkey.client() as client:
        settings = {"data_dir": folder, "redis__url": valkey.url}
        crons = EVERY_SECOND[:EXPRESSIONS]
        async with child("claiming", settings=settings, crons=crons, tasks=0, limited_every=0) as idle:
            resting_s = (await _spent(idle, seconds=3))["cpu_s"] / 3
        work = {"crons": crons, "tasks": TASKS, "limited_every": limited_every}
        async with child("claiming", settings=settings, **work) as claiming:
            before_s = cpu_s(client)
            spent = await _spent(claiming, seconds=seconds)
            granted = spent["granted"]
            server_us = (cpu_s(client) - before_s) / granted * 1e6
    return {
        "our us/claim": (spent["cpu_s"] - resting_s * seconds) / granted * 1e6,
        "server us/claim": server_us,
        "idle us/s": resting_s * 1e6,
        "granted": granted,
    }


async def _spent(process: Child, seconds: int) -> dict[str, float]:
    """Return by how much each figure grew, from the middle of one second to the middle of a later one."""
    await asyncio.sleep(2.6 - time.time() % 1)
    before = await process.ask("figures")
    await asyncio.sleep(seconds)
    after = await process.ask("figures")
    return {name: after[name] - before[name] for name in ("cpu_s", "granted")}
