"""What a person does with quotas in a browser, from the first one to finding out why something was refused."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.errands import EVIL
from tests.browser.house import House
from tests.browser.signing import come_in, looks_well
from tests.browser.support import Complaints, axe, shot

LONG = "q" * 128  # the longest id there may be


def create(page: Page, quota_id: str, capacity: str, rate: str) -> None:
    page.goto("/quotas")
    page.locator("#new summary").click()
    page.locator("#bucket-id").fill(quota_id)
    page.locator("#bucket-capacity").fill(capacity)
    page.locator("#bucket-rate").fill(rate)
    page.get_by_role("button", name="Create quota").first.click()


def test_a_quota_is_made_mended_used_and_deleted_and_the_deletion_undone(
    page: Page, house: House, complaints: Complaints
) -> None:
    come_in(page, house.token)
    create(page, "walked", "many", "1")
    expect(page.locator("#bucket-capacity-note")).to_have_text("Capacity must be a number")
    expect(page.locator("#bucket-id")).to_have_value("walked")
    assert axe(page) == []
    shot(page, "quotas-wrong")
    complaints.expect(page, "422")
    page.locator("#bucket-capacity").fill("10")
    page.get_by_role("button", name="Create quota").first.click()
    expect(page.locator(".done")).to_have_text("The quota walked is in force.")
    house.ask("POST", "/api/quotas/walked/acquire", {"cost": 9})
    expect(page.locator("#level .level")).to_have_class("level bad")
    expect(page.locator("#level-history canvas")).to_be_visible()
    expect(page.locator("#decision-history canvas")).to_be_visible()
    shot(page, "quota-used")
    page.get_by_role("button", name="Refill").click()
    expect(page.locator(".done")).to_have_text("The quota is full again.")
    expect(page.locator("#level .level")).to_have_class("level good")
    page.locator("summary", has_text="Edit").click()
    page.locator("#edit-capacity").fill("20")
    page.get_by_role("button", name="Save").first.click()
    expect(page.locator("#level .level")).to_contain_text("/ 20")
    page.get_by_role("button", name="Disable").click()
    expect(page.locator("h1")).to_contain_text("disabled")
    page.get_by_role("button", name="Enable").click()
    expect(page.locator("h1")).to_contain_text("enabled")
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator(".done")).to_have_text("The quota walked is deleted.")
    page.get_by_role("button", name="Undo").first.click()
    expect(page.locator(".done")).to_have_text("The change was taken back.")
    assert house.ask("GET", "/api/quotas/walked").json()["capacity"] == 20


def test_the_page_of_a_quota_that_somebody_deleted_says_so(
    page: Page, house: House, complaints: Complaints
) -> None:
    come_in(page, house.token)
    house.ask("POST", "/api/quotas", {"id": "brief", "capacity": 1, "refill_rate": 0})
    page.goto("/quotas/brief")
    expect(page.locator("#live-state.on")).to_be_visible()
    house.ask("DELETE", "/api/quotas/brief")
    expect(page.locator("main")).to_contain_text("no quota has the id")
    expect(page.locator("section.live")).to_have_count(0)
    complaints.expect(page, "404")


def test_who_never_saw_it_finds_out_why_a_task_was_limited(page: Page, house: House) -> None:
    """Create a quota, run the task under it twice, follow the links."""
    come_in(page, house.token)
    create(page, "newcomers", "1", "0")
    expect(page.locator("h1")).to_contain_text("newcomers")
    page.locator('nav a[href="/tasks"]').click()
    page.get_by_role("link", name="Under newcomers").first.click()
    expect(page.locator("h1")).to_have_text("Under newcomers")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".answer")).to_contain_text("The run was let through")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".answer")).to_contain_text("refused: not enough units at that moment")
    page.get_by_role("link", name="Trace of this run").click()
    expect(page.locator("main")).to_contain_text("newcomers")
    expect(page.locator("main")).to_contain_text("limited")
    shot(page, "run-refused")
    page.locator("main").get_by_role("link", name="newcomers").first.click()
    expect(page.locator("#refusals tbody tr").first).to_contain_text("not enough units at that moment")
    shot(page, "quota-refused")


def test_a_hostile_name_is_only_a_name_on_every_page(page: Page, house: House) -> None:
    come_in(page, house.token)
    house.ask("POST", "/api/quotas", {"id": EVIL, "capacity": 1, "refill_rate": 0})
    for path in ("/", "/quotas", "/tasks", "/traces", "/tasks/errand%2F1"):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        assert page.locator("main img[src=x]").count() == 0
        assert page.title() != "caught"


def test_the_quota_pages_look_well_to_everybody(open_page: OpenPage, house: House) -> None:
    house.ask("POST", "/api/quotas", {"id": LONG, "capacity": 1, "refill_rate": 1})
    for cost, name in ((0, "green"), (7, "yellow"), (9, "red")):
        house.ask("POST", "/api/quotas", {"id": name, "capacity": 10, "refill_rate": 0})
        house.ask("POST", f"/api/quotas/{name}/acquire", {"cost": cost})
    looks_well(open_page, house, "/quotas", "/quotas/errands", f"/quotas/{LONG}")
