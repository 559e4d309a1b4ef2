"""Decisions per second and their lateness, ours and the peers in turn, server on one core and client on the other.

Keys are random for each decision.
"""

import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path

import uvloop

from benchmarks.deciders import DECIDERS, OURS, PEERS, Decide
from benchmarks.machine import describe, pin
from benchmarks.report import Report
from quotaflow.edges.cli.process import collect_seldom
from tests.servers import ValkeyProcess

PORT = 16_399
KEYS = 10_000
TURN_S = 0.25  # short: a machine that others use as well has another speed every few seconds
SHAPES = ((1, 1), (1, 10_000), (32, 1), (32, 10_000), (256, 1), (256, 10_000))  # callers, keys


@cache
def drawn(keys: int) -> Iterator[str]:
    """Draw random keys before anything is measured; drawing takes as long as a tenth of a decision."""
    return itertools.cycle([str(random.randrange(keys)) for _ in range(200_000)])


async def closed_loop(decide: Decide, callers: int, keys: int, seconds: float) -> tuple[float, float, float]:
    """Let so many callers ask again as soon as they are answered; returns decisions a second, median and P95 in ms."""
    took: list[float] = []
    random_keys = drawn(keys)
    began = time.perf_counter()
    until = began + seconds

    async def caller() -> None:
        now = time.perf_counter()
        while now < until:
            await decide(next(random_keys))
            asked, now = now, time.perf_counter()
            took.append(now - asked)

    await asyncio.gather(*[caller() for _ in range(callers)])
    rate = len(took) / (time.perf_counter() - began)
    took.sort()
    return rate, took[len(took) // 2] * 1e3, took[int(len(took) * 0.95)] * 1e3


async def open_loop(decide: Decide, arrivals: int, seconds: float) -> tuple[float, float, int]:
    """Let callers arrive at a fixed rate, whatever happens; returns median and P95 from arrival in ms, and errors."""
    took: list[float] = []
    errors = 0
    running: set[asyncio.Task[None]] = set()
    random_keys = drawn(KEYS)

    async def one(due: float) -> None:
        nonlocal errors
        try:
            await decide(next(random_keys))
        except Exception:
            errors += 1
        took.append(time.perf_counter() - due)

    began = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - began) < seconds:
        due = int(now * arrivals)
        for number in range(sent, due):
            task = asyncio.create_task(one(began + number / arrivals))
            running.add(task)
            task.add_done_callback(running.discard)
        sent = due
        await asyncio.sleep(0.001)
    if running:
        await asyncio.wait(set(running), timeout=30)
    took.sort()
    return took[len(took) // 2] * 1e3, took[int(len(took) * 0.95)] * 1e3, errors


async def measure(report: Report, url: str, rounds: int) -> None:
    """Measure every shape with everybody in turn, round by round."""
    async with AsyncExitStack() as stack:
        deciders = {
            name: await stack.enter_async_context(make(url, Path(tempfile.mkdtemp())))
            for name, make in DECIDERS.items()
        }
        for callers, keys in SHAPES:
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in DECIDERS}
            for _ in range(rounds):
                for name, decide in deciders.items():
                    found[name].append(await closed_loop(decide, callers, keys, TURN_S))
            _tell(report, callers, keys, found)
        await measure_arrivals(report, deciders, rounds * TURN_S)


async def measure_arrivals(report: Report, deciders: Mapping[str, Decide], seconds: float) -> None:
    """Measure what callers wait who arrive at a rate of their own."""
    figures: dict[str, dict[str, object]] = {}
    for arrivals, limit_ms in ((8_000, 10), (40_000, 25)):
        median, p95, errors = await open_loop(deciders[OURS], arrivals, seconds)
        figures[f"{OURS}, {arrivals:,}/s"] = {"median ms": median, "P95 ms": p95, "errors": errors}
        report.at_most(f"open loop at {arrivals:,}/s: P95", p95, limit_ms, "ms")
        report.at_most(f"open loop at {arrivals:,}/s: errors", errors, 0)
    for name in PEERS:
        median, p95, errors = await open_loop(deciders[name], 8_000, seconds / 2)
        figures[f"{name}, 8,000/s"] = {"median ms": median, "P95 ms": p95, "errors": errors}
    report.show("open loop", figures)


def _tell(
    report: Report, callers: int, keys: int, found: dict[str, list[tuple[float, float, float]]]
) -> None:
    middle = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in found.items()
    }
    best = max(middle[name][0] for name in PEERS)
    report.show(
        f"{callers} callers, {keys:,} keys",
        {
            name: {
                "per second": rate,
                "median ms": median,
                "P95 ms": p95,
                "x best peer": rate / best,
                "x bare EVALSHA": rate / middle["bare EVALSHA"][0],
            }
            for name, (rate, median, p95) in middle.items()
        },
    )
    least = {(256, 10_000): 10.0, (32, 10_000): 5.0, (1, 10_000): 1.0}.get((callers, keys))
    if least is not None:
        report.at_least(
            f"{callers} callers x {keys:,} keys, against the best peer", middle[OURS][0] / best, least, "x"
        )


async def main(*, quick: bool, json_file: Path | None) -> int:
    """Measure; exit code 1 when a bar is not reached."""
    report = Report(describe(), quick)
    collect_seldom()  # as the daemon does; it helps the peers as well
    with ValkeyProcess(port=str(PORT)) as server:
        pin(server.pid, 0)
        pin(0, 1)
        await measure(report, f"redis://127.0.0.1:{PORT}", 2 if quick else 24)
    report.show_bars()
    if json_file:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1


def run(*, quick: bool, json_file: Path | None) -> int:
    """Run on uvloop, as the daemon does."""
    return uvloop.run(main(quick=quick, json_file=json_file))
