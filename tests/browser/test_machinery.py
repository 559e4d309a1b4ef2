"""The browser, the daemon and what watches over them, before any page is looked at."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.support import Complaints, axe, shot

NOWHERE = "127.0.0.2:1234"  # loopback, and not us
SHOW = "(html) => { document.querySelector('main').innerHTML = html }"


def test_the_docs_are_shown_and_everything_in_them_comes_from_this_machine(page: Page) -> None:
    page.goto("/docs")
    expect(page.locator(".swagger-ui .info .title")).to_contain_text("quotaflow")
    expect(page.get_by_text("/livez", exact=True)).to_be_visible()
    assert shot(page, "docs").stat().st_size > 0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("() => { console.error('canary') }", "console: canary"),
        ("() => { setTimeout(() => { throw new Error('canary') }) }", "uncaught: canary"),
    ],
)
def test_an_error_in_the_browser_is_heard(page: Page, complaints: Complaints, script: str, said: str) -> None:
    page.evaluate(script)
    complaints.expect(page, said)


@pytest.mark.parametrize(
    ("script", "url"),
    [
        (f"() => {{ fetch('http://{NOWHERE}').catch(() => 0) }}", f"http://{NOWHERE}"),
        (f"() => {{ new WebSocket('ws://{NOWHERE}') }}", f"ws://{NOWHERE}"),
    ],
)
def test_a_request_to_elsewhere_is_heard(page: Page, complaints: Complaints, script: str, url: str) -> None:
    page.evaluate(script)
    complaints.expect(page, f"leaves this machine: {url}")
    complaints.expect(page, "console: ")  # nobody is there


def test_the_content_policy_stops_a_page_but_not_the_look_for_what_shuts_people_out(
    page: Page, complaints: Complaints
) -> None:
    page.goto("/login")
    page.evaluate(SHOW, f"<iframe src='http://{NOWHERE}'></iframe>")
    complaints.expect(page, "Content Security Policy")
    page.evaluate(SHOW, "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='>")
    assert any(line.startswith("image-alt (critical)") for line in axe(page))
    page.evaluate(SHOW, "<p>Nothing to see</p>")
    assert not any(line.startswith("image-alt") for line in axe(page))
