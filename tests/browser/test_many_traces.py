"""The pages with 10,000 runs behind them: nothing is missing, nothing is slow to find, and new ones still come."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Batch, Trace
from quotaflow.store import Store
from tests.browser.conftest import OpenPage
from tests.browser.house import House
from tests.browser.signing import come_in, looks_well
from tests.browser.support import axe
from tests.servers import PATIENCE_S

MANY = 10_000
BATCH = 500
SECOND_US = 1_000_000


def old(number: int, now_us: int) -> Trace:
    """Make the row of a run that ended `number` seconds ago; every tenth was limited."""
    at_us, is_limited = now_us - number * SECOND_US, number % 10 == 0
    status, reason = (Status.LIMITED, Reason.LIMITED) if is_limited else (Status.OK, None)
    began_us = None if is_limited else at_us + 900
    return Trace(
        f"old-{number:05d}",
        "starved",
        Trigger.MANUAL,
        status,
        at_us,
        "dry",
        reason=reason,
        started_us=began_us,
        finished_us=at_us + 90_000,
    )


async def fill(store_file: Path) -> None:
    """Write them as the daemon would have."""
    store = await Store.open(f"sqlite+aiosqlite:///{store_file}", deadline_s=PATIENCE_S)
    now_us = time.time_ns() // 1000
    for first in range(1, MANY + 1, BATCH):
        await store.write_batch(Batch(closed=[old(first + n, now_us) for n in range(BATCH)]))
    await store.close()


@pytest.fixture(scope="module")
def busy() -> Iterator[House]:
    """Run a daemon that has seen much."""
    with House() as house:
        with house.away(), ThreadPoolExecutor() as threads:  # Playwright has the loop of this one
            threads.submit(asyncio.run, fill(house.home / "data" / "quotaflow.db")).result()
        yield house


def test_the_list_leads_from_the_newest_run_to_any_other(open_page: OpenPage, busy: House) -> None:
    page = come_in(open_page(base_url=busy.url), busy.token)
    page.goto("/traces")
    rows = page.locator("#runs tbody tr")
    expect(rows).to_have_count(ON_A_PAGE)
    expect(rows.first).to_have_id("run-old-00001")
    page.get_by_role("link", name="Older").click()
    expect(rows.first).to_have_id(f"run-old-{ON_A_PAGE + 1:05d}")
    page.get_by_role("link", name="Back to the newest").click()
    newest = busy.ask("POST", "/api/tasks/starved/trigger").json()["run_id"]
    expect(rows.first).to_have_id(f"run-{newest}")
    expect(rows).to_have_count(ON_A_PAGE)
    page.goto("/traces/old-10000")
    expect(page.locator("h1")).to_contain_text("limited")
    expect(page.locator(".why")).to_contain_text("the quota dry had less than that at that moment")


def test_all_of_them_are_counted_filtered_and_taken_along(open_page: OpenPage, busy: House) -> None:
    page = come_in(open_page(base_url=busy.url), busy.token)
    page.goto("/traces")
    page.locator("input[name=q]").fill("task:starved status:limited")
    page.keyboard.press("Enter")
    expect(page.locator("#runs tbody tr")).to_have_count(ON_A_PAGE)
    expect(page.locator("#runs tbody tr").first).to_have_id("run-old-00010")
    page.locator("details.lazy summary").click()
    expect(page.locator("#sums tbody tr")).to_have_count(1)
    expect(page.locator("#sums tbody tr")).to_contain_text("10,000")
    assert axe(page) == []
    assert taken_along(page) == [f"old-{number:05d}" for number in range(10, MANY + 1, 10)]


def taken_along(page: Page) -> list[str]:
    """Download what the filter finds."""
    with page.expect_download() as downloading:
        page.get_by_role("link", name="JSON Lines").click()
    lines = downloading.value.path().read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["run_id"] for line in lines]


def test_pages_about_many_runs_look_well_to_everybody(open_page: OpenPage, busy: House) -> None:
    def open_busy(**options: object) -> Page:
        return open_page(base_url=busy.url, **options)

    looks_well(open_busy, busy, "/traces", "/tasks/starved", "/")
