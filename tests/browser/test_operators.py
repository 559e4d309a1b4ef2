"""Operators in a browser: one is made, signs in with the token that was shown once, and is revoked."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.errands import EVIL
from tests.browser.house import House
from tests.browser.signing import come_in, looks_well, sign_in
from tests.browser.support import Complaints, axe, shot


def test_an_operator_is_made_signs_in_looks_and_is_revoked(
    open_page: OpenPage, house: House, complaints: Complaints
) -> None:
    page = come_in(open_page(permissions=["clipboard-read", "clipboard-write"]), house.token)
    page.goto("/")
    page.locator("header .who a", has_text="admin").click()
    page.locator("#new summary").click()
    page.locator("#create-name").fill("admin")
    page.get_by_role("button", name="Create operator").click()
    expect(page.locator("#create-name-note")).to_have_text("an operator has the name 'admin'")
    assert axe(page) == []
    complaints.expect(page, "422")
    page.locator("#create-name").fill(EVIL)
    page.get_by_role("button", name="Create operator").click()
    secret = page.locator("#secret").inner_text()
    assert secret.startswith("qf_op_")
    assert axe(page) == []
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    shot(page, "operators-made")

    viewer = sign_in(open_page(), secret)
    viewer.goto("/operators")
    expect(viewer.locator("main")).to_contain_text("ask one of them")
    expect(viewer.locator("tbody tr").first).to_contain_text("you")
    assert axe(viewer) == []
    assert viewer.locator("main button").count() == 0
    assert viewer.locator("main img").count() == 0

    page.goto("/operators")
    assert secret not in page.content()
    page.locator("tbody tr").first.locator("summary", has_text="Revoke").click()  # the newest
    page.get_by_role("button", name="Revoke it").click()
    expect(page.locator(".done")).to_contain_text("The token is refused from now on")
    expect(page.locator("tbody tr", has_text="revoked").first).to_contain_text(EVIL)
    expect(viewer).to_have_url(re.compile("/login"))  # by itself


def test_the_operators_look_well_to_everybody(open_page: OpenPage, house: House) -> None:
    house.ask("POST", "/api/operators", {"name": "anna", "role": "admin"})
    looks_well(open_page, house, "/operators")
