"""/upstream-keys: added, imported, changed, refreshed and forgotten by forms; a secret comes back on no page."""

import asyncio
import html
import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from quotaflow.balances import Progress
from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.examples.upstream_service import Behaviour
from quotaflow.limiter import keys
from quotaflow.limiter.board import RefreshBoard
from tests.http.house import House, held, until
from tests.http.upstream import UpstreamHouse, upstream_house
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/upstream-keys"
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
ZH = {"accept-language": "zh-CN"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    valkey_server: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UpstreamHouse]:
    valkey_server.start()
    valkey_server.clear()
    async with held(lambda: upstream_house(valkey_server, tmp_path_factory.mktemp("upstream"))) as house:
        yield house


async def done(client: httpx.AsyncClient, path: str, **fields: str) -> str:
    """Send a form that is to succeed; return the page that it leads to, as it reads."""
    answer = await client.post(path, data=fields)
    assert answer.status_code == 303, answer.text
    page = await client.get(answer.headers["location"])
    assert page.status_code == 200
    return html.unescape(page.text)


async def refused(client: httpx.AsyncClient, path: str, **fields: str) -> str:
    answer = await client.post(path, data=fields)
    assert answer.status_code == 422, answer.text
    return html.unescape(answer.text)


async def test_a_key_is_added_changed_and_forgotten(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    secret = house.account(limit=200, used=50)
    answer = await signed_in.post(
        PATH, data={"do": "add", "provider": "tavily", "name": "team A", "secret": secret}
    )
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    shown = (await signed_in.get(path)).text
    assert "The key team A is stored." in shown
    assert "<b>150</b> / 200" in shown
    assert f"{secret[:4]}" in shown
    assert secret[-4:] in shown
    assert secret not in shown
    assert "s-active" in shown
    assert "stored encrypted" in shown

    assert "<h1>team B</h1>" in await done(signed_in, path, do="edit", name="team B", secret="")
    assert "s-disabled" in await done(signed_in, path, do="disable")
    assert "s-active" in await done(signed_in, path, do="enable")
    other = house.account(limit=70)
    assert "<b>70</b> / 70" in await done(signed_in, path, do="edit", name="team B", secret=other)
    changes = (await signed_in.get(path)).text
    assert "<del>team A</del> → <ins>team B</ins>" in changes
    assert secret not in changes
    assert other not in changes
    assert "The key team B is forgotten." in await done(signed_in, path, do="remove")
    assert (await signed_in.get(path)).status_code == 404


async def test_a_secret_that_was_typed_is_in_no_answer(
    house: UpstreamHouse, signed_in: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await house.clear()
    secret, other = house.account(), house.account()
    with caplog.at_level("DEBUG"):
        await done(signed_in, PATH, do="add", provider="tavily", name="first", secret=secret)
        again = await refused(signed_in, PATH, do="add", provider="tavily", name="second", secret=secret)
        assert "this secret is stored already" in again
        taken = await refused(signed_in, PATH, do="add", provider="tavily", name="first", secret=other)
        assert "type the secret again: it was not kept" in taken
        assert 'value="first"' in taken
        unknown = await refused(signed_in, PATH, do="add", provider="nobody", secret=other)
        assert "Provider is not known" in unknown
        answers = [again, taken, unknown]
        answers.append(await refused(signed_in, PATH, do="add", provider="tavily", secret=f"{other} {other}"))
        answers.append(await refused(signed_in, PATH, do="import", rows=f"[{other}"))
        answers.append(await refused(signed_in, PATH, do="import", rows=f"provider,secret\n{other},tavily\n"))
        (first,) = (await house.client.get("/api/upstream-keys")).json()["items"]
        path = f"{PATH}/{first['id']}"
        wrong = await refused(signed_in, path, do="edit", name=" ", secret=f"{other}\n{other}")
        answers += [wrong, await refused(signed_in, PATH, do="dance", secret=other)]
        answers.append((await signed_in.get(f"{PATH}/{secret}")).text)
        answers += [(await signed_in.get(page)).text for page in (PATH, path)]
    assert not [text for text in answers[:8] if secret in text or other in text]
    assert not [text for text in answers[9:] if secret in text or other in text]
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    said = [f"{record.msg} {record.args} {record.exc_info}" for record in ours]
    assert not [line for line in said if secret in line or other in line]
    assert secret not in str(signed_in.cookies)
    await house.clear()


async def test_a_reference_that_leads_nowhere_is_said_beside_the_secret(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    page = await refused(signed_in, PATH, do="add", provider="tavily", secret="env:NOT_THERE_AT_ALL")
    assert re.search(r'id="add-secret-note">[^<]*NOT_THERE_AT_ALL', page)
    page = await refused(signed_in, PATH, do="add", provider="tavily", secret="")
    assert "Secret is missing" in page
    answer = await signed_in.post(PATH, data={"do": "add", "provider": "tavily", "secret": ""}, headers=ZH)
    assert "缺少密文" in answer.text


async def test_where_nothing_can_be_encrypted_the_page_says_so_beforehand(
    house: UpstreamHouse, fresh: House, signed_in: httpx.AsyncClient
) -> None:
    said = "This daemon has no key to encrypt with"
    assert said in (await fresh.client.get(PATH)).text
    assert said not in (await signed_in.get(PATH)).text


async def test_many_are_imported_and_rows_that_cannot_be_are_told(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    await house.clear()
    one, two, three = house.account(), house.account(), house.account()
    page = await done(signed_in, PATH, do="import", rows=f"provider,secret,name\r\ntavily,{one},one\r\n")
    assert "Keys stored: 1." in page
    rows = f"provider,secret,name\ntavily,{two},two\nnobody,{three},x\ntavily,{one},again\n"
    page = await refused(signed_in, PATH, do="import", rows=rows)
    assert "Keys stored: 1. Rows not stored: 2, because" in page
    told = re.findall(r'<td class="number">(\d)</td><td>([^<]+)</td></tr>', page)[:2]
    assert [number for number, _ in told] == ["2", "3"]
    assert "this secret is stored already" in told[1][1]
    assert not [secret for secret in (one, two, three) if secret in page]
    assert "rows is missing" in await refused(signed_in, PATH, do="import", rows="  ")
    names = {key["name"] for key in (await house.client.get("/api/upstream-keys")).json()["items"]}
    assert names == {"one", "two"}


async def test_keys_are_found_and_come_in_pages(house: UpstreamHouse, signed_in: httpx.AsyncClient) -> None:
    await house.clear()
    rows = "".join(f"tavily,{house.account()},k{number}\n" for number in range(ON_A_PAGE + 1))
    await house.qf.upstream.add_many(f"provider,secret,name\n{rows}")
    other = await house.add(provider="other", name="the other", enabled=False)
    first = (await signed_in.get(f"{PATH}?provider=tavily")).text
    assert first.count('<tr id="k-') == ON_A_PAGE
    found = re.search(r'class="more"><a href="([^"]+)"', first)
    assert found is not None
    assert (await signed_in.get(html.unescape(found[1]))).text.count('<tr id="k-') == 1
    for query in ("provider=other", "enabled=false", "provider=other&status=active&enabled="):
        text = (await signed_in.get(f"{PATH}?{query}")).text
        assert re.findall(r'<tr id="k-([^"]+)"', text) == [other["id"]]
    assert "No key is like that." in (await signed_in.get(f"{PATH}?status=invalid")).text
    assert (await signed_in.get(f"{PATH}?status=lost")).status_code == 422
    await house.clear()
    assert "There is no key yet." in (await signed_in.get(PATH)).text


async def test_a_refresh_shows_how_far_it_is_and_then_its_report(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    await house.clear()
    good, slow = house.account(), house.account()
    await house.add(good)
    key = await house.add(slow, name="slow one")
    house.service.behave([slow], Behaviour("revoked", slow_s=0.6))
    page = await done(signed_in, PATH, do="refresh")
    assert "The services are being asked what the keys have left." in page
    assert '<progress id="refresh-progress" max="2"' in page
    assert "data-soon" in page
    assert "Look again" in page

    async def over() -> bool:
        return "<progress" not in (await signed_in.get(PATH)).text

    await until(over)
    page = (await signed_in.get(PATH)).text
    assert "1 answered, 1 in vain" in page
    assert "data-soon" not in page
    assert f'<a href="{PATH}/{key["id"]}">slow one</a></td><td>tavily</td><td>' in page
    assert "s-invalid" in page
    assert slow not in page
    of_one = await done(signed_in, PATH, do="refresh", provider="other")
    assert "Last refresh (other)" in of_one
    assert (await signed_in.post(PATH, data={"do": "refresh", "provider": "nobody"})).status_code == 404


async def test_a_refresh_that_another_process_does_is_seen_too(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    board = RefreshBoard(house.qf._base.plain)
    await board.write(Progress("1", None, 3, 1, 10))
    page = (await signed_in.get(PATH)).text
    assert "Asked about 3 of 10 keys, 1 in vain" in re.sub(r"</?label[^>]*>", "", page)
    assert 'max="10" value="3"' in page
    house.redis.delete(keys.REFRESH)  # as it goes when the process has died


async def test_pools_say_what_is_left_and_who_mirrors_it(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    await house.clear()
    key = await house.add(house.account(limit=80))
    await house.client.post(
        "/api/quotas", json={"id": "search/all", "kind": "allowance", "mirrors": "tavily"}
    )
    async with house.qf.upstream.key("tavily", cost=5):
        page = (await signed_in.get(PATH)).text
        assert '<td class="number">75</td><td class="number">5</td>' in page
    mirror = '<a href="/quotas/search%2Fall">search/all</a>'
    assert mirror in (await signed_in.get(PATH)).text
    assert mirror in (await signed_in.get(f"{PATH}/{key['id']}")).text


async def test_who_may_only_look_sees_no_forms_and_can_send_none(
    house: UpstreamHouse, viewing: httpx.AsyncClient
) -> None:
    key = await house.add(name="viewed")
    for path in (PATH, f"{PATH}/{key['id']}"):
        page = (await viewing.get(path)).text
        assert "viewed" in page
        assert page.count('method="post"') == 1  # to sign out
        for do in ("refresh", "disable", "remove"):
            assert (await viewing.post(path, data={"do": do})).status_code == 403
    assert (await house.client.get(f"/api/upstream-keys/{key['id']}")).json()["enabled"] is True


async def test_hostile_names_are_shown_as_they_are_and_do_nothing(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    await house.clear()
    secret = house.account()
    key = await house.add(secret, name=EVIL)
    house.service.behave([secret], Behaviour("revoked"))
    await house.client.post("/api/upstream-keys/refresh")
    for path in (PATH, f"{PATH}/{key['id']}"):
        text = (await signed_in.get(path)).text
        assert EVIL in html.unescape(text)
        assert "<script>alert" not in text
        assert "<img" not in text.replace('<img src="/assets', "")


async def test_the_pages_are_in_chinese_for_who_reads_it(
    house: UpstreamHouse, signed_in: httpx.AsyncClient
) -> None:
    key = await house.add()
    assert "各服务商余额" in (await signed_in.get(PATH, headers=ZH)).text
    assert "连续失败" in (await signed_in.get(f"{PATH}/{key['id']}", headers=ZH)).text


async def test_pages_stand_while_redis_is_away(
    house: UpstreamHouse, signed_in: httpx.AsyncClient, valkey_server: ValkeyProcess
) -> None:
    await house.add(name="still there")
    valkey_server.stop()
    try:
        async with asyncio.timeout(30):
            page = (await signed_in.get(PATH)).text
    finally:
        valkey_server.start()
    assert "Redis cannot be asked now." in page
    assert "still there" in page
