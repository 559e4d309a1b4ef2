"""What a person does with access tokens in a browser: make one, copy its secret, see what it paid for, give it back."""

import re

import httpx
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.errands import EVIL
from tests.browser.house import House
from tests.browser.signing import looks_well, sign_in
from tests.browser.support import Complaints, axe, shot


def make(page: Page, ws_id: str, units: str) -> str:
    """Make a token and return its secret, from the clipboard."""
    page.goto("/tokens")  # a link would leave the old page, with its form, until the new one is there
    page.locator("#new summary").click()
    page.locator("#create-ws_id").fill(ws_id)
    page.locator("#create-email").fill("anna@example.com")
    page.locator("#create-total_quota").fill(units)
    page.locator("#create-days").fill("30")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("h1")).to_have_text("The token is made")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_token_is_made_used_refunded_changed_and_deleted(
    open_page: OpenPage, house: House, complaints: Complaints
) -> None:
    page = sign_in(open_page(permissions=["clipboard-read", "clipboard-write"]), house.token)
    page.goto("/tokens")
    page.locator("#new summary").click()
    page.locator("#create-ws_id").fill("walked")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#create-email-note")).to_have_text("Email is missing")
    expect(page.locator("#create-ws_id")).to_have_value("walked")
    complaints.expect(page, "422")
    assert axe(page) == []
    shot(page, "tokens-wrong")
    secret = make(page, "walked", "1,000")
    assert re.fullmatch(r"qf_[0-9A-Za-z]{43}[0-9a-f]{8}", secret)
    assert page.locator("#secret").inner_text() == secret
    assert axe(page) == []
    page.get_by_role("link", name="Look at the token").click()
    expect(page.locator("h1")).to_contain_text("walked")
    assert secret not in page.content()
    mine = {"authorization": f"Bearer {secret}"}
    paid = httpx.post(f"{house.url}/api/consume", json={"cost": 900, "request_id": "r-1"}, headers=mine)
    assert paid.status_code == 200
    expect(page.locator("#has .level")).to_have_class("level bad")  # by itself
    expect(page.locator("#consumption canvas")).to_be_visible()
    page.get_by_role("button", name="Give back").click()
    expect(page.locator(".done")).to_have_text("900 units went back to the token.")
    expect(page.locator("#has .level")).to_have_class("level good")
    expect(page.locator("#ledger tbody tr")).to_have_count(3)
    page.locator("summary", has_text="Recharge").click()
    page.locator("#recharge-amount").fill("500")
    page.get_by_role("button", name="Recharge").click()
    expect(page.locator("#has .level")).to_contain_text("1,500")
    page.locator("summary", has_text="Change until when").click()
    page.locator("#prolong-operation").select_option("set")
    page.locator("#prolong-specific_date").fill("2199-12-31T08:00")
    page.locator("details[open]").get_by_role("button", name="Save").click()
    expect(page.locator("#has")).to_contain_text("2199-12-31 08:00:00")
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#has .status").first).to_have_text("off")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "r-1" in download.value.path().read_text()
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator(".done")).to_contain_text("The token is deleted")


def test_the_token_pages_look_well_to_everybody(open_page: OpenPage, house: House) -> None:
    terms = {"ws_id": EVIL, "email": "anna@example.com", "operation": "add", "days": 30}
    made = house.ask("POST", "/api/tokens", {**terms, "quota_type": "count", "total_quota": 100}).json()
    house.ask("POST", "/api/tokens", {**terms, "rate_limit_per_minute": 60})
    mine = {"authorization": f"Bearer {made['secret']}"}
    for number in range(3):
        body = {"cost": 30, "request_id": f"look-{number}"}
        httpx.post(f"{house.url}/api/consume", json=body, headers=mine)
    looks_well(open_page, house, "/tokens", f"/tokens/{made['id']}")
