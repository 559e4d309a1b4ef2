"""The first page: how it goes, what is near its end, what comes next, and what to do when nothing is there yet."""

import ast
import re
from html import unescape
from pathlib import Path

import httpx
import pytest

from quotaflow.amounts import MICRO
from quotaflow.edges.http.app import create_app
from quotaflow.edges.web import overview
from quotaflow.errors import Unavailable
from quotaflow.flow import Quotaflow
from quotaflow.limiter.rpo import TEXTS
from quotaflow.model import Status
from quotaflow.records import Batch, DeadLetter
from quotaflow.runner.registry import Registry
from quotaflow.store.statements import insert_new
from quotaflow.store.tables import quota_metrics
from quotaflow.timing import SystemClock
from tests.http.house import House, asking, opened, settings_for, until
from tests.servers import ValkeyProcess
from tests.store.rows import claim, ended

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = '"><img src=x onerror="alert(1)"><script>alert(1)</script>'
ZH = {"accept-language": "zh-CN"}
MINUTE_US = 60 * MICRO


async def text_of(client: httpx.AsyncClient, **headers: str) -> str:
    """Return the page as its reader sees it, without markup."""
    answer = await client.get("/", headers=headers)
    assert answer.status_code == 200, answer.text
    main = answer.text.split("<main", 1)[1].split("</main>", 1)[0]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)))


async def row_of(client: httpx.AsyncClient, quota_id: str) -> str:
    """Return the row of a quota among those near their end; empty when it is not there."""
    page = (await client.get("/")).text
    row = re.search(rf'<tr><td><a href="/quotas/{re.escape(quota_id)}">.*?</tr>', page, re.DOTALL)
    return row[0] if row else ""


async def drained(house: House, quota_id: str, cost: float, **more: str) -> None:
    """Make a quota of 100 units and use some; return when that is on the page, which is a second later."""
    await house.quota(quota_id, capacity=100, refill_rate=0, **more)
    await house.client.post(f"/api/quotas/{quota_id}/acquire", json={"cost": cost})

    async def is_there() -> str:
        return await row_of(house.client, quota_id)

    await until(is_there)


async def test_what_was_decided_is_counted_over_an_hour_and_a_day(fresh: House) -> None:
    await fresh.quota("counted", capacity=2, refill_rate=0)
    for _ in range(3):
        await fresh.client.post("/api/quotas/counted/acquire")
    before_us = SystemClock().wall_us() - 3_600 * 3 * MICRO
    earlier = [ended(claim(f"old{number}", finished_us=before_us), Status.FAILED) for number in range(4)]
    await fresh.qf.store.write_batch(Batch(closed=earlier))

    async def is_there() -> bool:
        return "Limited in the last hour 1 1 in 24 hours" in await text_of(fresh.client)

    await until(is_there)
    text = await text_of(fresh.client)
    assert "Allowed in the last hour 2 2 in 24 hours" in text
    chart = re.search(r'id="chart-day".*?json">(.*?)</script>', (await fresh.client.get("/")).text, re.DOTALL)
    assert chart is not None
    drawn = ast.literal_eval(chart[1])
    assert len(drawn["times"]) == 24 * 60
    assert [sum(series["values"]) for series in drawn["series"]][:2] == [2, 1]


async def test_a_quota_that_runs_out_is_shown_with_its_moment(house: House) -> None:
    """Ninety of a hundred in half an hour: ten more last a bit over three minutes."""
    await house.quota("soon", capacity=100, refill_rate=0)
    minute_us = SystemClock().wall_us() // MINUTE_US * MINUTE_US - 30 * MINUTE_US
    async with house.qf.store._database.write() as connection:
        await insert_new(connection, quota_metrics, [("soon", minute_us, 1, 0, 0, 0, "{}", 100.0)])
    await house.client.post("/api/quotas/soon/acquire", json={"cost": 90})

    async def is_there() -> str:
        return await row_of(house.client, "soon")

    await until(is_there)
    row = await row_of(house.client, "soon")
    assert re.search(r"<time .*</time> <small>in 3m \d+s</small>", row)
    assert ">10</b> / 100" in row


async def test_low_quotas_are_shown_and_full_or_disabled_ones_are_not(house: House) -> None:
    await drained(house, "low", 85)
    await drained(house, "gone", 100)
    await house.quota("full", capacity=100, refill_rate=0)
    assert "not known yet" in await row_of(house.client, "low")
    assert "it is used up" in await row_of(house.client, "gone")
    assert await row_of(house.client, "full") == ""
    await house.client.patch("/api/quotas/low", json={"enabled": False})
    assert await row_of(house.client, "low") == ""


