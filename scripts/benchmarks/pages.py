"""`scripts/bench pages`: how soon a page shows something, and what goes over the wire, in a real browser.

A daemon with 1,000 quotas, 200 tasks, 10,000 traces, 100 access tokens and 100 upstream keys; each page is opened in a
browser that has never seen any of it. Needs Chromium and the dependency group `browser`: scripts/test-browser brings both.
"""

import asyncio
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.machine import describe
from benchmarks.measure import quantile
from benchmarks.report import Report
from quotaflow import Quotaflow
from quotaflow.examples.upstream_service import key_of
from quotaflow.ledger import QuotaType, Validity
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Batch, Trace
from quotaflow.settings import load
from quotaflow.upstream.vault import new_key
from tests.browser.conftest import ARGUMENTS
from tests.cli.support import Background

QUOTAS, TASKS, TRACES, TOKENS, KEYS = 1_000, 200, 10_000, 100, 100
FIRST_MS, WIRE_KB = 300, 100
TOKEN = "bench-admin-token-0123456789"  # noqa: S105  of a daemon that ends with the benchmark
SECOND_US = 1_000_000
PATHS = (
    "/",
    "/quotas",
    "/quotas/quota_0007",
    "/tasks",
    "/tasks/task_007",
    "/traces",
    "/traces?q=status:failed",
    "/tokens",
    "/upstream-keys",
    "/operators",
    "/login",
    "/livez",  # one word: what the browser needs for itself
)
REST_MS = (
    500  # before and after a visit: nobody opens a page while the last one closes and the tab is still made
)
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
STATUSES = (Status.OK,) * 7 + (Status.LIMITED, Status.LIMITED, Status.FAILED)


def config() -> str:
    quotas = "".join(
        f'[[quotas]]\nid = "quota_{number:04d}"\ncapacity = {number + 1}\nrefill_rate = 0.5\n'
        for number in range(QUOTAS)
    )
    return f'[tasks]\nmodules = ["benchmarks.page_tasks"]\n[upstream]\nrefresh_cron = ""\n{quotas}'


def traces(now_us: int) -> Iterator[Trace]:
    chance = random.Random(7)
    for number in range(TRACES):
        task, status = number % TASKS, chance.choice(STATUSES)
        at_us = now_us - number * 8 * SECOND_US  # the last 22 hours
        ran = status is not Status.LIMITED
        yield Trace(
            f"run_{number:05d}",
            f"task_{task:03d}",
            Trigger.MANUAL,
            status,
            at_us,
            f"quota_{task:04d}",
            started_us=at_us + 900 if ran else None,
            finished_us=at_us + 90_000 if ran else at_us,
            reason=None if ran else Reason.LIMITED,
            latency_ms=chance.uniform(1, 900) if ran else None,
            error_type="ConnectionError" if status is Status.FAILED else None,
            error="the bank hung up" if status is Status.FAILED else None,
        )


async def furnish(folder: Path, secret_key: str) -> None:
    """Fill the store before the daemon has it."""
    environ = {"QUOTAFLOW_UPSTREAM__SECRET_KEY": secret_key}
    settings = load(folder / "config.toml", environ=environ, data_dir=str(folder / "data"))
    async with Quotaflow.open(settings) as qf:
        now_us = time.time_ns() // 1000
        every = list(traces(now_us))
        for first in range(0, TRACES, 500):
            await qf.store.write_batch(Batch(closed=every[first : first + 500]))
        for number in range(TOKENS):
            await qf.tokens.create(
                ws_id=f"ws-{number % 9}",
                email=f"user{number}@example.com",
                validity=Validity("unlimited"),
                quota_type=QuotaType.COUNT,
                total_quota=1_000,
            )
        rows = "".join(f"tavily,{key_of(number)}\n" for number in range(KEYS))
        await qf.upstream.add_many(f"provider,secret\n{rows}")


def open_once(browser: Browser, url: str, path: str) -> tuple[float, float, float]:
    """Return first content and the end of loading in milliseconds, and kilobytes, of a first visit."""
    context = browser.new_context(base_url=url)
    if path not in ("/login", "/livez"):
        context.request.post("/login", form={"token": TOKEN}, headers={"Sec-Fetch-Site": "same-origin"})
    page = context.new_page()
    page.wait_for_timeout(REST_MS)
    received = _counted(page)
    page.goto(path, wait_until="load")
    page.wait_for_timeout(300)  # what a page fetches after it has loaded counts too
    while (first := page.evaluate(PAINTED)) is None:
        page.wait_for_timeout(50)
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    context.close()
    time.sleep(REST_MS / 1e3)
    return first, loaded, sum(received) / 1e3


def _counted(page: Page) -> list[float]:
    received: list[float] = []
    tools = page.context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    return received


def run(*, quick: bool, json_file: Path | None) -> int:
    """Measure; exit code 1 when a bar is missed."""
    report = Report(describe(), quick)
    chromium = shutil.which(os.environ.get("QUOTAFLOW_CHROMIUM") or "chromium")
    assert chromium is not None, "no Chromium: scripts/test-browser installs it"
    with tempfile.TemporaryDirectory(prefix="qf-pages-") as place:
        folder, secret_key = Path(place), new_key()
        (folder / "config.toml").write_text(config())
        asyncio.run(furnish(folder, secret_key))
        known = {"QUOTAFLOW_ADMIN_TOKEN": TOKEN, "QUOTAFLOW_UPSTREAM__SECRET_KEY": secret_key}
        where = ("--config", "config.toml", "--data-dir", "data", "--port", "0")
        scripts = str(Path(__file__).parents[1])
        with Background("run", *where, cwd=folder, PYTHONPATH=f"{Path.cwd()}:{scripts}", **known) as daemon:
            url = daemon.wait_ready()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                tell(report, browser, url, 5 if quick else 15)
                browser.close()
            daemon.stop()
    report.show_bars()
    if json_file:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1


def tell(report: Report, browser: Browser, url: str, rounds: int) -> None:
    """Open the pages in turns, and hold what was found against the promises."""
    found: dict[str, list[tuple[float, float, float]]] = {path: [] for path in PATHS}
    open_once(browser, url, "/login")  # the browser's own first page
    for _ in range(rounds):
        for path in PATHS:
            found[path].append(open_once(browser, url, path))
    shown: dict[str, dict[str, Any]] = {}
    for path, visits in found.items():
        first, loaded, wire = zip(*visits, strict=True)
        shown[path] = {
            "first content ms": statistics.median(first),
            "P95 ms": quantile(first, 0.95),
            "loaded ms": statistics.median(loaded),
            "kB": max(wire),
        }
        report.at_most(f"{path} first content, median", statistics.median(first), FIRST_MS, "ms")
        report.at_most(f"{path} over the wire", max(wire), WIRE_KB, "kB")
    report.show("page", shown)
