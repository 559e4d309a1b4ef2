"""`scripts/bench refresh`: the balances of all upstream keys, ours beside one key after the other, in the same run.

The service is the stand-in in a process of its own, 200 ms a call. `qf.upstream.refresh()` runs in a process of its own
too, so that its first call pays for everything a first call pays for.
"""

import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.children import Answer, Child, child
from benchmarks.machine import describe
from benchmarks.measure import quantile
from benchmarks.report import Report
from quotaflow import Quotaflow
from quotaflow.examples.upstream_service import key_of
from quotaflow.settings import load
from quotaflow.upstream.vault import new_key
from tests.processes.stand_in import stand_in
from tests.servers import PostgresProcess, ValkeyProcess

LATENCY_MS = 200
DEADLINE_S = 120.0
CONFIG = """
data_dir = "{folder}"
[redis]
url = "{redis}"
[store]
url = "{store}"
[upstream]
concurrency = {concurrency}
refresh_cron = ""
[[upstream.providers]]
name = "tavily"
kind = "tavily"
url = "{service}/usage"
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many keys, how many calls at once, and the promises."""

    keys: int
    concurrency: int
    limit_s: float
    in_a_row: int  # refreshes between two runs of the serial version


SIZES = (Size(100, 100, 0.6, 5), Size(1_000, 50, 6.0, 3))
LEAST_RATIO = 50.0  # to one after the other; 50 calls at once of 200 ms reach 56 at most


@dataclass(frozen=True, slots=True)
class Found:
    """What the refreshing process answered."""

    cold: Answer
    warm: list[Answer]
    serial_s: list[float]  # per key

    @property
    def took_s(self) -> list[float]:
        return [one["took_s"] for one in self.warm]


@asynccontextmanager
async def refresher(folder: Path, size: Size, **places: str) -> AsyncIterator[Child]:
    """Store the keys, have their balances, and start the process that refreshes them."""
    config, secret_key = folder / "config.toml", new_key()
    config.write_text(CONFIG.format(folder=folder, concurrency=size.concurrency, **places))
    async with Quotaflow.open(
        load(config, environ={"QUOTAFLOW_UPSTREAM__SECRET_KEY": secret_key})
    ) as qf:  # closed before the other one opens: a SQLite file has one process
        rows = "".join(f"tavily,{key_of(number)}\n" for number in range(size.keys))
        assert (await qf.upstream.add_many(f"provider,secret\n{rows}")).success == size.keys
        for check in [*qf.upstream._refresher._checks]:
            await check
    async with child("refreshing", config=str(config), secret_key=secret_key) as started:
        yield started


async def measure(process: Child, size: Size, *, quick: bool) -> Found:
    """Refresh some times, then one key after the other, and so on in turns."""
    serial_keys, turns, in_a_row = (20, 1, 2) if quick else (100, 2, size.in_a_row)
    found = Found(await process.ask("refresh", DEADLINE_S), [], [])
    for turn in range(turns + 1):
        found.warm.extend([await process.ask("refresh", DEADLINE_S) for _ in range(in_a_row)])
        if turn < turns:
            serial = await process.ask(f"serial {serial_keys}", DEADLINE_S)
            found.serial_s.append(serial["took_s"] / serial_keys)
    return found


def tell(report: Report, name: str, size: Size, found: Found) -> None:
    """Show the figures, where the time went, and hold them against the promises."""
    title = f"{name}, {size.keys:,} keys, {size.concurrency} at once"
    median_s, serial_s = statistics.median(found.took_s), statistics.median(found.serial_s)
    ratio = serial_s * size.keys / median_s
    figures = {
        "first s": found.cold["took_s"],
        "median s": median_s,
        "P95 s": quantile(found.took_s, 0.95),
        "serial ms a key": serial_s * 1e3,
        "ours is x": ratio,
    }
    report.show(title, {"refresh": figures})
    stages = {
        stage: statistics.median(one["stages_ms"][stage] for one in found.warm)
        for stage in found.warm[0]["stages_ms"]
    }
    report.show(f"{title}: where the time went", {"ms": dict(stages)})
    counted = [found.cold, *found.warm]
    selects, writing = (
        max(one[word] for one in counted if one[word] is not None) for word in ("selects", "writing")
    )
    report.at_most(f"{title}: median", median_s, size.limit_s, "s")
    report.at_most(f"{title}: selects on upstream_keys", selects, 1)
    report.at_most(f"{title}: transactions that wrote", writing, 1)
    report.at_least(f"{title}: as fast as one after the other, times", ratio, LEAST_RATIO)


async def main(*, quick: bool, json_file: Path | None) -> int:
    """Measure both databases with both sizes."""
    report = Report(describe(), quick)
    arguments = ("--keys", str(max(size.keys for size in SIZES)), "--latency-ms", str(LATENCY_MS))
    with tempfile.TemporaryDirectory() as where, ValkeyProcess() as valkey, PostgresProcess() as postgres:
        async with stand_in(*arguments) as service:
            for size in SIZES:
                for name in ("SQLite", "PostgreSQL"):
                    valkey.clear()
                    folder = Path(where) / f"{name}-{size.keys}"
                    folder.mkdir()
                    async with postgres.database() as url:
                        store = url if name == "PostgreSQL" else f"sqlite+aiosqlite:///{folder}/store.db"
                        async with refresher(
                            folder, size, redis=valkey.url, store=store, service=service.url
                        ) as process:
                            found = await measure(process, size, quick=quick)
                    tell(report, name, size, found)
    report.show_bars()
    print(f"\n{report.machine}")
    if json_file:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1


def run(*, quick: bool, json_file: Path | None) -> int:
    """Run on uvloop, as the daemon does."""
    return uvloop.run(main(quick=quick, json_file=json_file))
