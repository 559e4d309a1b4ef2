"""The schedule as somebody without scripts uses it: what runs when, running it now, changing when it runs."""

import re
from html import unescape
from typing import Any

import httpx
import pytest

from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.model import Status, TaskKind, Trigger
from quotaflow.records import Batch, Trace
from quotaflow.store import DeclaredTask
from quotaflow.timing import SystemClock
from tests.http.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = '"><img src=x onerror="alert(1)"><script>alert(1)</script>'
ZH = {"accept-language": "zh-CN"}


async def do(browser: httpx.AsyncClient, path: str, act: str, **fields: str) -> httpx.Response:
    """Send a form."""
    return await browser.post(path, data={"do": act, **fields})


async def follow(browser: httpx.AsyncClient, answer: httpx.Response, **headers: str) -> str:
    """Return the page that a form leads to."""
    assert answer.status_code == 303, answer.text
    page = await browser.get(answer.headers["location"], headers=headers)
    assert page.status_code == 200
    return unescape(page.text)


async def shown(house: House, task_id: str) -> dict[str, Any]:
    """Return what the API shows of a task."""
    found: dict[str, Any] = (await house.client.get(f"/api/tasks/{task_id}")).json()
    return found


async def test_the_list_says_in_both_languages_when_each_task_runs(signed_in: httpx.AsyncClient) -> None:
    english = unescape((await signed_in.get("/tasks")).text)
    assert "At 03:00, on day 1 of the month, only in January" in english
    assert "<code>0 3 1 1 *</code> <small>Asia/Shanghai</small>" in english
    chinese = unescape((await signed_in.get("/tasks", headers=ZH)).text)
    assert "任务调度</h1>" in chinese
    assert "在上午 03:00" in chinese or "03:00" in chinese
    assert "立即运行" in chinese
    assert "Run now" not in chinese


async def test_the_list_holds_what_is_searched_for(signed_in: httpx.AsyncClient) -> None:
    page = (await signed_in.get("/tasks", params={"q": "NIGHT"})).text
    assert 'href="/tasks/nightly"' in page
    assert 'href="/tasks/greedy"' not in page
    by_name = (await signed_in.get("/tasks", params={"q": "获取"})).text
    assert 'href="/tasks/fetch"' in by_name
    nothing = (await signed_in.get("/tasks", params={"q": f"nobody {EVIL}"})).text
    assert "<img" not in nothing.split("<main", 1)[1]
    assert "No task has" in nothing


async def test_a_quota_is_a_link_to_its_id_and_one_that_is_missing_is_told(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("id-of-plenty", capacity=1000, refill_rate=0, name="plenty")
    page = (await signed_in.get("/tasks")).text
    assert '<a href="/quotas/id-of-plenty">plenty</a>' in page
    assert re.search(r"nobody <span class=\"soft\">\(there is no such quota\)", page)


async def test_a_task_is_run_now_and_the_answer_links_to_its_trace(signed_in: httpx.AsyncClient) -> None:
    answer = await do(signed_in, "/tasks", "run", task="nightly")
    page = await follow(signed_in, answer)
    run_id = httpx.URL(answer.headers["location"]).params["run"]
    assert "The run was let through; it starts at once." in page
    assert f'<a href="/traces/{run_id}">Trace of this run</a>' in page
    assert "已放行" in await follow(signed_in, answer, **ZH)


async def test_a_run_can_wait(signed_in: httpx.AsyncClient) -> None:
    answer = await do(signed_in, "/tasks/nightly", "run", countdown="3600", args="")
    page = await follow(signed_in, answer)
    assert "The run waits for its turn. It does not start before: <time" in page


async def test_a_refusal_is_an_answer_with_its_reason_its_trace_and_its_quota(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("for_tasks", capacity=1, refill_rate=0.001)
    await house.qf.acquire("for_tasks")
    answer = await do(signed_in, "/tasks/fetch", "run")
    page = await follow(signed_in, answer)
    assert "The run was refused: not enough units at that moment." in page
    assert "Asking again is worth it from: <time" in page
    assert '<a href="/quotas/for_tasks">Its quota</a>' in page
    missing = await follow(signed_in, await do(signed_in, "/tasks/orphan", "run"))
    assert "The run was refused: there is no such quota." in missing
    assert "运行被拒绝：没有这个配额。" in await follow(
        signed_in, await do(signed_in, "/tasks/orphan", "run"), **ZH
    )


async def test_the_last_runs_of_a_task_are_one_link_in_the_list_and_one_each_on_its_page(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    trace = Trace("strip-1", "nightly", Trigger.MANUAL, Status.FAILED, SystemClock().wall_us(), None)
    await house.qf.store.write_batch(Batch(closed=[trace._replace(finished_us=trace.claimed_us)]))
    listed = (await signed_in.get("/tasks", params={"q": "nightly"})).text
    ((link, said),) = re.findall(r'<a class="strip" href="([^"]+)" title="([^"]+)"', listed)
    assert "failed 1" in said
    assert f'aria-label="Last runs: {said}"' in listed
    assert 'id="run-strip-1"' in (await signed_in.get(unescape(link))).text
    page = (await signed_in.get("/tasks/nightly")).text
    assert re.search(r'<a class="s-failed" href="/traces/strip-1" title="failed, [^"]+"', page)
    assert "失败 1" in (await signed_in.get("/tasks", params={"q": "nightly"}, headers=ZH)).text


@pytest.mark.parametrize(
    "query",
    [
        {"run": "x", "answer": "granted"},
        {"run": "0" * 30, "answer": EVIL},
        {"run": EVIL, "answer": "limited"},
        {"run": "0" * 30, "answer": "limited", "at": "9" * 17},
        {"run": "0" * 30, "answer": "limited", "at": "²"},
        {"run": "0" * 30, "answer": "waiting"},
    ],
)
async def test_an_address_that_somebody_made_up_does_no_harm(
    signed_in: httpx.AsyncClient, query: dict[str, str]
) -> None:
    page = await signed_in.get("/tasks/nightly", params=query)
    assert page.status_code == 200
    assert "onerror" not in page.text.split("<main", 1)[1].replace("&#34;", "").split('id="state"')[0]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"args": "{"}, "Arguments cannot be read as JSON"),
        ({"args": "5"}, "Arguments must be a list, or a mapping of names to values"),
        ({"args": '["one too many"]'}, "too many positional arguments"),
        ({"countdown": "soon"}, "Seconds until it starts must be a number"),
        ({"countdown": "-1"}, "Seconds until it starts must be a number of seconds"),
    ],
)
async def test_what_cannot_be_run_is_said_beside_its_field_and_what_was_typed_stays(
    signed_in: httpx.AsyncClient, fields: dict[str, str], why: str
) -> None:
    answer = await do(signed_in, "/tasks/nightly", "run", **fields)
    assert answer.status_code == 422
    ((field, typed),) = fields.items()
    page = answer.text
    said = re.search(rf'id="run-{field}-note">(.*?)</p>', page)
    assert said is not None
    assert why in unescape(said[1])
    assert f'value="{typed}"' in unescape(page)
    assert '<details class="fold" id="run" open>' in page


