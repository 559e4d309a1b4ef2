"""One browser for a run, one daemon, a fresh context for each page."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.house import House
from tests.browser.support import Complaints

# Root has no sandbox, CI no GPU, and nothing may call home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000  # a page of ours takes a tenth of a second; the machine may be busy
expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium: the one of QUOTAFLOW_CHROMIUM, or on PATH. Without one the tests fail."""
    chromium = shutil.which(os.environ.get("QUOTAFLOW_CHROMIUM") or "chromium")
    assert chromium is not None, "no Chromium: scripts/test-browser finds or installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Run a daemon. All tests share it: each uses ids of its own."""
    with House() as house:
        yield house


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Give what the browser has complained about; nothing may be left at the end."""
    complaints = Complaints()
    yield complaints
    assert complaints.left() == []


@pytest.fixture
def open_page(browser: Browser, house: House, complaints: Complaints) -> Iterator[OpenPage]:
    """Open an empty page in a context of its own: `open_page(locale="zh-CN")`; Playwright's names of options.

    Addresses begin at the daemon: `page.goto("/docs")`.
    """
    contexts = []

    def open_one(**options: Any) -> Page:
        terms: dict[str, Any] = {"base_url": house.url, "locale": "en-US", "timezone_id": "UTC", **options}
        context = browser.new_context(**terms)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        complaints.watch(context)
        return context.new_page()

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """Open an empty page, in English, UTC, 1280 by 720."""
    return open_page()
