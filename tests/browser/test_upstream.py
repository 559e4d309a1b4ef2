"""What a person does with upstream keys in a browser: add, import, refresh and watch, forget."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from quotaflow.examples.upstream_service import Account, Behaviour, UpstreamService
from quotaflow.upstream.vault import new_key
from tests.browser.conftest import OpenPage
from tests.browser.house import House
from tests.browser.signing import looks_well, sign_in
from tests.browser.support import Complaints, axe, shot

SECRETS = [f"tvly-canary-{number:020d}" for number in range(6)]
SERVICE = UpstreamService({secret: Account(100, used) for used, secret in enumerate(SECRETS)})
CONFIG = """
[upstream]
attempts = 1
[[upstream.providers]]
name = "search"
kind = "tavily"
url = "{url}/usage"
[[quotas]]
id = "searches"
kind = "allowance"
mirrors = "search"
"""


@contextlib.contextmanager
def listening() -> Iterator[str]:
    """Run the service in a thread: the tests of a browser have no event loop."""
    loop, url, end = asyncio.new_event_loop(), [""], asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with SERVICE.listening() as url[0]:
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield url[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with listening() as url, House(CONFIG.format(url=url), QUOTAFLOW_UPSTREAM__SECRET_KEY=new_key()) as house:
        yield house


def test_keys_are_added_imported_refreshed_and_forgotten(
    page: Page, house: House, complaints: Complaints
) -> None:
    sign_in(page, house.token)
    page.goto("/upstream-keys")
    page.locator("summary", has_text="Add a key").click()
    page.locator("#add-provider").select_option("search")
    page.locator("#add-name").fill("team A")
    page.locator("#add-secret").fill("env:NOT_THERE_AT_ALL")
    page.get_by_role("button", name="Add key").click()
    expect(page.locator("#add-secret-note")).to_contain_text("NOT_THERE_AT_ALL")
    expect(page.locator("#add-secret")).to_have_value("")
    expect(page.locator("#add-name")).to_have_value("team A")
    complaints.expect(page, "422")
    assert axe(page) == []
    page.locator("#add-secret").fill(SECRETS[0])
    page.get_by_role("button", name="Add key").click()
    expect(page.locator(".done")).to_have_text("The key team A is stored.")
    expect(page.locator("#key .level")).to_contain_text("100 / 100")
    page.goto("/upstream-keys")
    page.locator("summary", has_text="Import many").click()
    rows = "".join(f"search,{secret},key {number}\n" for number, secret in enumerate(SECRETS))
    page.locator("#import-rows").fill(f"provider,secret,name\n{rows}")
    page.get_by_role("button", name="Import").click()
    expect(page.locator("main")).to_contain_text("Keys stored: 5. Rows not stored: 1, because")
    complaints.expect(page, "422")
    assert axe(page) == []
    assert not [secret for secret in SECRETS if secret in page.content()]
    shot(page, "upstream-imported")

    SERVICE.behave(SECRETS, Behaviour(slow_s=1.5))
    SERVICE.behave(SECRETS[:1], Behaviour("revoked"))
    page.get_by_role("button", name="Refresh all").click()
    expect(page.locator("#refresh progress")).to_be_visible()
    expect(page.get_by_role("link", name="Look again")).to_be_visible()
    shot(page, "upstream-refreshing")
    expect(page.locator("#refresh")).to_contain_text("5 answered, 1 in vain")  # by itself
    expect(page.locator("#refresh progress")).to_have_count(0)
    expect(page.locator("#refresh tbody tr")).to_contain_text("401")
    SERVICE.behave(SECRETS, Behaviour())
    page.locator("#refresh").get_by_role("link", name="team A").click()
    expect(page.locator("#key .status").first).to_have_text("invalid")
    page.locator("summary", has_text="Remove").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.locator(".done")).to_have_text("The key team A is forgotten.")
    expect(page.locator("#pools")).to_contain_text("searches")


def test_the_pages_of_upstream_keys_look_well_to_everybody(open_page: OpenPage, house: House) -> None:
    made = house.ask("POST", "/api/upstream-keys", {"provider": "search", "secret": SECRETS[0]}).json()
    looks_well(open_page, house, "/upstream-keys", f"/upstream-keys/{made['id']}")
