"""Signing in, the reader's language and zone, and what pages load."""

import gzip
import re

import httpx
import pytest

from quotaflow.edges.http.app import create_app
from quotaflow.edges.http.guard import COOKIE
from quotaflow.edges.web.assets import HERE, LIVE, PLAIN, assets
from tests.http.house import TOKEN, House, asking

pytestmark = pytest.mark.asyncio(loop_scope="module")


def stranger(house: House) -> httpx.AsyncClient:
    return asking(create_app(house.qf, trusted=False))


async def test_a_page_sends_strangers_to_sign_in_and_back(house: House) -> None:
    async with stranger(house) as client:
        sent = await client.get("/quotas?q=a%20b")
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/quotas%3Fq%3Da%2520b")
        form = await client.get(sent.headers["location"])
        assert 'name="next" value="/quotas?q=a%20b"' in form.text
        entered = await client.post("/login", data={"token": TOKEN, "next": "/quotas?q=a%20b"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/quotas?q=a%20b")
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert (await client.get("/quotas")).status_code == 200


async def test_signing_out_ends_the_session_also_for_who_kept_the_cookie(house: House) -> None:
    async with stranger(house) as client, stranger(house) as thief:
        await client.post("/login", data={"token": TOKEN})
        kept = client.cookies[COOKIE]
        thief.cookies.set(COOKIE, kept, domain="localhost.local")
        assert (await thief.get("/quotas")).status_code == 200
        gone = await client.post("/logout", headers={"sec-fetch-site": "same-origin"})
        assert (gone.status_code, gone.headers["location"]) == (303, "/login")
        assert (await thief.get("/quotas")).status_code == 303


async def test_a_wrong_token_is_said_beside_the_field_and_never_shown_again(house: House) -> None:
    async with stranger(house) as client:
        answer = await client.post("/login", data={"token": "canary-wrong-token"})
        assert answer.status_code == 401
        assert "no operator has this token" in answer.text
        assert "canary-wrong-token" not in answer.text
        assert COOKIE not in answer.headers.get("set-cookie", "")


async def test_who_guesses_is_slowed(house: House) -> None:
    async with stranger(house) as client:
        answers = [await client.post("/login", data={"token": f"guess {number}"}) for number in range(22)]
        assert [answer.status_code for answer in answers[:20]] == [401] * 20
        assert answers[-1].status_code == 429
        assert answers[-1].headers["retry-after"] == "1"
        assert (await client.post("/login", data={"token": TOKEN})).status_code == 429


async def test_a_link_signs_in_once(house: House) -> None:
    code = house.qf.operators.one_time_link()
    async with stranger(house) as first, stranger(house) as second:
        entered = await first.post("/login", data={"once": code})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert (await first.get("/quotas")).status_code == 200
        late = await second.post("/login", data={"once": code})
        assert late.status_code == 401
        assert "was used already" in late.text
        assert 'name="token"' in late.text
        assert COOKIE not in late.headers.get("set-cookie", "")


async def test_what_only_follows_a_link_does_not_use_it_up(house: House) -> None:
    code = house.qf.operators.one_time_link()
    async with stranger(house) as client:
        for method in ("HEAD", "GET", "GET"):
            answer = await client.request(method, f"/login?once={code}")
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers
        assert f'<input type="hidden" name="once" value="{code}">' in answer.text
        assert answer.text.count(code) == 1  # in no link
        assert (
            "/assets/page.js?" in answer.text
        )  # which tells the zone, so that the first page inside is in it
        assert answer.text.count("<button autofocus>Sign in</button>") == 1
        told = await client.get(f"/login?once={code}", headers={"accept-language": "zh"})
        assert "点击按钮后即失效" in told.text
        assert "<button autofocus>登录</button>" in told.text
        assert (await client.post("/login", data={"once": code})).status_code == 303


@pytest.mark.parametrize("by", ["token", "once"])
async def test_the_cookie_is_for_https_only_where_the_browser_came_by_it(house: House, by: str) -> None:
    for scheme, is_secure in (("http", False), ("https", True), (None, False)):
        given = TOKEN if by == "token" else house.qf.operators.one_time_link()
        headers = {} if scheme is None else {"origin": f"{scheme}://localhost"}
        async with stranger(house) as client:
            entered = await client.post("/login", data={by: given}, headers=headers)
        assert entered.status_code == 303
        assert ("Secure" in entered.headers["set-cookie"].split("; ")) is is_secure


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "//[",
        "//[x",
    ],
)
async def test_nobody_is_sent_to_another_site(house: House, elsewhere: str) -> None:
    async with stranger(house) as client:
        answer = await client.post("/login", data={"token": TOKEN, "next": elsewhere})
        assert answer.headers["location"] == "/"
        switched = await client.get("/language", params={"to": "zh", "next": elsewhere})
        assert switched.headers["location"] == "/"


