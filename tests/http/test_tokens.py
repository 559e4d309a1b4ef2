"""/api/tokens: make access tokens, list them, change them, recharge them, end them."""

from typing import Any

import pytest

from tests.http.house import PROBLEM, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW = {"ws_id": "ws-1", "email": "anna@example.com", "operation": "add", "days": 30}


async def test_a_token_is_made_with_a_secret_that_is_shown_once(house: House) -> None:
    answer = await house.client.post("/api/tokens", json={**NEW, "quota_type": "hybrid", "total_quota": 50})
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert made["secret"].startswith(made["prefix"])
    assert len(made["secret"]) == 54
    assert (made["total_quota"], made["remaining_quota"], made["consumed_quota"]) == (50.0, 50.0, 0.0)
    assert (made["allowed"], made["limited"], made["version"], made["active"]) == (0, 0, 1, True)
    assert (made["deleted_at"], made["rate_limit_per_minute"]) == (None, None)
    assert made["expires_at"] > made["created_at"]
    secret = made.pop("secret")
    shown = await house.client.get(f"/api/tokens/{made['id']}")
    assert secret not in shown.text
    assert shown.json() == {**made, "quota_synced_at": shown.json()["quota_synced_at"]}


async def test_a_token_of_type_time_counts_no_units(house: House) -> None:
    made, _ = await house.token(quota_type="time", operation="set", specific_date="2199-12-31")
    assert made["expires_at"] == "2199-12-31T00:00:00.000000Z"
    assert (await house.client.get(f"/api/tokens/{made['id']}/quota")).json() == {
        "quota_type": "time",
        "total_quota": None,
        "remaining_quota": None,
        "consumed_quota": None,
        "expires_at": "2199-12-31T00:00:00.000000Z",
        "active": True,
    }
    refused = await house.client.post(
        f"/api/tokens/{made['id']}/recharge", json={"operation": "add", "amount": 5}
    )
    assert (refused.status_code, refused.json()["field"]) == (422, "token_id")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ws_id": ""}, "ws_id"),
        ({"ws_id": 7}, "ws_id"),
        ({"email": "nobody"}, "email"),
        ({"email": "a b@example.com"}, "email"),
        ({"operation": "extend"}, "operation"),
        ({"operation": None}, "operation"),
        ({"days": 0}, "days"),
        ({"days": 1.5}, "days"),
        ({"days": True}, "days"),
        ({"days": 36_501}, "days"),
        ({"operation": "unlimited"}, "days"),
        ({"specific_date": "2999-01-01"}, "specific_date"),
        ({"operation": "set", "days": None, "specific_date": "2001-01-01"}, "specific_date"),
        ({"operation": "set", "days": None, "specific_date": "soon"}, "specific_date"),
        ({"operation": "set", "days": None}, "specific_date"),
        ({"operation": "set", "days": None, "specific_date": "2999-01-01"}, "specific_date"),
        ({"quota_type": "bytes"}, "quota_type"),
        ({"quota_type": None}, "quota_type"),
        ({"quota_type": "count"}, "total_quota"),
        ({"quota_type": "count", "total_quota": 0}, "total_quota"),
        ({"quota_type": "count", "total_quota": -1}, "total_quota"),
        ({"quota_type": "count", "total_quota": "5"}, "total_quota"),
        ({"total_quota": 5}, "total_quota"),
        (
            {"quota_type": "hybrid", "total_quota": 5, "operation": "unlimited", "days": None},
            "operation",
        ),
        ({"rate_limit_per_minute": 0}, "rate_limit_per_minute"),
        ({"rate_limit_per_minute": 1.5}, "rate_limit_per_minute"),
        ({"rate_limit_burst": 5}, "rate_limit_burst"),
        ({"secret": "qf_mine"}, "secret"),
    ],
)
async def test_bad_terms_are_refused_by_field_and_make_nothing(
    house: House, changes: dict[str, Any], field: str
) -> None:
    before = await everything(house)
    answer = await house.client.post("/api/tokens", json={**NEW, **changes})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), answer.text
    assert answer.json()["field"] == field, answer.text
    assert await everything(house) == before


async def everything(house: House) -> tuple[set[str], set[str]]:
    """Return the ids of all tokens in SQL and Redis."""
    page = (await house.client.get("/api/tokens", params={"limit": 1000, "deleted": "true"})).json()
    return {token["id"] for token in page["items"]}, set(house.redis.scan_iter("qf:{p0}:allowance:*"))


@pytest.mark.parametrize("missing", ["ws_id", "email", "operation"])
async def test_what_is_missing_is_named(house: House, missing: str) -> None:
    body = {key: value for key, value in NEW.items() if key != missing}
    assert (await house.client.post("/api/tokens", json=body)).json()["field"] == missing