async def test_a_task_is_paused_and_resumed_from_the_list_and_the_search_stays(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    answer = await do(signed_in, "/tasks?q=greedy", "pause", task="greedy")
    assert answer.headers["location"] == "/tasks?q=greedy"
    assert "The task Greedy is paused." in await follow(signed_in, answer)
    assert (await shown(house, "greedy"))["paused"] is True
    assert "The task Greedy goes on." in await follow(
        signed_in, await do(signed_in, "/tasks/greedy", "resume")
    )
    assert (await shown(house, "greedy"))["paused"] is False


async def test_the_next_run_is_skipped_and_the_skip_taken_back(signed_in: httpx.AsyncClient) -> None:
    page = await follow(signed_in, await do(signed_in, "/tasks/fails", "skip"))
    assert "The next run of the task Fails is left out." in page
    assert '<span class="status s-skipped">is skipped</span>' in page
    page = await follow(signed_in, await do(signed_in, "/tasks", "unskip", task="fails"))
    assert "The next run of the task Fails takes place." in page
    assert "is skipped</span>" not in page


async def test_an_expression_is_shown_in_words_before_it_is_in_force(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    answer = await do(signed_in, "/tasks/greedy", "cron", cron="30 4 * * mon", look="1")
    page = unescape(answer.text)
    assert answer.status_code == 200
    assert "This means: At 04:30, only on Monday" in page
    assert 'value="30 4 * * mon"' in page
    assert (await shown(house, "greedy"))["cron_override"] is None
    code = await do(signed_in, "/tasks/greedy", "cron", cron="", look="1")
    assert "This means: At 03:00, on day 1 of the month, only in January" in unescape(code.text)


async def test_an_expression_is_in_force_until_it_is_left_empty_and_can_be_undone(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    page = await follow(signed_in, await do(signed_in, "/tasks/fails", "cron", cron="30 4 1 1 *"))
    assert "The task Fails runs by its new expression." in page
    assert (await shown(house, "fails"))["cron_override"] == "30 4 1 1 *"
    page = await follow(signed_in, await do(signed_in, "/tasks/fails", "cron", cron=" "))
    assert "The task Fails runs by the expression in its code." in page
    assert (await shown(house, "fails"))["cron_override"] is None
    entries = re.findall(r'name="entry" value="([^"]+)"', page)
    page = await follow(signed_in, await do(signed_in, "/tasks/fails", "undo", entry=entries[0]))
    assert "The change was taken back." in page
    assert (await shown(house, "fails"))["cron_override"] == "30 4 1 1 *"
    again = await do(signed_in, "/tasks/fails", "undo", entry=entries[0])
    assert again.status_code == 422
    assert "has been undone already" in again.text
    await do(signed_in, "/tasks/fails", "cron", cron="")


async def test_the_next_runs_are_in_three_zones(signed_in: httpx.AsyncClient) -> None:
    signed_in.cookies.set("quotaflow_zone", "Europe/Berlin")
    page = (await signed_in.get("/tasks/fetch")).text
    del signed_in.cookies["quotaflow_zone"]
    rows = re.findall(
        r"<tr><td>(\d+)(-01-01 03:00:00)</td><td><time[^>]*>(.*?)</time></td><td>(.*?)</td>", page
    )
    assert len(rows) == 5
    year, _, berlin, utc = rows[-1]  # not today
    before = int(year) - 1
    assert (berlin, utc) == (f"{before}-12-31 20:00:00", f"{before}-12-31 19:00:00 UTC")


@pytest.mark.parametrize("look", [{}, {"look": "1"}])
async def test_an_expression_that_cannot_be_read_is_told_beside_it(
    signed_in: httpx.AsyncClient, look: dict[str, str]
) -> None:
    answer = await do(signed_in, "/tasks/greedy", "cron", cron="61 * * * *", **look)
    assert answer.status_code == 422
    assert 'value="61 * * * *"' in answer.text
    said = re.search(r'id="cron-cron-note">(.*?)</p>', answer.text)
    assert said is not None
    assert unescape(said[1]) == 'Cron expression "61 * * * *": minute 61 is not in 0-59'
    chinese = await signed_in.post("/tasks/greedy", data={"do": "cron", "cron": "61 * * * *"}, headers=ZH)
    assert "不在 0-59 范围内" in chinese.text


async def test_a_rate_limit_is_given_and_left_to_the_code_again(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    page = await follow(signed_in, await do(signed_in, "/tasks/greedy", "rate", rate_limit="10/m"))
    assert "The task Greedy has its new rate limit." in page
    assert "<code>10/m</code>" in page
    page = await follow(signed_in, await do(signed_in, "/tasks/greedy", "rate", rate_limit="0/m"))
    assert "The task Greedy has no rate limit now." in page
    page = await follow(signed_in, await do(signed_in, "/tasks/greedy", "rate", rate_limit=""))
    assert "The task Greedy has the rate limit of its code." in page
    assert (await shown(house, "greedy"))["rate_override"] is None
    wrong = await do(signed_in, "/tasks/greedy", "rate", rate_limit="often")
    assert wrong.status_code == 422
    assert 'value="often"' in wrong.text
    assert 'id="rate-rate_limit-note">Rate limit must be like' in wrong.text


@pytest.mark.parametrize("path", ["/tasks", "/tasks/nightly"])
async def test_a_viewer_sees_everything_and_may_not_change_anything(
    viewing: httpx.AsyncClient, path: str
) -> None:
    page = await viewing.get(path)
    assert page.status_code == 200
    main = page.text.split("<main", 1)[1].split("</main>")[0]
    assert "Nightly" in main
    assert 'method="post"' not in main
    for act in ("run", "pause", "cron", "undo"):
        assert (await do(viewing, path, act, task="nightly")).status_code == 403


async def test_a_form_that_is_none_of_ours_is_refused(signed_in: httpx.AsyncClient) -> None:
    for path in ("/tasks", "/tasks/nightly"):
        answer = await do(signed_in, path, "explode", task="nightly")
        assert answer.status_code == 422
        assert "the form asks for something that is not known here" in answer.text
    assert (await do(signed_in, "/tasks", "pause")).status_code == 422
    assert (await do(signed_in, "/tasks", "cron", task="nightly", cron="* * * * *")).status_code == 422


async def test_a_task_that_does_not_exist_is_not_found(signed_in: httpx.AsyncClient) -> None:
    assert (await signed_in.get("/tasks/nobody")).status_code == 404
    assert (await do(signed_in, "/tasks", "pause", task="nobody")).status_code == 404


async def test_tasks_of_any_name_are_listed_by_pages_even_those_without_code(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    """Code that is gone leaves its tasks: they are shown, and nothing can be done to them."""
    await house.qf.store.sync_tasks(
        [
            DeclaredTask(f"zz/{number:02}?#%", EVIL, TaskKind.SCHEDULER, "m:f", "not in our dialect", "UTC")
            for number in range(ON_A_PAGE + 10)
        ]
        + [
            DeclaredTask(row.id, row.name, row.kind, row.func, row.cron, row.timezone, row.quota_name)
            for row in await house.qf.store.list_tasks()
        ]
    )
    await house.qf.store.sync_tasks(
        [
            DeclaredTask(row.id, row.name, row.kind, row.func, row.cron, row.timezone, row.quota_name)
            for row in await house.qf.store.list_tasks()
            if not row.id.startswith("zz/")
        ]
    )
    first = (await signed_in.get("/tasks")).text
    assert first.count('<tr id="t-') == ON_A_PAGE
    following = re.search(r'class="more"><a href="([^"]+)"', first)
    assert following is not None
    second = (await signed_in.get(unescape(following[1]))).text
    assert second.count('<tr id="t-') == 15
    assert 'class="more"' not in second
    page = await signed_in.get("/tasks/zz%2F00%3F%23%25")
    assert page.status_code == 200
    for text in (first, second, page.text):
        main = text.split("<main", 1)[1].split("</main>")[0]
        assert "<img" not in main
        assert "<script" not in main
    assert "not declared any more" in page.text
    assert "<h2>Next runs" not in page.text
    assert 'value="run"' not in page.text