async def test_the_language_is_switched_and_kept(house: House) -> None:
    async with stranger(house) as client:
        assert "Sign in to quotaflow" in (await client.get("/login")).text
        await client.get("/language?to=zh&next=/login")
        page = await client.get("/login", headers={"accept-language": "en"})
        assert "登录 quotaflow" in page.text
        assert '<html lang="zh-CN">' in page.text


async def test_moments_are_shown_in_the_readers_zone_with_utc_beside_them(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("zoned")
    signed_in.cookies.set("quotaflow_zone", "Asia/Kathmandu", domain="localhost.local")
    page = (await signed_in.get("/quotas")).text
    found = re.search(
        r'<time datetime="[^T]+T(\d\d):(\d\d)[^"]*" title="[^"]+ UTC">(?:.* )?(\d\d):(\d\d)', page
    )
    assert found is not None
    utc, here = (int(found[1]) * 60 + int(found[2])), (int(found[3]) * 60 + int(found[4]))
    assert (here - utc) % 1440 == 5 * 60 + 45
    signed_in.cookies.set("quotaflow_zone", "Mars/Olympus", domain="localhost.local")
    assert (await signed_in.get("/quotas")).status_code == 200


async def test_every_file_of_a_page_is_sent_compressed_and_kept_for_ever(house: House) -> None:
    async with stranger(house) as client:
        page = (await client.get("/login")).text
        addresses = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page)
        names = {address.partition("?")[0].removeprefix("/assets/") for address in addresses}
        assert names == {"icon.svg", "style.css", "libraries.js", "page.js"}
        for address in addresses:
            for other in (address.partition("?")[0], f"{address}0"):  # an older or a newer daemon's page asks
                assert (await client.get(other)).headers["cache-control"] == "no-cache"
            answer = await client.get(address)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["content-encoding"] == "gzip"
        plain = await client.get(addresses[0], headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert (await client.get("/assets/..%2Fapp.py")).status_code == 404


async def test_a_page_without_its_libraries_says_so_and_loads_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quotaflow.edges.web import render  # noqa: PLC0415

    render._environment.cache_clear()
    monkeypatch.setattr(render, "has_libraries", lambda: False)
    try:
        async with stranger(house) as client:
            page = (await client.get("/login")).text
    finally:
        render._environment.cache_clear()
    assert "built without its browser libraries" in page
    assert not any(name in page for name in LIVE.keys() - PLAIN.keys())


async def test_every_file_of_ours_is_sent() -> None:
    sent = {file for files in (*PLAIN.values(), *LIVE.values()) for file in files}
    assert {file.name for file in (HERE / "static").iterdir()} <= sent
    assert all(gzip.decompress(asset.packed) == asset.plain for asset in assets().values())


async def test_a_page_is_not_kept_and_says_so_once(house: House, signed_in: httpx.AsyncClient) -> None:
    async with stranger(house) as client:
        answers = [await client.get("/login")]
    answers += [await signed_in.get(path) for path in ("/", "/nothing-is-here")]
    for answer in answers:
        assert answer.headers.get_list("cache-control") == ["no-store"]


async def test_an_address_at_which_nothing_is_says_so_on_a_page(signed_in: httpx.AsyncClient) -> None:
    nothing = await signed_in.get("/nothing-is-here")
    assert (nothing.status_code, "There is nothing at this address." in nothing.text) == (404, True)
    wrong = await signed_in.put("/quotas")
    assert (wrong.status_code, "cannot be done at this address" in wrong.text) == (405, True)
    assert "GET" in wrong.headers["allow"]
