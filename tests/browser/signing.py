"""Signing in, and the looks of a page in which every test of pages is interested."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.house import House
from tests.browser.support import axe, shot

# Themes, languages and widths do not depend on each other: two looks have all of them.
LOOKS: dict[str, dict[str, object]] = {
    "light": {},
    "dark": {
        "color_scheme": "dark",
        "locale": "zh-CN",
        "timezone_id": "Asia/Shanghai",
        "viewport": {"width": 390, "height": 800},
        "has_touch": True,
    },
}


def sign_in(page: Page, token: str) -> Page:
    """Sign in as a person does."""
    page.goto("/login")
    page.locator("input[name=token]").fill(token)
    page.locator("main button").click()
    expect(page.locator("header nav")).to_be_visible()
    return page


def come_in(page: Page, token: str) -> Page:
    """Sign in without looking at the form."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = page.context.request.post("/login", form={"token": token}, headers=headers, max_redirects=0)
    assert answer.status == 303
    return page


def looks_well(open_page: OpenPage, house: House, *paths: str) -> None:
    """Look at pages in every look: nothing shuts anybody out, nothing is wider than the screen; keep pictures."""
    for look, options in LOOKS.items():
        page = come_in(open_page(**options), house.token)
        for path in paths:
            page.goto(path)
            expect(page.locator("h1")).to_be_visible()
            assert axe(page) == [], f"{path} {look}"
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, f"{path} {look} is {wide} px wider than the screen"
            shot(page, f"{re.sub('[^a-z0-9-]+', '_', path.strip('/')) or 'overview'}-{look}")
        page.context.close()
