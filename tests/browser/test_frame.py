"""What stands around every page: signing in, keyboard, language, the stream of events, a daemon that goes away."""

import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.house import House
from tests.browser.signing import LOOKS, come_in, sign_in
from tests.browser.support import Complaints, axe, shot
from tests.cli.support import Background
from tests.servers import ServerDirectory

PAGES = ("/", "/quotas", "/tasks", "/traces", "/tokens", "/upstream-keys")
# A stream of its own, until it has told twice: the page's own stream has told as often.
TWO_EVENTS = """new Promise((done) => {
    const source = new EventSource("/api/events");
    let told = 0;
    source.addEventListener("changed", () => { if (++told === 2) { source.close(); done(); } });
})"""


@pytest.fixture
def inside(page: Page, house: House) -> Page:
    """Be signed in, at the overview."""
    come_in(page, house.token).goto("/")
    return page


def test_who_is_not_signed_in_is_led_to_the_page_they_wanted(page: Page, house: House) -> None:
    page.goto("/traces?q=status:failed")
    assert "/login?next=" in page.url
    page.locator("input[name=token]").fill(house.token)
    page.keyboard.press("Enter")
    page.wait_for_url("**/traces?q=status:failed")


def test_a_wrong_token_is_said_and_the_page_shuts_nobody_out(
    page: Page, open_page: OpenPage, complaints: Complaints
) -> None:
    page.goto("/login")
    page.locator("input[name=token]").fill("not-it")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-invalid=true]")).to_be_visible()
    complaints.expect(page, "401")
    for look, options in LOOKS.items():
        form = open_page(**options)
        form.goto("/login")
        assert axe(form) == []
        shot(form, f"login-{look}")


def test_signing_out_leads_to_the_sign_in_and_the_pages_are_shut(inside: Page) -> None:
    inside.get_by_role("button", name="Sign out").click()
    inside.wait_for_url("**/login")
    inside.goto("/quotas")
    assert "/login" in inside.url


@pytest.mark.parametrize("path", ["/", "/operators"])
def test_an_open_page_leads_to_the_sign_in_when_the_session_is_over(
    inside: Page, complaints: Complaints, path: str
) -> None:
    inside.goto(path)
    assert inside.locator("section.live").count() == (0 if path == "/operators" else 1)
    expect(inside.locator("#live-state.on")).to_be_visible()
    headers = {"Sec-Fetch-Site": "same-origin"}
    left = inside.context.request.post("/logout", headers=headers, max_redirects=0)
    assert left.status == 303
    inside.wait_for_url(re.compile(r"/login\?next="))
    expect(inside.locator("input[name=token]")).to_be_visible()
    if complaints.left():  # the stream may have tried again before
        complaints.expect(inside, "401")


@pytest.fixture
def link() -> Iterator[str]:
    """Give the link that a demo prints."""
    directory = ServerDirectory("link")
    with Background("demo", "--port", "0", cwd=directory.path) as demo:
        demo.wait_for("/login?once=")
        found = re.search(r"http://\S+/login\?once=\S+", demo.out)
        assert found is not None
        yield found[0]
        assert demo.stop(signal.SIGINT) == 0, demo.out
    directory.end()


def test_a_link_leads_in_with_one_press_and_the_first_page_is_in_the_readers_zone(
    link: str,
    open_page: OpenPage,  # in this order: the page goes before the demo does
) -> None:
    page = open_page(timezone_id="Asia/Kathmandu")
    page.goto(link)
    assert axe(page) == []
    shot(page, "login-once")
    page.keyboard.press("Enter")
    expect(page.locator("header nav")).to_be_visible()
    moment = page.locator("time[title]").first
    expect(moment).to_be_visible()
    here, utc = (
        re.search(r"(\d\d):(\d\d):\d\d", text or "")
        for text in (moment.text_content(), moment.get_attribute("title"))
    )
    assert here is not None
    assert utc is not None
    apart = (int(here[1]) - int(utc[1])) * 60 + int(here[2]) - int(utc[2])
    assert apart % 1440 == 5 * 60 + 45


def test_two_keys_lead_to_a_page_and_one_finds_the_search(inside: Page) -> None:
    for keys, path in (
        ("gq", "/quotas"),
        ("gs", "/tasks"),
        ("gt", "/traces"),
        ("ga", "/tokens"),
        ("go", "/"),
    ):
        for key in keys:
            inside.keyboard.press(key)
        inside.wait_for_url(re.compile(f"{path}$"))
        expect(inside.locator(f'nav a[href="{path}"][aria-current=page]')).to_be_visible()
    inside.goto("/quotas")
    inside.keyboard.press("/")
    expect(inside.locator("[data-search]")).to_be_focused()
    inside.keyboard.type("gq?")
    expect(inside.locator("[data-search]")).to_have_value("gq?")
    inside.locator("h1").click()
    inside.keyboard.press("?")
    expect(inside.locator("#keys")).to_be_visible()
    assert axe(inside) == []
    inside.keyboard.press("Escape")
    expect(inside.locator("#keys")).not_to_be_visible()


