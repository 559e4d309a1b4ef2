"""`scripts/bench schedule`: lateness, exactness, throughput, CPU and memory of ticks, and two peers beside us."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks import burst, cost, machine, peers, together, weight
from benchmarks.report import Report

Scenario = Callable[[Report], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    "together": together.measure,  # three daemons, 1,000 ticks a second
    "burst": burst.measure,  # one daemon, 10,000 ticks in one second
    "cost": cost.measure,  # CPU of a claim
    "memory": weight.measure,  # bytes of a schedule
    "peers": peers.measure,  # APScheduler and arq doing the same
}


async def main(names: Sequence[str], *, quick: bool, json_file: Path | None) -> int:
    """Run the scenarios one after the other; 1 when a bar is not reached."""
    report = Report(machine=machine.describe(), quick=quick)
    print("\n".join(f"{name}: {value}" for name, value in report.machine.items()))
    for name in names:
        await SCENARIOS[name](report)
        await asyncio.sleep(1)
    report.show_bars()
    if json_file is not None:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1
