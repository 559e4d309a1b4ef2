"""The overview in a browser: it follows what happens, leads on, and looks well to everybody."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.house import House
from tests.browser.signing import come_in, looks_well

ROW = "#overview tbody tr"


def test_the_overview_follows_what_happens_and_leads_to_it(page: Page, house: House) -> None:
    assert house.ask("POST", "/api/quotas", {"id": "parched", "capacity": 1, "refill_rate": 0}).is_success
    come_in(page, house.token).goto("/")
    expect(page.locator("h1")).to_have_text("Overview")
    expect(page.locator("#overview .done")).to_contain_text("Ready")
    expect(page.locator(ROW, has_text="parched")).to_have_count(0)
    assert house.ask("POST", "/api/quotas/parched/acquire", {"cost": 1}).status_code == 200
    assert house.ask("POST", "/api/quotas/parched/acquire", {"cost": 1}).status_code == 429
    expect(page.locator(ROW, has_text="parched")).to_contain_text("it is used up")
    expect(page.locator("#overview .cards").first).to_contain_text(
        re.compile("Limited in the last hour[1-9]")
    )
    expect(page.locator("#chart-day canvas")).to_be_visible()
    expect(page.locator(ROW, has_text="this one")).to_contain_text("daemon")
    page.locator(f'{ROW} a[href^="/tasks/"]').first.click()
    expect(page).to_have_url(re.compile("/tasks/"))
    page.go_back()
    page.locator(ROW).get_by_role("link", name="parched").click()
    expect(page).to_have_url(f"{house.url}/quotas/parched")


def test_the_overview_looks_well_to_everybody(open_page: OpenPage, house: House) -> None:
    house.ask("POST", "/api/quotas", {"id": "low", "capacity": 10, "refill_rate": 0})
    house.ask("POST", "/api/quotas/low/acquire", {"cost": 9})
    looks_well(open_page, house, "/")
