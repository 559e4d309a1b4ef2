"""/api/upstream-keys: keys of other people's services, from the first to the last request about one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from quotaflow.examples.upstream_service import Behaviour
from tests.http.house import PROBLEM, held
from tests.http.upstream import PATH, UpstreamHouse, upstream_house
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    valkey_server: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UpstreamHouse]:
    valkey_server.start()
    valkey_server.clear()
    async with held(lambda: upstream_house(valkey_server, tmp_path_factory.mktemp("upstream"))) as house:
        yield house


async def test_a_key_lives_from_post_to_delete(house: UpstreamHouse) -> None:
    secret = house.account(limit=1000)
    made = await house.client.post(PATH, json={"provider": "tavily", "secret": secret, "name": "main"})
    key = made.json()
    assert made.status_code == 201
    moments = {name: key.pop(name) for name in ("last_checked_at", "created_at", "updated_at")}
    assert all(text.endswith("Z") and text.startswith("20") for text in moments.values())
    assert key == {
        "id": key["id"],
        "provider": "tavily",
        "name": "main",
        "key": f"tvly-...{secret[-4:]}",
        "source": "encrypted",
        "enabled": True,
        "status": "active",
        "plan_limit": 1000.0,
        "used": 0.0,
        "remaining": 1000.0,
        "reserved": 0.0,
        "cooldown_until": None,
        "last_error": None,
        "failures": 0,
    }
    path = f"{PATH}/{key['id']}"
    async with house.qf.upstream.key("tavily", cost=2.5):
        shown = (await house.client.get(path)).json()
        assert (shown["reserved"], shown["remaining"]) == (2.5, 997.5)

    renamed = await house.client.patch(path, json={"name": "second", "enabled": False})
    assert (renamed.status_code, renamed.json()["name"], renamed.json()["enabled"]) == (200, "second", False)
    assert renamed.json()["reserved"] is None
    other = house.account(limit=7)
    changed = await house.client.patch(path, json={"secret": other, "enabled": True})
    assert (changed.json()["key"], changed.json()["remaining"]) == (f"tvly-...{other[-4:]}", 7.0)

    assert (await house.client.delete(path)).status_code == 204
    for gone in (await house.client.get(path), await house.client.delete(path)):
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_keys_are_listed_newest_first_in_pages_and_by_what_they_are(house: UpstreamHouse) -> None:
    await house.clear()
    first = await house.add(house.account(used=100), name="empty")
    second = await house.add(name="off", enabled=False)
    third = await house.add(provider="other", name="third")

    async def listed(**query: Any) -> list[str]:
        return [item["id"] for item in (await house.client.get(PATH, params=query)).json()["items"]]

    assert await listed() == [third["id"], second["id"], first["id"]]
    assert await listed(provider="other") == [third["id"]]
    assert await listed(status="exhausted") == [first["id"]]
    assert await listed(enabled="false") == [second["id"]]
    page = (await house.client.get(PATH, params={"limit": 2})).json()
    assert [item["id"] for item in page["items"]] == [third["id"], second["id"]]
    assert await listed(limit=2, cursor=page["next_cursor"]) == [first["id"]]
    assert first["status"] == "exhausted"


async def test_where_a_secret_is_is_shown_and_what_it_is_not(
    house: UpstreamHouse, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(house.account() + "\n")
    monkeypatch.setenv("CANARY_KEY", house.account())
    for source in ("env:CANARY_KEY", f"file:{file}"):
        assert (await house.add(source))["source"] == source


async def test_what_a_service_refuses_is_told_of_the_key(house: UpstreamHouse) -> None:
    stranger = await house.add("tvly-nobody-knows-this-key")
    assert (stranger["status"], stranger["remaining"], stranger["failures"]) == ("invalid", None, 1)
    assert "does not know this key" in stranger["last_error"]
    hasty = house.account()
    house.service.behave([hasty], Behaviour("limited", retry_after="120"))
    resting = await house.add(hasty)
    assert resting["status"] == "cooldown"
    assert resting["cooldown_until"] > resting["created_at"]


SOUND = {"provider": "tavily", "secret": "tvly-sound-key-of-nobody"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"secret": "tvly-sound-key"}, "provider"),
        ({**SOUND, "provider": "nobody"}, "provider"),
        ({**SOUND, "provider": 1}, "provider"),
        ({"provider": "tavily"}, "secret"),
        ({**SOUND, "secret": "short"}, "secret"),
        ({**SOUND, "secret": "with space in it"}, "secret"),
        ({**SOUND, "secret": "env:QUOTAFLOW_ADMIN_TOKEN"}, "secret"),
        ({**SOUND, "secret": "file:relative"}, "secret"),
        ({**SOUND, "secret": None}, "secret"),
        ({**SOUND, "name": ""}, None),
        ({**SOUND, "name": "a\nb"}, "name"),
        ({**SOUND, "name": "x" * 129}, "name"),
        ({**SOUND, "enabled": "yes"}, "enabled"),
        ({**SOUND, "key": "x"}, "key"),
    ],
)
async def test_a_new_key_that_cannot_be_is_refused_by_its_field(
    house: UpstreamHouse, body: dict[str, Any], field: str | None
) -> None:
    before = (await house.client.get(PATH)).json()
    answer = await house.client.post(PATH, json=body)
    if field is None:  # as if there were none: it is called what is shown of it
        assert answer.json()["name"].startswith(answer.json()["key"])
        await house.clear()
        return
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), answer.text
    assert answer.json()["field"] == field
    assert str(body.get("secret")) not in answer.text
    assert (await house.client.get(PATH)).json() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PATCH", "/{id}", {}, "body"),
        ("PATCH", "/{id}", {"name": None}, "name"),
        ("PATCH", "/{id}", {"name": ""}, "name"),
        ("PATCH", "/{id}", {"secret": "short"}, "secret"),
        ("PATCH", "/{id}", {"provider": "other"}, "provider"),
        ("POST", "/refresh", {"provider": 1}, "provider"),
        ("POST", "/refresh", {"provider": "a\0"}, "provider"),
        ("POST", "/refresh", {"of": "tavily"}, "of"),
        ("POST", "/rotate", {"now": True}, "now"),
        ("GET", "?status=broken", None, "status"),
        ("GET", "?enabled=perhaps", None, "enabled"),
        ("GET", "?limit=0", None, "limit"),
        ("GET", "?cursor=x", None, "cursor"),
        ("GET", "?provider=%00", None, "provider"),
        ("GET", "?of=tavily", None, "of"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_field(
    house: UpstreamHouse, method: str, path: str, body: object, field: str
) -> None:
    if "{id}" in path:
        path = path.replace("{id}", (await house.add())["id"])
    answer = await house.client.request(method, PATH + path, json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


async def test_the_same_secret_or_name_is_a_conflict_and_a_missing_variable_says_so(
    house: UpstreamHouse,
) -> None:
    secret = house.account()
    first = await house.add(secret, name="the one")
    second = await house.add(name="the other")
    for body in (
        {"provider": "tavily", "secret": secret},
        {"provider": "tavily", "secret": house.account(), "name": "the one"},
    ):
        answer = await house.client.post(PATH, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    for change in ({"secret": secret}, {"name": "the one"}):
        answer = await house.client.patch(f"{PATH}/{second['id']}", json=change)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await house.client.get(f"{PATH}/{first['id']}")).json()["name"] == "the one"
    missing = await house.client.post(PATH, json={"provider": "tavily", "secret": "env:NOT_SET_ANYWHERE"})
    assert (missing.status_code, missing.json()["code"]) == (409, "secret_unavailable")
    assert "NOT_SET_ANYWHERE is not set" in missing.json()["detail"]


async def test_an_api_key_in_an_address_is_not_repeated(house: UpstreamHouse) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        answer = await house.client.request(method, f"{PATH}/tvly-canary-in-a-path", json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "canary" not in answer.text


@pytest.mark.parametrize("kind", ["csv", "list", "items"])
async def test_an_import_stores_what_it_can_and_names_the_other_rows(house: UpstreamHouse, kind: str) -> None:
    await house.clear()
    one, two = house.account(), house.account()
    rows = [
        {"provider": "tavily", "secret": one, "name": "one"},
        {"provider": "nobody", "secret": two},
        {"provider": "other", "secret": two, "enabled": "false"},
        {"provider": "tavily", "secret": one},
        {"provider": "tavily", "secret": ""},
    ]
    if kind == "csv":
        lines = [
            ",".join(row.get(name, "") for name in ("provider", "secret", "name", "enabled")) for row in rows
        ]
        text = "\n".join(["provider,secret,name,enabled", *lines])
    else:
        text = json.dumps(rows if kind == "list" else {"items": rows})
    answer = await house.client.post(f"{PATH}/import", content=text.encode())
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["success"], report["failed"]) == (2, 3)
    assert [error["row"] for error in report["errors"]] == [2, 4, 5]
    assert [error["error"] for error in report["errors"]] == [
        "provider is not known; known are tavily, other",
        "this secret is stored already",
        "secret is missing",
    ]
    assert one not in answer.text
    assert len((await house.client.get(PATH)).json()["items"]) == 2


@pytest.mark.parametrize(
    ("text", "status", "field"),
    [
        (b"", 422, "rows"),
        (b"name\nx", 422, "rows"),
        (b"[{]", 422, "rows"),
        (b'{"keys": []}', 422, "rows"),
        (b"\xff\xfe", 400, None),
        (b"x" * (8 * 1024 * 1024 + 1), 413, None),
    ],
)
async def test_an_import_that_cannot_be_read_is_refused(
    house: UpstreamHouse, text: bytes, status: int, field: str | None
) -> None:
    answer = await house.client.post(f"{PATH}/import", content=text)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text[:200]


async def test_only_an_import_may_be_large(house: UpstreamHouse) -> None:
    large = b'{"provider": "tavily", "secret": "' + b"x" * 70_000 + b'"}'
    refused = await house.client.post(PATH, content=large)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    rows = "\n".join(f"tavily,tvly-of-an-import-{number:04000d},,no" for number in range(20))
    text = f"provider,secret,name,enabled\n{rows}"
    assert len(text) > 70_000
    answer = await house.client.post(f"{PATH}/import", content=text.encode())
    assert answer.json() == {"success": 20, "failed": 0, "errors": []}


async def test_secrets_under_the_newest_key_are_not_encrypted_anew(house: UpstreamHouse) -> None:
    await house.clear()
    key = await house.add()
    sealed = (await house.qf.store.get_upstream_key(key["id"])).sealed
    answer = await house.client.post(f"{PATH}/rotate")
    assert (answer.status_code, answer.json()) == (200, {"rotated": 0})
    assert (await house.qf.store.get_upstream_key(key["id"])).sealed == sealed
    assert (await house.client.get(f"{PATH}/{key['id']}")).json()["remaining"] == 100.0


async def test_figures_tell_of_the_keys_of_each_provider(house: UpstreamHouse) -> None:
    await house.clear()
    await house.add(house.account(limit=5))
    await house.add(house.account(used=100))
    await house.add(enabled=False)
    async with house.qf.upstream.key("tavily", cost=2):
        lines = (await house.client.get("/metrics")).text.splitlines()
        upstream = (await house.client.get("/api/stats")).json()["upstream"]
    assert 'quotaflow_upstream_keys{provider="tavily",status="active"} 1' in lines
    assert 'quotaflow_upstream_keys{provider="tavily",status="exhausted"} 1' in lines
    assert 'quotaflow_upstream_remaining_units{provider="tavily"} 3.0' in lines
    assert 'quotaflow_upstream_reserved_units{provider="tavily"} 2.0' in lines
    assert "quotaflow_upstream_lost_total 0" in lines
    assert (upstream["keys"], upstream["lost"]) == (2, 0)
    assert upstream["by_status"] == {"active": 1, "exhausted": 1, "invalid": 0, "cooldown": 0}
    assert upstream["providers"]["tavily"]["remaining"] == 3.0
