"""/tokens: made, found, changed, recharged, refunded and deleted by forms; the secret is shown once."""

import html
import re

import httpx
import pytest

from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.ledger import Validity
from quotaflow.store import TokenFilter
from tests.http.house import House, until
from tests.http.test_secrets import in_redis

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW = {
    "do": "create",
    "ws_id": "ws-made",
    "email": "anna@example.com",
    "quota_type": "hybrid",
    "total_quota": "1,000",
    "operation": "add",
    "days": "30",
    "specific_date": "",
    "rate_limit_per_minute": "60",
    "rate_limit_burst": "",
}
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
SECRET = re.compile(r'<code id="secret">(qf_\w+)</code>')
ZH = {"accept-language": "zh-CN"}


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


async def test_a_token_is_made_and_its_secret_is_in_that_answer_alone(
    house: House, signed_in: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        answer = await signed_in.post("/tokens", data=NEW)
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        found = SECRET.search(answer.text)
        assert found is not None
        secret = found[1]
        assert 'data-copy="#secret"' in answer.text
        assert answer.text.count(secret) == 1
        assert secret not in str(answer.headers)
        assert secret not in str(signed_in.cookies)
        (view,) = (await house.qf.tokens.page(_of("ws-made"), None, 10)).items
        pages = ["/tokens", f"/tokens/{view.token.id}", "/tokens?ws_id=ws-made"]
        for page in pages:
            assert secret not in (await signed_in.get(page)).text
        assert (await house.qf.tokens.consume(secret, 5)).allowed
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [record for record in ours if secret in f"{record.msg} {record.args} {record.exc_info}"]
    assert secret not in in_redis(house.redis)
    assert (view.token.rate_limit_per_minute, view.token.total_micro) == (60, 1_000_000_000)


def _of(ws_id: str) -> TokenFilter:
    return TokenFilter(ws_id=ws_id)


@pytest.mark.parametrize(
    ("changes", "said", "in_chinese"),
    [
        ({"total_quota": ""}, "Units is needed with quota_type hybrid", "类型 hybrid 需要额度"),
        ({"quota_type": "time"}, "a token of type time counts no units", "时间类型的令牌不计额度"),
        ({"email": "nobody"}, "Email must be an address", "邮箱应形如"),
        ({"days": "0"}, "Days must be 1 to 36500", "天数必须为 1 到 36500"),
        ({"operation": "set"}, "Days is for operation add", "天数仅用于"),
        ({"rate_limit_per_minute": "", "rate_limit_burst": "5"}, "needs rate_limit_per_minute", "需要先设置"),
        ({"ws_id": ""}, "Workspace is missing", "缺少工作区"),
    ],
)
async def test_what_cannot_be_is_said_beside_its_field_and_what_was_typed_is_kept(
    signed_in: httpx.AsyncClient, changes: dict[str, str], said: str, in_chinese: str
) -> None:
    typed = {**NEW, "ws_id": "ws-typed", **changes}
    page = await refused(signed_in, "/tokens", **typed)
    assert said in page
    assert re.search(r'<details class="fold" id="new" open>', page)
    assert 'aria-invalid="true"' in page
    assert f'name="email" type="text" value="{typed["email"]}"' in page
    answer = await signed_in.post("/tokens", data=typed, headers=ZH)
    assert in_chinese in html.unescape(answer.text)


async def test_a_date_is_of_the_zone_of_who_typed_it(house: House, signed_in: httpx.AsyncClient) -> None:
    signed_in.cookies.set("quotaflow_zone", "Asia/Shanghai")
    terms = {"ws_id": "ws-zone", "operation": "set", "days": "", "specific_date": "2199-12-31T08:00"}
    answer = await signed_in.post("/tokens", data={**NEW, **terms})
    assert answer.status_code == 201, answer.text
    (made,) = (await house.client.get("/api/tokens", params={"ws_id": "ws-zone"})).json()["items"]
    assert made["expires_at"] == "2199-12-31T00:00:00.000000Z"
    assert "2199-12-31 08:00:00" in (await signed_in.get(f"/tokens/{made['id']}")).text


async def test_tokens_are_found_by_what_they_are(house: House, signed_in: httpx.AsyncClient) -> None:
    one, _ = await house.token(ws_id="ws-found", email="one@example.com")
    two, _ = await house.token(ws_id="ws-found", email="two@example.com", quota_type="time")
    await done(signed_in, f"/tokens/{two['id']}", do="off")
    for query, found in (
        ("ws_id=ws-found", {one["id"], two["id"]}),
        ("ws_id=ws-found&email=two@example.com", {two["id"]}),
        ("ws_id=ws-found&quota_type=count&email=&active=", {one["id"]}),
        ("ws_id=ws-found&active=true", {one["id"]}),
        ("ws_id=ws-found&active=false", {two["id"]}),
        ("ws_id=ws-nobody", set()),
    ):
        text = (await signed_in.get(f"/tokens?{query}")).text
        assert set(re.findall(r'id="t-(tok_\w+)"', text)) == found
    assert "No token is like that." in text
    answer = await signed_in.get("/tokens?active=perhaps")
    assert (answer.status_code, "active must be true or false" in answer.text) == (422, True)
    assert (await signed_in.get("/tokens?cursor=none")).status_code == 422
    await done(signed_in, f"/tokens/{two['id']}", do="remove")
    assert f"t-{two['id']}" not in (await signed_in.get("/tokens?ws_id=ws-found")).text
    shown = (await signed_in.get("/tokens?ws_id=ws-found&deleted=true")).text
    assert f"t-{two['id']}" in shown
    assert "s-deleted" in shown


async def test_some_tokens_stand_on_a_page_and_a_link_leads_on(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    for _ in range(ON_A_PAGE + 1):
        await house.qf.tokens.create(ws_id="ws-many", email="m@example.com", validity=Validity("unlimited"))
    first = (await signed_in.get("/tokens?ws_id=ws-many")).text
    assert first.count('<tr id="t-') == ON_A_PAGE
    found = re.search(r'class="more"><a href="([^"]+)"', first)
    assert found is not None
    second = (await signed_in.get(html.unescape(found[1]))).text
    assert second.count('<tr id="t-') == 1
    assert "Next page" not in second


async def test_a_token_is_changed_in_all_ways(house: House, signed_in: httpx.AsyncClient) -> None:
    made, mine = await house.token(ws_id="ws-changed")
    path, api = f"/tokens/{made['id']}", f"/api/tokens/{made['id']}"
    limits = {"ws_id": "ws-changed", "email": "new@example.com", "quota_type": "count"}
    await done(signed_in, path, do="edit", **limits, rate_limit_per_minute="30", rate_limit_burst="3")
    now = (await house.client.get(api)).json()
    assert (now["email"], now["rate_limit_per_minute"], now["rate_limit_burst"]) == ("new@example.com", 30, 3)
    await done(signed_in, path, do="edit", **limits, rate_limit_per_minute="", rate_limit_burst="")
    assert (await house.client.get(api)).json()["rate_limit_per_minute"] is None
    shown = await done(signed_in, path, do="prolong", operation="add", days="10")
    assert re.search(r"in (10d|9d 23h)<", shown)
    assert "switched off" in await done(signed_in, path, do="off")
    assert (await house.stranger.post("/api/consume", headers=mine)).status_code == 403
    assert "switched on" in await done(signed_in, path, do="on")
    await done(signed_in, path, do="recharge", operation="add", amount="50", request_id="page-1")
    await done(signed_in, path, do="recharge", operation="add", amount="50", request_id="page-1")
    assert (await house.client.get(api)).json()["remaining_quota"] == 150  # sent twice, it happened once
    await done(signed_in, path, do="recharge", operation="set", amount="7")
    await done(signed_in, path, do="recharge", operation="reset", amount="")
    assert (await house.client.get(api)).json()["remaining_quota"] == 150
    shown = await done(signed_in, path, do="expire")
    assert "s-expired" in shown
    assert "The token has expired." in shown
    assert "admin" in shown
    assert "<code>email</code>" in shown
    assert "The token is deleted" in await done(signed_in, path, do="remove")
    gone = (await signed_in.get(path)).text
    assert "s-deleted" in gone
    assert "<details" not in gone
    entries = (await house.client.get("/api/admin-audit", params={"kind": "token"})).json()["items"]
    assert {entry["actor"] for entry in entries if entry["subject"] == made["id"]} == {"admin"}


async def test_a_form_that_is_older_than_the_token_changes_nothing(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    made, _ = await house.token(ws_id="ws-shared")
    path = f"/tokens/{made['id']}"
    terms = {"ws_id": "ws-shared", "email": "first@example.com", "quota_type": "count"}
    found = re.search(r'name="version" value="(\d+)"', (await signed_in.get(path)).text)
    assert found is not None
    await done(signed_in, path, do="edit", **terms, version=found[1])
    terms |= {"email": made["email"], "ws_id": "ws-late"}
    page = await refused(signed_in, path, do="edit", **terms, version=found[1])
    assert "changed since this form was opened" in page
    token = (await house.qf.tokens.get(str(made["id"]))).token
    assert (token.ws_id, token.email) == ("ws-shared", "first@example.com")


async def test_what_is_wrong_with_a_change_stands_in_its_form(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    made, _ = await house.token(ws_id="ws-wrong", quota_type="time")
    path = f"/tokens/{made['id']}"
    page = await refused(signed_in, path, do="edit", ws_id="typed", email="typed", quota_type="count")
    assert 'value="typed"' in page
    assert "Email must be an address" in page
    page = await refused(
        signed_in, path, do="edit", ws_id="w", email="a@b.c", quota_type="count", total_quota=""
    )
    assert "Units is needed with quota_type count" in page
    assert "a token of type time counts no units" in await refused(
        signed_in, path, do="recharge", operation="add", amount="5"
    )
    page = await refused(signed_in, path, do="edit", ws_id=" ", email="")
    assert "Workspace is missing" in page
    assert "Email is missing" in page
    page = await refused(signed_in, path, do="prolong", operation="set", specific_date="2001-01-01T00:00")
    assert "Date must be in the future" in page
    assert 'value="2001-01-01T00:00"' in page
    assert "no charge has the request id" in await refused(signed_in, path, do="refund", request_id="no-such")
    assert (await signed_in.post(path, data={"do": "dance"})).status_code == 422
    for unknown in ("tok_" + "0" * 32, "qf_secret-canary"):
        answer = await signed_in.get(f"/tokens/{unknown}")
        assert answer.status_code == 404
        assert "canary" not in re.sub(r'href="[^"]+"', "", answer.text)


async def test_the_ledger_tells_every_change_and_a_charge_is_given_back_once(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    made, mine = await house.token(ws_id="ws-ledger")
    path = f"/tokens/{made['id']}"
    for number in range(3):
        body = {"cost": 10, "request_id": f"r-{number}"}
        assert (await house.stranger.post("/api/consume", json=body, headers=mine)).status_code == 200
    outcome = {"success": False, "error_type": "Boom", "error_message": EVIL}
    await house.stranger.post("/api/consume/r-1/outcome", json=outcome, headers=mine)

    async def written() -> bool:
        text = (await signed_in.get(path)).text
        return "r-2" in text and "Boom" in text

    await until(written)
    page = (await signed_in.get(path)).text
    assert "<script>alert" not in page
    assert html.escape(EVIL, quote=False) in page.replace("&#34;", '"').replace("&#39;", "'")
    assert page.count("Give back") == 3
    rows = re.findall(r'<td class="number">([-+\d.,]+)</td><td class="number">([\d.,]+)</td>', page)
    assert rows == [("-10", "70"), ("-10", "80"), ("-10", "90"), ("+100", "100")]
    assert "10 units went back to the token." in await done(
        signed_in, f"{path}?action=consume", do="refund", request_id="r-1"
    )
    assert "given back before" in await done(signed_in, path, do="refund", request_id="r-1")

    async def given_back() -> bool:
        return "<td>given back</td>" in (await signed_in.get(path)).text

    await until(given_back)
    page = (await signed_in.get(f"{path}?action=consume&span=30d")).text
    assert page.count("Give back") == 2
    assert "<td>recharged</td>" not in page
    links = re.findall(r'href="(/api/tokens/[^"]+/export[^"]+)"', page)
    assert [link.partition("?")[2] for link in map(html.unescape, links)] == [
        "format=csv&action=consume",
        "format=jsonl&action=consume",
    ]
    for link in links:
        answer = await signed_in.get(html.unescape(link))
        assert (answer.status_code, "r-2" in answer.text) == (200, True)
    assert '"values": [' in page
    assert re.search(r'"values": \[(0.0, )+20.0\]', page)
    assert (await signed_in.get(f"{path}?action=dance")).status_code == 422


async def test_the_ledger_comes_in_pages(house: House, signed_in: httpx.AsyncClient) -> None:
    made, mine = await house.token(ws_id="ws-pages")
    for _ in range(ON_A_PAGE + 1):
        await house.stranger.post("/api/consume", headers=mine)
    path = f"/tokens/{made['id']}?action=consume"

    async def written() -> bool:
        return "Next page" in (await signed_in.get(path)).text

    await until(written)
    first = (await signed_in.get(path)).text
    assert first.count("Give back") == ON_A_PAGE
    found = re.search(r'class="more"><a href="([^"]+)"', first)
    assert found is not None
    assert (await signed_in.get(html.unescape(found[1]))).text.count("Give back") == 1


async def test_who_may_only_look_sees_no_forms_and_can_send_none(
    house: House, viewing: httpx.AsyncClient
) -> None:
    made, _ = await house.token(ws_id="ws-viewed")
    for path in ("/tokens", f"/tokens/{made['id']}"):
        page = (await viewing.get(path)).text
        assert "ws-viewed" in page
        assert page.count('method="post"') == 1  # to sign out
        assert (await viewing.post(path, data={**NEW, "do": "off"})).status_code == 403
    assert (await house.client.get(f"/api/tokens/{made['id']}")).json()["active"] is True


async def test_hostile_names_are_shown_as_they_are_and_do_nothing(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    made, _ = await house.token(ws_id=EVIL, email='"<b>"@example.com')
    for path in ("/tokens", f"/tokens/{made['id']}"):
        text = (await signed_in.get(path)).text
        assert EVIL in html.unescape(text)
        assert "<img" not in text.replace('<img src="/assets', "")
        assert "<script>alert" not in text
        assert "<b>&#34;@example" not in text
    page = await signed_in.post("/tokens", data={**NEW, "ws_id": EVIL, "email": EVIL})
    assert page.status_code == 422
    assert "<script>alert" not in page.text


async def test_the_pages_are_in_chinese_for_who_reads_it(house: House, signed_in: httpx.AsyncClient) -> None:
    made, _ = await house.token(ws_id="ws-zh")
    text = (await signed_in.get("/tokens", headers=ZH)).text
    assert "访问令牌" in text
    assert "剩余额度" in text
    text = (await signed_in.get(f"/tokens/{made['id']}", headers=ZH)).text
    assert "账本" in text
    assert "充值" in text