async def test_tokens_are_listed_newest_first_in_pages_and_filtered(house: House) -> None:
    made = [(await house.token(ws_id="pages", email=f"{name}@example.com"))[0] for name in "abc"]
    ids = [token["id"] for token in reversed(made)]
    found: list[str] = []
    query: dict[str, Any] = {"ws_id": "pages", "limit": 2}
    while True:
        page = (await house.client.get("/api/tokens", params=query)).json()
        found += [token["id"] for token in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == ids

    async def listed(**query: Any) -> list[str]:
        page = (await house.client.get("/api/tokens", params={"ws_id": "pages", **query})).json()
        return [token["email"][0] for token in page["items"]]

    assert await listed(email="b@example.com") == ["b"]
    assert await listed(quota_type="time") == []
    await house.client.patch(f"/api/tokens/{made[0]['id']}", json={"active": False})
    assert (await listed(active="true"), await listed(active="false")) == (["c", "b"], ["a"])
    await house.client.delete(f"/api/tokens/{made[1]['id']}")
    assert (await listed(), await listed(deleted="true")) == (["c", "a"], ["c", "b", "a"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"quota_type": "bytes"}, "quota_type"),
        ({"active": "perhaps"}, "active"),
        ({"secret": "x"}, "secret"),
    ],
)
async def test_a_bad_query_is_refused_by_field(house: House, query: dict[str, Any], field: str) -> None:
    answer = await house.client.get("/api/tokens", params=query)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_change_changes_what_is_given_and_acts_at_once(house: House) -> None:
    made, mine = await house.token()
    path = f"/api/tokens/{made['id']}"
    changed = (await house.client.patch(path, json={"email": "new@example.com", "ws_id": "ws-2"})).json()
    assert (changed["email"], changed["ws_id"], changed["version"]) == ("new@example.com", "ws-2", 2)
    assert (await house.client.patch(path, json={"active": False})).json()["active"] is False
    assert (await house.stranger.post("/api/consume", headers=mine)).json()["code"] == "token_disabled"
    await house.client.patch(path, json={"active": True})
    assert (await house.stranger.post("/api/consume", headers=mine)).status_code == 200

    paced = (await house.client.patch(path, json={"rate_limit_per_minute": 1, "rate_limit_burst": 2})).json()
    assert (paced["rate_limit_per_minute"], paced["rate_limit_burst"]) == (1, 2)
    free = (await house.client.patch(path, json={"rate_limit_per_minute": None})).json()
    assert (free["rate_limit_per_minute"], free["rate_limit_burst"]) == (None, None)

    ends = (await house.client.patch(path, json={"operation": "add", "days": 1})).json()["expires_at"]
    later = (await house.client.patch(path, json={"operation": "add", "days": 1})).json()["expires_at"]
    assert later > ends > made["created_at"]
    hybrid = (await house.client.patch(path, json={"quota_type": "hybrid"})).json()
    assert (hybrid["quota_type"], hybrid["remaining_quota"]) == ("hybrid", 99.0)


async def test_a_token_of_type_time_becomes_one_that_counts(house: House) -> None:
    made, _ = await house.token(quota_type="time")
    path = f"/api/tokens/{made['id']}"
    without = await house.client.patch(path, json={"quota_type": "count"})
    assert (without.status_code, without.json()["field"]) == (422, "total_quota")
    changed = (await house.client.patch(path, json={"quota_type": "count", "total_quota": 7})).json()
    assert (changed["quota_type"], changed["remaining_quota"]) == ("count", 7.0)
    again = await house.client.patch(path, json={"total_quota": 9})
    assert (again.status_code, again.json()["field"]) == (422, "total_quota")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"email": None}, "email"),
        ({"active": None}, "active"),
        ({"days": 5}, "days"),
        ({"rate_limit_burst": 5}, "rate_limit_burst"),
        ({"id": "tok_x"}, "id"),
        ({"remaining_quota": 5}, "remaining_quota"),
        ({"quota_type": "hybrid"}, "operation"),
    ],
)
async def test_a_bad_change_changes_nothing(house: House, body: dict[str, Any], field: str) -> None:
    made, _ = await house.token()
    answer = await house.client.patch(f"/api/tokens/{made['id']}", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert (await house.client.get(f"/api/tokens/{made['id']}")).json()["version"] == 1


async def test_a_deleted_token_is_refused_and_still_shown(house: House) -> None:
    made, mine = await house.token()
    path = f"/api/tokens/{made['id']}"
    answer = await house.client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await house.stranger.post("/api/consume", headers=mine)).json()["code"] == "token_disabled"
    shown = (await house.client.get(path)).json()
    assert (shown["active"], shown["deleted_at"] is None) == (False, False)
    assert (await house.client.delete(path)).status_code == 404
    assert (await house.client.patch(path, json={"active": True})).status_code == 404


