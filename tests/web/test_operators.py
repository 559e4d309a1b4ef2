"""The page about operators: who has a token, making one, and taking it away."""

import re
from html import unescape

import httpx
import pytest

from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.operators import Operator, Role
from tests.http.house import House
from tests.web.conftest import browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = '"><img src=x onerror="alert(1)"><script>alert(1)</script>'
ZH = {"accept-language": "zh-CN"}


async def create(
    client: httpx.AsyncClient, name: str, role: str = "viewer", **headers: str
) -> httpx.Response:
    fields = {"do": "create", "name": name, "role": role}
    return await client.post("/operators", data=fields, headers=headers)


async def known(house: House, name: str) -> Operator:
    (found,) = [operator for operator in await house.qf.operators.all() if operator.name == name]
    return found


def secret_in(answer: httpx.Response) -> str:
    """Return the token that a page shows."""
    shown = re.search(r'<code id="secret">(qf_op_[^<]+)</code>', answer.text)
    assert shown is not None
    return shown[1]


async def test_a_token_is_shown_once_and_lets_its_owner_in(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    made = await create(signed_in, "anna", "admin")
    assert made.status_code == 201
    secret = secret_in(made)
    assert made.headers["cache-control"] == "no-store"
    assert secret not in str(made.headers)
    async with browser(house, secret) as anna:
        page = (await anna.get("/operators")).text
        assert 'anna</b> <span class="tag">you</span>' in page
        assert "admin token, which is not in this list" not in page
        assert secret not in page
    assert secret not in (await signed_in.get("/operators")).text
    operator = await known(house, "anna")
    assert (operator.role, secret.startswith(operator.prefix)) == (Role.ADMIN, True)


@pytest.mark.parametrize(
    ("name", "role", "field", "english", "chinese"),
    [
        ("", "viewer", "name", "Name is missing", "缺少名称"),
        (
            "x" * 129,
            "viewer",
            "name",
            "Name must be at most 128 bytes of UTF-8",
            "名称最多 128 字节（UTF-8）",
        ),
        ("Admin", "viewer", "name", "an operator has the name 'Admin'", "已有名为 'Admin' 的操作员"),
        ("kept", "owner", "role", "Role must be one of 'admin' or 'viewer'", "角色必须是以下之一"),
    ],
)
async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_is_kept(
    signed_in: httpx.AsyncClient, name: str, role: str, field: str, english: str, chinese: str
) -> None:
    for headers, told in (({}, english), (ZH, chinese)):
        answer = await create(signed_in, name, role, **headers)
        assert answer.status_code == 422
        note = re.search(rf'id="create-{field}-note">([^<]*)', answer.text)
        assert note is not None
        assert told in unescape(note[1])
        assert f'value="{name}"' in answer.text
        assert '<details class="fold" id="new" open>' in answer.text


async def test_who_is_revoked_is_out_and_stays_in_the_list(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    secret = secret_in(await create(signed_in, "bert"))
    operator = await known(house, "bert")
    async with browser(house, secret) as bert:
        revoked = await signed_in.post("/operators", data={"do": "revoke", "operator": operator.id})
        assert (revoked.status_code, revoked.headers["location"]) == (303, "/operators")
        assert "The token is refused from now on" in (await signed_in.get("/operators")).text
        assert (await bert.get("/operators")).headers["location"].startswith("/login")
    pages = ""
    for start in range(0, len(await house.qf.operators.all()), ON_A_PAGE):
        pages += (await signed_in.get("/operators", params={"from": str(start)}, headers=ZH)).text
    row = re.search(r"<tr><td><b>bert</b>.*?</tr>", pages, re.DOTALL)
    assert row is not None
    assert "已吊销" in row[0]
    assert operator.id not in re.findall(r'name="operator" value="([^"]+)"', pages), "nobody is revoked twice"


async def test_who_revokes_their_own_token_is_asked_for_another(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    secret = secret_in(await create(signed_in, "carl", "admin"))
    operator = await known(house, "carl")
    async with browser(house, secret) as carl:
        assert "You sign yourself out" in (await carl.get("/operators")).text
        await carl.post("/operators", data={"do": "revoke", "operator": operator.id})
        assert (await carl.get("/operators")).headers["location"].startswith("/login")


async def test_a_viewer_sees_who_there_is_and_may_change_nothing(
    house: House, viewing: httpx.AsyncClient
) -> None:
    page = (await viewing.get("/operators")).text
    assert "looker</b>" in page
    assert "ask one of them" in page
    assert 'value="create"' not in page
    assert 'value="revoke"' not in page
    assert (await create(viewing, "mallory", "admin")).status_code == 403
    looker = await known(house, "looker")
    refused = await viewing.post("/operators", data={"do": "revoke", "operator": looker.id})
    assert refused.status_code == 403
    assert (await known(house, "looker")).revoked_us is None


async def test_a_hostile_name_is_only_a_name(signed_in: httpx.AsyncClient) -> None:
    for page in (
        await create(signed_in, EVIL),
        await create(signed_in, EVIL),
        await signed_in.get("/operators"),
    ):
        assert "<img src=x" not in page.text
        assert EVIL in unescape(page.text)


async def test_pages_show_each_operator_once_the_revoked_last(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    for number in range(ON_A_PAGE + 2):
        operator, _ = await house.qf.operators.create(f"many{number}", Role.VIEWER)
        if number == ON_A_PAGE + 1:
            await house.qf.operators.revoke(operator.id)
    first = (await signed_in.get("/operators")).text
    second = (await signed_in.get("/operators", params={"from": str(ON_A_PAGE)})).text
    shown = [re.findall(r"<tr><td><b>(many\d+)</b>", page) for page in (first, second)]
    assert len(shown[0]) == ON_A_PAGE
    assert sorted(shown[0] + shown[1]) == sorted(f"many{number}" for number in range(ON_A_PAGE + 2))
    assert f"many{ON_A_PAGE + 1}" in shown[1]
    assert f'href="/operators?from={ON_A_PAGE}"' in first
    for odd in ("x", "-1", "9" * 30, "²"):
        assert (await signed_in.get("/operators", params={"from": odd})).status_code == 200


async def test_what_is_not_known_is_refused(signed_in: httpx.AsyncClient) -> None:
    assert (await signed_in.post("/operators", data={"do": "dance"})).status_code == 422
    answer = await signed_in.post("/operators", data={"do": "revoke", "operator": "op_nobody"})
    assert answer.status_code == 404