def test_moving_between_pages_loads_no_file_twice_and_keeps_one_stream(inside: Page) -> None:
    expect(inside.locator("#live-state.on")).to_be_visible()
    asked: list[str] = []
    inside.on("request", lambda request: asked.append(request.url))
    inside.locator('nav a[href="/quotas"]').click()
    inside.wait_for_url("**/quotas")
    inside.locator('nav a[href="/traces"]').click()
    inside.wait_for_url("**/traces")
    expect(inside.locator("#live-state.on")).to_be_visible()
    assert [url for url in asked if ".js" in url or ".css" in url or "/api/events" in url] == []


def test_the_language_is_switched_on_the_page_and_kept(inside: Page) -> None:
    inside.goto("/quotas?q=x")
    inside.get_by_role("link", name="中文").click()
    expect(inside.locator("h1")).to_have_text("配额管理")
    assert inside.url.endswith("/quotas?q=x")
    inside.goto("/")
    expect(inside.locator('nav a[href="/"]')).to_have_text("概览")


def test_a_level_moves_by_itself_and_what_is_typed_is_not_disturbed(inside: Page, house: House) -> None:
    house.ask("POST", "/api/quotas", {"id": "moving", "capacity": 10, "refill_rate": 0})
    inside.goto("/quotas/moving")
    expect(inside.locator("#level b").first).to_have_text("10")
    inside.locator("summary", has_text="Edit").click()
    inside.locator("#edit-capacity").fill("77")
    house.ask("POST", "/api/quotas/moving/acquire", {"cost": 4})
    expect(inside.locator("#level .level b")).to_have_text("6")
    expect(inside.locator("#edit-capacity")).to_have_value("77")


def test_refreshing_is_paused_by_a_key_and_goes_on_by_it(inside: Page, house: House) -> None:
    house.ask("POST", "/api/quotas", {"id": "held", "capacity": 10, "refill_rate": 0})
    inside.goto("/quotas/held")
    expect(inside.locator("#live-state.on")).to_be_visible()
    inside.keyboard.press("r")
    expect(inside.locator("#live-state")).to_have_text("Paused")
    house.ask("POST", "/api/quotas/held/acquire", {"cost": 3})
    inside.evaluate(TWO_EVENTS)
    expect(inside.locator("#level .level b")).to_have_text("10")
    inside.keyboard.press("r")
    expect(inside.locator("#level .level b")).to_have_text("7")


def test_a_lost_connection_is_said_and_the_page_finds_the_daemon_again(
    inside: Page, house: House, complaints: Complaints
) -> None:
    house.ask("POST", "/api/quotas", {"id": "survivor", "capacity": 10, "refill_rate": 0})
    inside.goto("/quotas/survivor")
    expect(inside.locator("#live-state.on")).to_be_visible()
    with house.away():
        expect(inside.locator("#lost")).to_be_visible()
        expect(inside.locator("#live-state")).to_have_text("Not connected")
        expect(inside.locator("#undone")).not_to_be_visible()
        inside.get_by_role("button", name="Refill").click()
        expect(inside.locator("#undone")).to_be_visible()
        shot(inside, "lost")
    house.ask("POST", "/api/quotas/survivor/acquire", {"cost": 1})
    expect(inside.locator("#lost")).not_to_be_visible()
    expect(inside.locator("#level .level b")).to_have_text("9")
    complaints.expect(inside, "console: ")


def test_a_viewer_sees_every_page_and_no_button_that_changes_anything(
    open_page: OpenPage, house: House, complaints: Complaints
) -> None:
    made = house.ask("POST", "/api/operators", {"name": "viewer-1", "role": "viewer"}).json()
    page = come_in(open_page(), made["secret"])
    for path in (*PAGES, "/quotas/errands", "/tasks/nightly", "/operators"):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        forms = page.locator("main form[method=post]")
        assert forms.count() == 0, f"{path}: {forms.first.inner_html()}"
    refused = page.evaluate("fetch('/api/quotas/errands', {method: 'DELETE'}).then(answer => answer.status)")
    assert refused == 403
    complaints.expect(page, "403")


def test_pages_work_without_scripts(open_page: OpenPage, house: House) -> None:
    page = sign_in(open_page(java_script_enabled=False), house.token)
    for path in PAGES:
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
    page.goto("/quotas")
    page.locator("#new summary").click()
    page.locator("#bucket-id").fill("plain")
    page.locator("#bucket-capacity").fill("5")
    page.locator("#bucket-rate").fill("1")
    page.get_by_role("button", name="Create quota").first.click()
    expect(page.locator("h1")).to_contain_text("plain")
