"""What a person does with traces in a browser: watch them come, hold them, narrow them, find out why, cancel one."""

import json

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.errands import EVIL
from tests.browser.house import House
from tests.browser.signing import come_in, looks_well
from tests.browser.support import Complaints, axe, shot

TOLD_TWICE = """() => new Promise((done) => {
    const stream = new EventSource('/api/events');
    let times = 0;
    stream.addEventListener('changed', () => {
        if (++times === 2) { stream.close(); done(); }
    });
})"""  # at once, and when the run is written or after 5 s: the page's own stream has then told it too


def run(house: House, task: str) -> str:
    run_id: str = house.ask("POST", f"/api/tasks/{task}/trigger").json()["run_id"]
    return run_id


def row(run_id: str) -> str:
    return f"#run-{run_id}"


def test_runs_come_by_themselves_until_somebody_holds_them(page: Page, house: House) -> None:
    come_in(page, house.token)
    page.goto("/traces")
    expect(page.locator("#live-state")).to_have_text("Live")
    first = run(house, "nightly")
    expect(page.locator(row(first))).to_be_visible()
    button = page.locator("button[data-pause]")
    expect(button).to_have_text("Pause")
    expect(button).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("r")
    expect(button).to_have_text("Go on")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#live-state")).to_have_text("Paused")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    second = run(house, "nightly")
    page.evaluate(TOLD_TWICE)
    assert [url for url in asked if "/traces" in url] == []
    expect(page.locator(row(second))).to_have_count(0)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.locator(row(second))).to_be_visible()
    third = run(house, "nightly")
    expect(page.locator(row(third))).to_be_visible()


def test_the_bar_narrows_the_list_and_says_which_word_is_wrong(
    page: Page, house: House, complaints: Complaints
) -> None:
    come_in(page, house.token)
    broken, fine = run(house, "broken"), run(house, "nightly")
    page.goto("/traces")
    expect(page.locator(row(broken))).to_be_visible()
    expect(page.locator(row(fine))).to_be_visible()
    assert page.title() != "caught"
    page.keyboard.press("/")
    page.keyboard.type("status:broken")
    page.keyboard.press("Enter")
    expect(page.locator("#q-wrong")).to_contain_text('"status:broken": status is one of')
    expect(page.locator("input[name=q]")).to_have_value("status:broken")
    expect(page.locator(row(fine))).to_be_visible()
    assert axe(page) == []
    shot(page, "traces-wrong")
    complaints.expect(page, "422")
    page.locator("input[name=q]").fill("task:broken")
    page.keyboard.press("Enter")
    expect(page.locator(row(fine))).to_have_count(0)
    page.locator(".chip", has_text="status:failed").click()
    expect(page).to_have_url(f"{house.url}/traces?q=task%3Abroken+status%3Afailed")
    expect(page.locator(".chip[aria-current]")).to_contain_text("status:failed")
    page.locator("details.lazy summary").click()
    expect(page.locator("#sums tbody tr")).to_have_count(1)
    expect(page.locator("#sums")).to_contain_text("Fails")
    assert axe(page) == []
    with page.expect_download() as downloading:
        page.get_by_role("link", name="JSON Lines").click()
    lines = downloading.value.path().read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["run_id"] == broken
    assert {json.loads(line)["task_id"] for line in lines} == {"broken"}
    page.locator(f"{row(broken)} a").first.click()
    expect(page.locator("pre")).to_have_text(EVIL)
    expect(page.locator(".why")).to_contain_text("The task's code raised an error")
    assert axe(page) == []
    shot(page, "run-failed")
    assert page.title() != "caught"


def test_a_run_appears_on_its_page_and_is_cancelled_there(page: Page, house: House) -> None:
    come_in(page, house.token)
    run_id = run(house, "long")
    page.goto(f"/traces/{run_id}")
    expect(page.locator("h1")).to_contain_text("Takes its time")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".done")).to_have_text("The run will be stopped within a second.")
    expect(page.locator("h1 .status")).to_have_text("cancelled")
    expect(page.locator(".why")).to_contain_text("Somebody cancelled it.")


def test_the_pages_of_traces_look_well_to_everybody(page: Page, open_page: OpenPage, house: House) -> None:
    house.ask("POST", "/api/quotas/dry/acquire", {"cost": 1})
    refused = run(house, "starved")
    come_in(page, house.token)
    page.goto("/traces")
    expect(page.locator(row(refused))).to_be_visible()
    looks_well(open_page, house, "/traces", f"/traces/{refused}")
