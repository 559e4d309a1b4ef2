"""What a person does with tasks in a browser: run them, have them rest, change when they run."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.errands import EVIL
from tests.browser.house import House
from tests.browser.signing import come_in, looks_well
from tests.browser.support import Complaints, axe, shot


def test_a_task_is_paused_skipped_and_run(page: Page, house: House) -> None:
    come_in(page, house.token)
    page.goto("/tasks")
    page.locator("[data-search]").fill("nightly")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#schedule tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".done")).to_have_text("The task Nightly 每晚 is paused.")
    expect(page.locator("#schedule tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".done")).to_have_text("The task Nightly 每晚 goes on.")
    page.get_by_role("button", name="Skip next").click()
    expect(page.locator("#schedule tbody")).to_contain_text("is skipped")
    page.get_by_role("button", name="Do not skip").click()
    expect(page.locator("#schedule tbody")).not_to_contain_text("is skipped")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".answer")).to_contain_text("The run was let through")
    strip = page.locator("#state .strip a")
    expect(strip.last).to_have_accessible_name(re.compile("^ok, "))


def test_a_schedule_is_looked_at_before_it_is_changed_and_the_change_undone(
    page: Page, house: House, complaints: Complaints
) -> None:
    come_in(page, house.token)
    page.goto("/tasks/nightly")
    page.locator("#cron summary").click()
    page.locator("#cron-cron").fill("61 * * * *")
    page.get_by_role("button", name="Show what it means").click()
    expect(page.locator("#cron-cron-note")).to_have_text(
        'Cron expression "61 * * * *": minute 61 is not in 0-59'
    )
    expect(page.locator("#cron-cron")).to_have_value("61 * * * *")
    complaints.expect(page, "422")
    page.locator("#cron-cron").fill("*/30 9-17 * * mon-fri")
    page.get_by_role("button", name="Show what it means").click()
    expect(page.locator("#preview")).to_contain_text(
        "Every 30 minutes, between 09:00 and 17:59, Monday through"
    )
    assert axe(page) == []
    shot(page, "task-preview")
    page.goto("/tasks/nightly")
    page.locator("#cron summary").click()
    page.locator("#cron-cron").fill("*/30 9-17 * * mon-fri")
    page.locator("#cron").get_by_role("button", name="Save").click()
    expect(page.locator(".done")).to_have_text("The task Nightly 每晚 runs by its new expression.")
    expect(page.locator("#state")).to_contain_text("changed here")
    page.get_by_role("button", name="Undo").first.click()
    expect(page.locator(".done")).to_have_text("The change was taken back.")
    expect(page.locator("#state")).not_to_contain_text("changed here")


def test_a_refusal_leads_to_its_trace_and_its_quota(page: Page, house: House) -> None:
    house.ask("POST", "/api/quotas/dry/acquire", {"cost": 1})
    come_in(page, house.token)
    page.goto("/tasks/starved")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".answer")).to_contain_text("The run was refused: not enough units at that moment.")
    shot(page, "task-refused")
    expect(page.locator("#state .strip a").last).to_have_class("s-limited")
    page.get_by_role("link", name="Its quota").click()
    expect(page.locator("h1")).to_contain_text("dry")


def test_what_is_typed_stays_while_the_page_refreshes(page: Page, house: House) -> None:
    come_in(page, house.token)
    page.goto("/tasks/errand%2F1")
    expect(page.locator("h1")).to_have_text(EVIL)
    page.locator("#run summary").click()
    page.locator("#run-args").fill("[1")
    house.ask("POST", "/api/tasks/errand%2F1/trigger")
    expect(page.locator("#state .strip a")).to_have_count(1)
    expect(page.locator("#run-args")).to_have_value("[1")
    expect(page.locator("#run-args")).to_be_visible()


def test_the_schedule_looks_well_in_every_look(open_page: OpenPage, house: House) -> None:
    house.ask("PATCH", "/api/tasks/long", {"paused": True})
    house.ask("PATCH", "/api/tasks/errand%2F1", {"cron": "*/10 * * * *"})
    house.ask("PATCH", "/api/tasks/nightly", {"cron": "0 */6 * * *"})
    house.ask("POST", "/api/tasks/broken/trigger")
    looks_well(open_page, house, "/tasks", "/tasks/errand%2F1")
