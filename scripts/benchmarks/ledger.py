"""`scripts/bench ledger`: charges with the full ledger behind them, a million rows already there."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.machine import describe
from benchmarks.measure import spread
from benchmarks.report import Report
from quotaflow import Quotaflow
from quotaflow.amounts import MICRO
from quotaflow.edges.cli.process import collect_seldom
from quotaflow.ids import Ids
from quotaflow.ledger import Action, LedgerEntry, QuotaType, Validity
from quotaflow.limiter.keys import JOURNAL
from quotaflow.records import Batch
from quotaflow.settings import Settings, load
from quotaflow.store import Store
from quotaflow.timing import SystemClock
from tests.servers import PostgresProcess, ValkeyProcess, wait_until

TOKENS = 1_000
ROWS = 1_000_000
PORTION = 5_000
WEEK_US = 7 * 86_400_000_000  # how old the old rows are
RATE = 8_000.0  # charges a second, what is asked for
# Name, callers who charge one after the other, or arrivals a second whatever became of those before.
LOADS = (("256 callers", 256, 0.0), ("64 callers", 64, 0.0), ("8,000 arrivals/s", 0, RATE))
UNITS = 1_000_000_000.0


async def fill(store: Store, subjects: list[str], rows: int) -> float:
    """Write old rows, as the flusher would have; returns rows per second."""
    ids, began = Ids(SystemClock()), time.perf_counter()
    seqs = dict.fromkeys(subjects, 1)
    for first in range(0, rows, PORTION):
        entries = []
        for number in range(first, first + PORTION):
            subject = subjects[number % len(subjects)]
            seqs[subject] += 1
            left = round(UNITS * MICRO) - (seqs[subject] - 1) * MICRO
            event = ids.next()
            moment = SystemClock().wall_us() - WEEK_US
            entries.append(
                LedgerEntry(
                    event,
                    subject,
                    Action.CONSUME,
                    left + MICRO,
                    -MICRO,
                    left,
                    1,
                    seqs[subject],
                    event,
                    None,
                    moment,
                )
            )
        await store.write_batch(Batch(ledger=entries))
    return rows / (time.perf_counter() - began)


class Load:
    """Charges tokens at random and measures."""

    def __init__(self, qf: Quotaflow, secrets: list[str]) -> None:
        self.qf = qf
        self.secrets = secrets
        self.waits_ms: list[float] = []
        self.lags_s: list[float] = []
        self.errors = 0

    async def charge(self, due_s: float) -> None:
        """Charge once; the wait counts from when it was due."""
        try:
            charge = await self.qf.tokens.consume(random.choice(self.secrets))
            assert charge.allowed
        except Exception:
            self.errors += 1
        self.waits_ms.append((time.perf_counter() - due_s) * 1e3)

    async def closed(self, seconds: float, callers: int) -> None:
        """Let callers charge one after the other."""
        end = time.perf_counter() + seconds

        async def caller() -> None:
            while (now := time.perf_counter()) < end:
                await self.charge(now)

        await asyncio.gather(*[caller() for _ in range(callers)])

    async def open(self, seconds: float, rate: float) -> None:
        """Let charges arrive at random moments, whatever became of those before."""
        loop, due = asyncio.get_running_loop(), time.perf_counter()
        end, asked = due + seconds, set[asyncio.Task[None]]()
        while due < end:
            due += random.expovariate(rate)
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            asked.add(loop.create_task(self.charge(due)))
        await asyncio.wait(asked)

    async def watch(self) -> None:
        """Look every 0.1 s how far SQL is behind."""
        while True:
            self.lags_s.append(await lag_s(self.qf))
            await asyncio.sleep(0.1)


async def lag_s(qf: Quotaflow) -> float:
    """Return the age of the oldest fact that is not in SQL."""
    entries = await qf._base.plain.xrange(JOURNAL, count=1)
    return time.time() - int(entries[0][0].split("-")[0]) / 1e3 if entries else 0.0


async def drained(qf: Quotaflow) -> float:
    """Wait until SQL has everything; returns the seconds it took."""
    began = time.perf_counter()
    while await qf._base.plain.xlen(JOURNAL):  # noqa: ASYNC110  another process empties it
        await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def prepare(settings: Settings, rows: int) -> tuple[list[str], float]:
    """Make tokens and their old rows; returns secrets, and rows per second."""
    async with Quotaflow.open(settings) as qf:
        made = [
            await qf.tokens.create(
                ws_id="bench",
                email="bench@example.com",
                validity=Validity("unlimited"),
                quota_type=QuotaType.COUNT,
                total_quota=UNITS,
            )
            for _ in range(TOKENS)
        ]
        await qf._storing.flusher.drain()  # type: ignore[union-attr]
        filled = await fill(qf.store, [view.token.id for view, _ in made], rows)
        qf._base.fence.lose("the old rows came past Redis")
        qf._base.fence._doubted = qf._base.fence.number
        await qf._base.fence.wait_ready(120)
        return [secret for _, secret in made], filled


@contextlib.contextmanager
def daemon(home: Path) -> Iterator[None]:
    """Run a daemon, which carries the journal to SQL, as it does where people run quotaflow."""
    words = [sys.executable, "-m", "quotaflow", "run", "--config", str(home / "config.toml")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("QUOTAFLOW_")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, cwd=home, env=environ, **quiet)  # type: ignore[call-overload]
    try:
        wait_until((home / "http.sock").exists, deadline_s=60)
        yield
    finally:
        process.terminate()
        process.wait()


async def measure(report: Report, store: str, settings: Settings, *, quick: bool) -> None:
    """Measure one database."""
    seconds, rows = (2.0, 50_000) if quick else (10.0, ROWS)
    secrets, filled = await prepare(settings, rows)
    report.figures[f"{store}: old rows/s"] = round(filled)
    found: dict[str, dict[str, object]] = {}
    with daemon(settings.data_dir):
        async with Quotaflow.open(settings) as qf:
            for name, callers, rate in LOADS:
                load = Load(qf, secrets)
                watching = asyncio.create_task(load.watch())
                began = time.perf_counter()
                await (load.closed(seconds, callers) if callers else load.open(seconds, rate))
                took = time.perf_counter() - began
                then = await drained(qf)
                watching.cancel()
                found[f"{store}, {name}"] = hold(report, f"{store}, {name}", load, took, then)
    report.show("charging with the ledger", found)
    async with Quotaflow.open(settings) as qf:
        audit = await qf.audit()
        report.at_most(f"{store}: ledger differences", len(audit.differences), 0)


def hold(report: Report, what: str, load: Load, took: float, then: float) -> dict[str, object]:
    """Hold what was found against the bars; returns it as a line. With 256 callers it is only told how much is possible."""
    waits, lag = spread(load.waits_ms), max(load.lags_s)
    if "256" not in what:
        report.at_most(f"{what}: P95", waits["p95"], 20, "ms")
        report.at_most(f"{what}: SQL behind", lag, 2, "s")
    if "callers" in what:
        report.at_least(f"{what}: charges/s", len(load.waits_ms) / took, RATE)
    report.at_most(f"{what}: errors", load.errors, 0)
    return {
        "charges/s": round(len(load.waits_ms) / took),
        "into SQL/s": round(len(load.waits_ms) / (took + then)),
        "p50 ms": waits["p50"],
        "p95 ms": waits["p95"],
        "max ms": waits["max"],
        "lag s": round(lag, 2),
        "errors": load.errors,
    }


def run(*, quick: bool, json_file: Path | None) -> int:
    """Measure both databases: the library here, a daemon that flushes beside it, servers where they find room."""
    report = Report(describe(), quick)
    for store in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as home, ValkeyProcess() as server:
            collect_seldom()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_one(report, store, Path(home), server.url, quick=quick))
    report.show_bars()
    if json_file is not None:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1


async def _one(report: Report, store: str, home: Path, redis_url: str, *, quick: bool) -> None:
    config = home / "config.toml"
    lines = [f'data_dir = "{home}"', "[http]", "port = 0", "[redis]", f'url = "{redis_url}"']
    if store == "sqlite":
        config.write_text("\n".join(lines))
        await measure(report, store, load(config, environ={}), quick=quick)
        return
    with PostgresProcess() as postgres:
        async with postgres.database() as url:
            config.write_text("\n".join([*lines, "[store]", f'url = "{url}"']))
            await measure(report, store, load(config, environ={}), quick=quick)