async def test_a_recharge_adds_sets_or_resets_and_happens_once_under_its_id(house: House) -> None:
    made, mine = await house.token()
    path = f"/api/tokens/{made['id']}/recharge"

    async def has(**body: Any) -> tuple[float, float]:
        answer = await house.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["total_quota"], answer.json()["remaining_quota"]

    await house.stranger.post("/api/consume", json={"cost": 30}, headers=mine)
    for _ in range(3):
        assert await has(operation="add", amount=50, request_id="bill-7") == (150.0, 120.0)
    assert await has(operation="set", amount=10) == (150.0, 10.0)
    assert await has(operation="reset") == (150.0, 150.0)
    assert await has(operation="reset", amount=20) == (20.0, 20.0)
    other = await house.client.post(path, json={"operation": "add", "amount": 1, "request_id": "bill-7"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "operation"),
        ({"operation": "recharge", "amount": 1}, "operation"),
        ({"operation": "add"}, "amount"),
        ({"operation": "add", "amount": 0}, "amount"),
        ({"operation": "add", "amount": -1}, "amount"),
        ({"operation": "add", "amount": 9_000_000_000}, "amount"),
        ({"operation": "set", "amount": "5"}, "amount"),
        ({"operation": "add", "amount": 1, "request_id": "with space"}, "request_id"),
        ({"operation": "add", "amount": 1, "request_id": ""}, "request_id"),
    ],
)
async def test_a_bad_recharge_changes_nothing(house: House, body: dict[str, Any], field: str) -> None:
    made, _ = await house.token()
    answer = await house.client.post(f"/api/tokens/{made['id']}/recharge", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert (await house.client.get(f"/api/tokens/{made['id']}/quota")).json()["remaining_quota"] == 100.0


async def test_no_customer_can_cancel_a_recharge(house: House) -> None:
    """Its id is one of the admin's; a quota that is named as the act must not get its units either."""
    made, mine = await house.token()
    await house.client.post("/api/quotas", json={"id": "recharge", "kind": "allowance", "total": 1})
    recharge = {"operation": "add", "amount": 50, "request_id": "bill-8"}
    await house.client.post(f"/api/tokens/{made['id']}/recharge", json=recharge)
    assert (await house.stranger.get("/api/consume/bill-8", headers=mine)).json()["state"] == "unknown"
    await house.stranger.delete("/api/consume/bill-8", headers=mine)
    assert (await house.client.get("/api/quotas/recharge")).json()["remaining"] == 1
    await house.client.post(f"/api/tokens/{made['id']}/recharge", json=recharge)
    assert (await house.client.get(f"/api/tokens/{made['id']}/quota")).json()["remaining_quota"] == 150.0


async def test_an_expired_token_has_nothing_left(house: House) -> None:
    made, mine = await house.token()
    ended = (await house.client.post(f"/api/tokens/{made['id']}/expire")).json()
    assert (ended["remaining_quota"], ended["expires_at"] is None) == (0.0, False)
    refused = await house.stranger.post("/api/consume", headers=mine)
    assert (refused.status_code, refused.json()["code"]) == (403, "token_expired")


@pytest.mark.parametrize("token_id", ["nobody", "tok_" + "0" * 32, "tok_x", "qf_" + "a" * 49])
async def test_an_unknown_token_is_not_found_and_its_id_not_repeated(house: House, token_id: str) -> None:
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("PATCH", ""),
        ("GET", "/quota"),
        ("POST", "/recharge"),
        ("POST", "/expire"),
        ("GET", "/quota/logs"),
        ("GET", "/quota/logs/export"),
        ("GET", "/requests/r-1"),
    ):
        body = {"PATCH": {"active": True}, "POST": {"operation": "add", "amount": 1}}.get(method)
        body = None if path == "/expire" else body
        answer = await house.client.request(method, f"/api/tokens/{token_id}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)
        assert "qf_" not in answer.text


async def test_an_access_token_opens_nothing_of_the_admins(house: House) -> None:
    made, mine = await house.token()
    for method, path in (
        ("GET", "/api/tokens"),
        ("POST", "/api/tokens"),
        ("GET", f"/api/tokens/{made['id']}"),
        ("POST", f"/api/tokens/{made['id']}/recharge"),
        ("GET", f"/api/tokens/{made['id']}/quota/logs"),
        ("POST", "/api/refund"),
        ("GET", "/api/quotas/x/logs"),
        ("GET", "/api/consumers"),
    ):
        for headers in (mine, {"access-token": made["secret"]}, {}):
            answer = await house.stranger.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), path