async def test_a_hostile_name_is_only_a_name(house: House, signed_in: httpx.AsyncClient) -> None:
    await drained(house, "hostile", 99, name=EVIL)
    page = (await signed_in.get("/")).text
    assert "<img src=x" not in page
    assert EVIL in unescape(page)


async def test_the_next_runs_are_those_that_will_be(house: House, signed_in: httpx.AsyncClient) -> None:
    """The one in Shanghai comes eight hours before the others; what is paused or to be skipped does not come."""

    async def order() -> list[str]:
        page = (await signed_in.get("/")).text
        return re.findall(r'<small>in [^<]+</small></td><td><a href="/tasks/([a-z]+)">', page)

    assert await order() == ["fetch", "fails", "greedy", "nightly", "orphan"] * 2
    await house.client.patch("/api/tasks/nightly", json={"paused": True})
    assert await order() == [*["fetch", "fails", "greedy", "orphan"] * 2, "fetch", "fails"]
    await house.client.patch("/api/tasks/fetch", json={"skip_next": True})
    assert (await order())[:4] == ["fails", "greedy", "orphan", "fetch"]


async def test_everything_is_said_in_chinese_too(house: House, signed_in: httpx.AsyncClient) -> None:
    await drained(house, "chinese", 90)
    english, chinese = await text_of(signed_in), await text_of(signed_in, **ZH)
    assert "Ready: quotas decide" in english
    assert "就绪" in chinese
    for text in (
        "Runs waiting for their turn",
        "Decisions not yet in SQL",
        "this one",
        "daemon",
        "Next runs",
    ):
        assert text in english
        assert text not in chinese
    told = [text for text in TEXTS if text[1:] in english]
    assert len(told) == 1
    assert told[0][1:] not in chinese


async def test_a_viewer_sees_it_all(house: House, viewing: httpx.AsyncClient) -> None:
    text = await text_of(viewing)
    assert house.qf.instance_id in text
    assert "What waits" in text


async def test_what_sql_refused_is_told(house: House, signed_in: httpx.AsyncClient) -> None:
    assert "Records that SQL refused" not in await text_of(signed_in)
    await house.qf.store.write_batch(Batch(dead=[DeadLetter("1-0", "?", "garbage")]))
    assert "Records that SQL refused 1" in await text_of(signed_in)


async def test_without_sql_the_page_comes_and_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise Unavailable("the-database did not answer within 5 s")

    with monkeypatch.context() as broken:
        broken.setattr(house.qf.store._database, "read", away)
        text = await text_of(house.client)
        chinese = await text_of(house.client, **ZH)
    assert "Something is wrong: the-database did not answer within 5 s" in text
    assert "the-database 在 5 秒内没有应答" in chinese
    assert "Next runs This cannot be told now" in text
    assert house.qf.instance_id in text, "Redis is there"


async def test_without_redis_the_page_comes_and_says_so(tmp_path: Path) -> None:
    with ValkeyProcess() as valkey:
        async with opened(valkey, tmp_path, redis__deadline_s=0.3) as house:
            await drained(house, "dry", 90)
            valkey.kill()

            async def is_told() -> bool:
                return "Something is wrong: Redis" in await text_of(house.client)

            await until(is_told)
            text = await text_of(house.client)
            assert "What waits This cannot be told now" in text
            assert "Quotas near their end This cannot be told now" in text
            assert "Nightly" in text, "SQL is there"
            valkey.start()

            async def is_well() -> bool:
                return "Ready: quotas decide" in await text_of(house.client)

            await until(is_well, deadline_s=60)


async def test_who_has_nothing_yet_is_told_what_to_do_first(tmp_path: Path) -> None:
    with ValkeyProcess() as valkey:
        valkey.start()
        settings = settings_for(valkey, tmp_path)
        async with (
            Quotaflow.open(settings, registry=Registry(), role="daemon") as qf,
            asking(create_app(qf, trusted=True)) as client,
        ):
            page = (await client.get("/")).text
            assert page.count("<li>", page.index('class="steps"'), page.index("</ol>")) == 3
            for example in (overview.FIRST_TASK, overview.FIRST_MODULE, overview.FIRST_CALL):
                assert example in unescape(page)
            quota = {"id": "first", "capacity": 1, "refill_rate": 1}
            assert (await client.post("/api/quotas", json=quota)).status_code == 201
            assert 'class="steps"' not in (await client.get("/")).text


async def test_the_first_examples_can_be_read_by_python() -> None:
    compile(overview.FIRST_TASK, "my_tasks.py", "exec")
    compile(overview.FIRST_CALL, "x.py", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert len(overview.FIRST_TASK.splitlines()) == 5
