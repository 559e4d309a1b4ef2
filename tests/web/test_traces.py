"""The list of runs: what is typed above it, pages, sums, and all of it as a file."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx
import pytest
import pytest_asyncio

from quotaflow.edges.http.views import TraceShown
from quotaflow.edges.web import traces
from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Batch, Trace
from tests.http.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "\"><img src=x onerror=alert(1)><script>alert('x')</script>"
LINK = re.compile(r'href="([^"]+)"')


def run(number: int, task: str, now_us: int, **fields: Any) -> Trace:
    """Make a run that ended well, `number` seconds ago."""
    at_us = now_us - number * 1_000_000
    row = Trace(
        f"{at_us:014x}-list-{number:06x}", task, Trigger.MANUAL, Status.OK, at_us, started_us=at_us + 2_000,
        finished_us=at_us + 14_000, latency_ms=12.0, wait_ms=2.0, instance_id="host-1",
    )  # fmt: skip
    return row._replace(**fields)


async def write(house: House, *rows: Trace) -> None:
    await house.qf.store.write_batch(Batch(closed=list(rows)))


def now_us(house: House) -> int:
    return house.qf._base.clock.wall_us()


@pytest_asyncio.fixture(autouse=True, loop_scope="module", scope="module")
async def runs(house: House) -> AsyncIterator[None]:
    """Write 120 runs of one task, and some that are special."""
    now = now_us(house)
    refused: dict[str, Any] = {
        "status": Status.LIMITED,
        "started_us": None,
        "finished_us": None,
        "latency_ms": None,
    }
    await write(
        house,
        *[run(number, "many", now) for number in range(120)],
        run(
            200, "lacking", now, **refused, wait_ms=None, reason=Reason.LIMITED, quota_id="a quota",
            trigger=Trigger.CRON,
        ),
        run(201, EVIL, now, status=Status.FAILED, quota_id=EVIL, error_type=EVIL, error=f"{EVIL}\nline two"),
        run(7200, "nightly", now),
        run(7201, "nightly", now, status=Status.FAILED, error_type="ValueError", error='=1+"1"'),
        run(300, "nightly", now, latency_ms=30.0),
    )  # fmt: skip
    yield


async def listed(client: httpx.AsyncClient, query: str) -> list[str]:
    """Return the rows that a query shows, their tags taken away."""
    answer = await client.get("/traces", params={"q": query})
    assert answer.status_code == 200, answer.text
    found = re.findall(r'<tr id="run-.*?</tr>', answer.text, re.DOTALL)
    return [unescape(re.sub(r"<[^>]+>|\n", " ", row)) for row in found]


async def test_some_runs_are_shown_newest_first_and_older_ones_by_a_link(
    signed_in: httpx.AsyncClient,
) -> None:
    seen: list[str] = []
    path = "/traces?q=task%3Amany"
    for pages in (1, 2, 3, 4, 5):
        answer = await signed_in.get(path)
        seen += re.findall(r'<tr id="run-([^"]+)"', answer.text)
        assert ('class="live"' in answer.text.split('<section id="runs"')[1].split(">")[0]) == (pages == 1)
        assert ("data-pause=" in answer.text) == (pages == 1)
        path = unescape(next((link for link in LINK.findall(answer.text) if "cursor=" in link), ""))
        assert bool(path) == (pages < 5)
    assert len(seen) == 120
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        ("task:lacking", ["lacking"]),
        ('quota:"a quota" status:limited', ["lacking"]),
        ("task:nightly", ["nightly", "nightly", "nightly"]),
        ("task:nightly since:1h", ["nightly"]),
        ("task:nightly until:1h", ["nightly", "nightly"]),
        ("task:nightly status:failed", ["nightly"]),
        ("trigger:cron", ["lacking"]),
        ('"LINE TWO"', [EVIL]),
        ("task:nobody", []),
    ],
)
async def test_what_is_typed_is_what_is_found(
    signed_in: httpx.AsyncClient, query: str, tasks: list[str]
) -> None:
    rows = await listed(signed_in, query)
    assert len(rows) == len(tasks)
    assert all(task in row for task, row in zip(tasks, rows, strict=True))


async def test_a_refusal_says_why_in_the_reader_s_words(signed_in: httpx.AsyncClient) -> None:
    (row,) = await listed(signed_in, "task:lacking")
    assert "not enough units at that moment" in row
    answer = await signed_in.get("/traces?q=task:lacking", headers={"accept-language": "zh"})
    assert "额度不足" in answer.text
    assert '<html lang="zh-CN">' in answer.text


@pytest.mark.parametrize(
    ("query", "english", "chinese"),
    [
        ("task:x colour:red", '"colour:red": there is no "colour"', "“colour:red”：没有“colour”"),
        ("status:green", '"status:green": status is one of', "“status:green”：status 必须是以下之一"),
        ("task:a task:b", '"task:b": task is there twice', "“task:b”：task 出现了两次"),
        ('"open', '""open" cannot be read', "无法读取“"),
        ("since:soon", '"since:soon": since must be a moment', "“since:soon”：since 必须是"),
    ],
)
async def test_a_wrong_word_is_named_and_the_list_is_still_there(
    signed_in: httpx.AsyncClient, query: str, english: str, chinese: str
) -> None:
    for language, told in (("en", english), ("zh", chinese)):
        answer = await signed_in.get("/traces", params={"q": query}, headers={"accept-language": language})
        assert answer.status_code == 422
        wrong = re.search(r'id="q-wrong" role="alert">([^<]+)<', answer.text)
        assert wrong is not None
        assert told in unescape(wrong[1])
        typed = re.search(r'name="q" value="([^"]*)"', answer.text)
        assert typed is not None
        assert unescape(typed[1]) == query
        assert answer.text.count('<tr id="run-') == ON_A_PAGE


async def test_a_chip_adds_its_condition_and_drops_it_again(signed_in: httpx.AsyncClient) -> None:
    async def chip(path: str, text: str) -> tuple[str, bool]:
        found = re.search(rf'<a class="chip" href="([^"]+)"([^>]*)>{text}', (await signed_in.get(path)).text)
        assert found is not None
        return unescape(found[1]), "aria-current" in found[2]

    added, held = await chip("/traces?q=task%3Anightly+status%3Alimited", "status:failed")
    assert (added, held) == ("/traces?q=task%3Anightly+status%3Afailed", False)
    assert await chip(added, "status:failed") == ("/traces?q=task%3Anightly", True)
    assert await chip("/traces?q=since%3A1h", "since:1h") == ("/traces", True)


async def test_a_cell_leads_to_the_runs_that_have_it_too(signed_in: httpx.AsyncClient) -> None:
    answer = await signed_in.get("/traces", params={"q": '"line two"'})
    links = [unescape(link) for link in LINK.findall(answer.text)]
    narrowed = [link for link in links if link.startswith("/traces?q=") and "img" in link]
    assert len(narrowed) == 2
    for link in narrowed:
        assert (await signed_in.get(link)).text.count('<tr id="run-') == 1


async def test_hostile_words_are_only_words(signed_in: httpx.AsyncClient) -> None:
    for path in ('/traces?q="line two"', f"/traces?q={EVIL}", "/traces", "/traces?q=task:nobody"):
        answer = await signed_in.get(path)
        assert "<img src=x" not in answer.text
        assert "<script>alert" not in answer.text


async def test_nothing_found_says_so(signed_in: httpx.AsyncClient) -> None:
    assert "No run fits these conditions." in (await signed_in.get("/traces?q=task:nobody")).text


async def test_a_cursor_that_is_none_is_refused_on_a_page(signed_in: httpx.AsyncClient) -> None:
    answer = await signed_in.get("/traces?cursor=nonsense")
    assert (answer.status_code, "cursor is not one" in answer.text) == (422, True)


def sums(page: str) -> dict[str, list[str]]:
    """Return the rows of the summary by task id."""
    rows = re.findall(r'<tr><td><a href="/tasks/([^"]+)">.*?</td>(.*?)</tr>', page, re.DOTALL)
    return {task: re.sub(r"<[^>]+>", " ", cells).split() for task, cells in rows}


async def test_the_summary_is_of_the_time_that_the_filter_names(signed_in: httpx.AsyncClient) -> None:
    whole = sums((await signed_in.get("/traces/summary")).text)
    assert whole["nightly"] == ["3", "2", "1", "0", "12", "ms", "30", "ms"]
    assert whole["orphan"] == ["0", "0", "0", "0", "–", "–"]
    hour = sums((await signed_in.get("/traces/summary?q=task:nightly since:1h")).text)
    assert hour == {"nightly": ["1", "1", "0", "0", "30", "ms", "30", "ms"]}
    before = sums((await signed_in.get("/traces/summary?q=task:nightly until:1h")).text)
    assert before["nightly"][:4] == ["2", "1", "1", "0"]


async def test_the_summary_comes_in_pages_and_says_when_there_is_none(
    signed_in: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "ON_A_PAGE", 2)
    found: list[str] = []
    path = "/traces/summary"
    while path:
        page = (await signed_in.get(path)).text
        found += sums(page)
        path = unescape(next((link for link in LINK.findall(page) if "after=" in link), ""))
    assert found == ["fails", "fetch", "greedy", "nightly", "orphan"]
    assert "There is no such task." in (await signed_in.get("/traces/summary?q=task:nobody")).text
    wrong = await signed_in.get("/traces/summary?q=colour:red")
    assert (wrong.status_code, "colour:red" in wrong.text) == (422, True)


async def test_the_list_asks_for_the_summary_only_when_it_is_opened(signed_in: httpx.AsyncClient) -> None:
    page = (await signed_in.get("/traces?q=since%3A1h")).text
    assert sums(page) == {}
    assert 'href="/traces/summary?q=since%3A1h"' in page


async def test_a_file_has_every_run_that_the_filter_finds(
    signed_in: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "ROWS", 50)
    file = await signed_in.get("/traces/export?q=task:many&format=csv")
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == 'attachment; filename="traces.csv"'
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert list(rows[0]) == list(TraceShown.__dataclass_fields__)
    ids = [row["run_id"] for row in rows]
    assert (len(ids), ids) == (120, sorted(set(ids), reverse=True))
    assert (rows[0]["status"], rows[0]["latency_ms"], rows[0]["tries"]) == ("ok", "12.0", "")


async def test_lines_of_json_are_what_the_api_shows(house: House, signed_in: httpx.AsyncClient) -> None:
    tries = json.dumps([[1, 2, "failed", "E", "x"], [3, 4, "ok", None, None]])
    await write(house, run(7300, "twice", now_us(house), attempt=2, tries=tries))
    file = await signed_in.get("/traces/export?q=task:twice&format=jsonl")
    assert file.headers["content-type"].startswith("application/jsonl")
    shown = (await house.client.get("/api/traces?task=twice")).json()["items"]
    assert [json.loads(line) for line in file.text.splitlines()] == shown
    (row,) = csv.DictReader(io.StringIO((await signed_in.get("/traces/export?q=task:twice")).text))
    assert json.loads(row["tries"]) == shown[0]["tries"]


async def test_no_cell_of_a_file_is_a_formula(signed_in: httpx.AsyncClient) -> None:
    file = await signed_in.get("/traces/export?q=task:nightly status:failed")
    (row,) = csv.DictReader(io.StringIO(file.text))
    assert row["error"] == '\'=1+"1"'


@pytest.mark.parametrize("query", ["q=colour:red", "format=xml", "q=since:soon"])
async def test_a_file_of_what_cannot_be_read_is_refused(signed_in: httpx.AsyncClient, query: str) -> None:
    answer = await signed_in.get(f"/traces/export?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_viewer_sees_runs_sums_and_files(viewing: httpx.AsyncClient) -> None:
    for path in ("/traces", "/traces/summary", "/traces/export"):
        assert (await viewing.get(path)).status_code == 200


async def test_ten_thousand_runs_are_no_more_to_send(house: House, signed_in: httpx.AsyncClient) -> None:
    now = now_us(house) - 10_000_000_000
    for first in range(0, 10_000, 1_000):
        await write(house, *[run(number, "heavy", now) for number in range(first, first + 1_000)])
    answer = await signed_in.get("/traces?q=task:heavy", headers={"accept-encoding": "gzip"})
    assert int(answer.headers["content-length"]) < 100_000
    assert answer.text.count('<tr id="run-') == ON_A_PAGE
    file = await signed_in.get("/traces/export?q=task:heavy")
    assert len(file.text.splitlines()) == 10_001
