"""/api/consume: customers with access tokens charge, ask, cancel and report; /api/refund gives back."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from quotaflow.edges.http.app import create_app
from quotaflow.edges.http.auth import TRIES
from quotaflow.secret import make
from quotaflow.timing import ManualClock
from tests.http.house import PROBLEM, TOKEN, House, asking, opened, until
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN, _ = make(lambda size: b"\1" * size)


async def consumed(house: House, mine: dict[str, str], **body: Any) -> httpx.Response:
    """Consume as a customer over TCP."""
    return await house.stranger.post("/api/consume", json=body, headers=mine)


async def test_a_charge_says_what_is_left(house: House) -> None:
    _, mine = await house.token()
    answer = await consumed(house, mine, cost=30, request_id="r-1")
    assert answer.status_code == 200
    assert answer.json() == {
        "allowed": True,
        "remaining": 70.0,
        "retry_after": 0.0,
        "reason": "granted",
        "request_id": "r-1",
        "repeated": False,
    }
    one = (await house.stranger.post("/api/consume", headers=mine)).json()
    assert (one["remaining"], bool(one["request_id"])) == (69.0, True)
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 69.0


async def test_the_secret_may_come_in_other_headers_and_wins_over_the_admin_token(house: House) -> None:
    made, _ = await house.token()
    for name in ("accessToken", "access-token"):
        headers = {name: made["secret"], "authorization": f"Bearer {TOKEN}"}
        assert (await house.stranger.post("/api/consume", headers=headers)).status_code == 200


async def test_a_repeated_request_is_charged_once_and_answered_alike(house: House) -> None:
    _, mine = await house.token()
    bodies = [
        (await consumed(house, mine, cost=10, request_id="same")).json() for _ in range(2)
    ] + await asyncio.gather(*[_json(house, mine) for _ in range(5)])
    assert [body.pop("repeated") for body in bodies] == [False] + [True] * 6
    assert all(body == bodies[0] for body in bodies)
    other = await consumed(house, mine, cost=11, request_id="same")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 90.0


async def _json(house: House, mine: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = (await consumed(house, mine, cost=10, request_id="same")).json()
    return found


async def test_two_tokens_may_use_the_same_request_id(house: House) -> None:
    for _ in range(2):
        _, mine = await house.token()
        assert (await consumed(house, mine, request_id="shared-id")).json()["repeated"] is False


async def test_shared_quotas_are_charged_with_it_all_or_none(house: House) -> None:
    await house.quota("with_token", capacity=10, refill_rate=0)
    await house.client.post("/api/quotas", json={"id": "prepaid_with", "kind": "allowance", "total": 5})
    _, mine = await house.token()
    both = await consumed(house, mine, cost=2, quotas=["with_token", "prepaid_with"])
    assert both.json()["remaining"] == 98.0
    own = await consumed(house, mine, cost=1, quotas={"with_token": 4, "prepaid_with": 3})
    assert own.json()["remaining"] == 97.0
    refused = await consumed(house, mine, cost=1, quotas={"with_token": 1, "prepaid_with": 1})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exhausted")
    assert (refused.json()["detail"], refused.json()["remaining"]) == (
        'quota "prepaid_with" has too few units left',
        0.0,
    )
    assert (await house.client.get("/api/quotas/with_token")).json()["remaining"] == 4
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 97.0


@pytest.mark.parametrize(
    ("terms", "body", "status", "code", "reason"),
    [
        ({"total_quota": 5}, {"cost": 6}, 429, "quota_exhausted", "exhausted"),
        ({"rate_limit_per_minute": 1}, {}, 429, "quota_exceeded", "limited"),
        ({}, {"quotas": ["nowhere"]}, 409, "quota_missing", "missing"),
        ({}, {"quotas": ["consume_off"]}, 409, "quota_disabled", "disabled"),
        ({}, {"quotas": {"consume_tiny": 3}}, 422, "impossible", "impossible"),
        ({}, {"quotas": {"consume_tiny": 2}}, 429, "quota_exceeded", "limited"),
    ],
)
async def test_each_refusal_is_a_problem_with_the_same_members(
    house: House, terms: dict[str, Any], body: dict[str, Any], status: int, code: str, reason: str
) -> None:
    if (await house.client.get("/api/quotas/consume_off")).status_code == 404:
        await house.quota("consume_off", enabled=False)
        await house.quota("consume_tiny", capacity=2, refill_rate=0.001)
        await house.qf.acquire("consume_tiny", 2)
    _, mine = await house.token(**terms)
    if "rate_limit_per_minute" in terms:
        await consumed(house, mine)
    answer = await consumed(house, mine, request_id="refused", **body)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert (problem["code"], problem["reason"], problem["allowed"]) == (code, reason, False)
    assert (problem["request_id"], problem["repeated"]) == ("refused", False)
    assert ("retry-after" in answer.headers) == (code == "quota_exceeded")
    assert (problem["retry_after"] is not None) == (code == "quota_exceeded")
    state = (await house.stranger.get("/api/consume/refused", headers=mine)).json()["state"]
    assert state == "unknown", "a refusal is not remembered"


async def test_a_token_of_type_time_is_not_charged_until_it_ends(house: House) -> None:
    made, mine = await house.token(quota_type="time")
    answer = (await consumed(house, mine, cost=1_000_000)).json()
    assert (answer["allowed"], answer["remaining"]) == (True, None)
    await house.client.post(f"/api/tokens/{made['id']}/expire")
    refused = await consumed(house, mine)
    assert (refused.status_code, refused.json()["code"]) == (403, "token_expired")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"cost": -1}, "cost"),
        ({"cost": "1"}, "cost"),
        ({"cost": 0.1234567}, "cost"),
        ({"cost": None}, "cost"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"request_id": "é"}, "request_id"),
        ({"request_id": 7}, "request_id"),
        ({"request_id": UNKNOWN}, "request_id"),
        ({"quotas": "all"}, "quotas"),
        ({"quotas": [["x"]]}, "quotas"),
        ({"quotas": {"x": "1"}}, "quotas"),
        ({"quotas": {"x": -1}}, "quotas"),
        ({"quotas": [""]}, "quotas"),
        ({"quotas": [f"q{number}" for number in range(33)]}, "quotas"),
        ({"quotas": {"twice": 1, "Twice by name": 1}}, "quotas"),
        ({"token": "x"}, "token"),
    ],
)
async def test_bad_input_is_refused_by_field_and_charges_nothing(
    house: House, body: dict[str, Any], field: str
) -> None:
    if (await house.client.get("/api/quotas/twice")).status_code == 404:
        await house.quota("twice", capacity=1, refill_rate=0, name="Twice by name")
    _, mine = await house.token()
    answer = await consumed(house, mine, **body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert UNKNOWN not in answer.text
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 100.0


# Request ids


async def test_a_request_is_looked_at_cancelled_once_and_then_refused(house: House) -> None:
    made, mine = await house.token()
    path = "/api/consume/job/7?"  # its id has characters that mean something in an address
    request_id, address = "job/7?", path.replace("?", "%3F")
    await consumed(house, mine, cost=40, request_id=request_id)
    state = {"request_id": request_id, "state": "charged", "cost": 40.0, "remaining": 60.0}
    assert (await house.stranger.get(address, headers=mine)).json() == state
    admin = await house.client.get(f"/api/tokens/{made['id']}/requests/job/7%3F")
    assert admin.json() == state

    own = await house.stranger.delete(address, headers=mine)  # who was served must not refund himself
    assert (own.status_code, own.json()["code"]) == (409, "conflict")
    for repeated in (False, True):
        answer = await house.client.delete(f"/api/tokens/{made['id']}/requests/job/7%3F")
        assert answer.json() == {
            "request_id": request_id,
            "state": "cancelled",
            "amount": 0.0 if repeated else 40.0,
            "repeated": repeated,
        }
    late = await consumed(house, mine, cost=40, request_id=request_id)
    assert (late.status_code, late.json()["code"]) == (409, "request_cancelled")
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 100.0


async def test_a_request_that_has_not_come_yet_can_be_cancelled(house: House) -> None:
    _, mine = await house.token()
    assert (await house.stranger.get("/api/consume/later", headers=mine)).json()["state"] == "unknown"
    assert (await house.stranger.delete("/api/consume/later", headers=mine)).json()["state"] == "cancelled"
    late = await consumed(house, mine, request_id="later")
    assert (late.status_code, late.json()["reason"]) == (409, "cancelled")


async def test_nobody_sees_or_cancels_the_requests_of_others(house: House) -> None:
    _, mine = await house.token()
    _, other = await house.token()
    await consumed(house, mine, cost=40, request_id="private")
    assert (await house.stranger.get("/api/consume/private", headers=other)).json()["state"] == "unknown"
    assert (await house.stranger.delete("/api/consume/private", headers=other)).json()["amount"] == 0
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 60.0


async def test_how_the_work_ended_stands_in_the_ledger(house: House) -> None:
    made, mine = await house.token()
    await consumed(house, mine, cost=1, request_id="work")
    message = f"the moon is down\0: {made['secret']}"
    told = {"success": False, "error_type": "MoonError", "error_message": message}
    answer = await house.stranger.post("/api/consume/work/outcome", json=told, headers=mine)
    assert (answer.status_code, answer.content) == (202, b"")
    path = f"/api/tokens/{made['id']}/quota/logs"

    async def written() -> dict[str, Any] | None:
        items = (await house.client.get(path, params={"request_id": "work"})).json()["items"]
        return next((item for item in items if item["execution_success"] is not None), None)

    await until(written)
    row = await written()
    assert row is not None
    assert (row["execution_success"], row["execution_error_type"]) == (False, "MoonError")
    assert row["execution_error_message"] == "the moon is down\ufffd: ***"
    for body, field in (({}, "success"), ({"success": 1}, "success"), ({"success": True, "x": 1}, "x")):
        bad = await house.stranger.post("/api/consume/work/outcome", json=body, headers=mine)
        assert (bad.status_code, bad.json()["field"]) == (422, field)


async def test_a_refund_gives_back_once(house: House) -> None:
    made, mine = await house.token()
    await consumed(house, mine, cost=40, request_id="dear")
    body = {"token_id": made["id"], "request_id": "dear", "amount": 15}
    for repeated in (False, True):
        answer = await house.client.post("/api/refund", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "token_id": made["id"],
            "request_id": "dear",
            "state": "refunded",
            "amount": 0.0 if repeated else 15.0,
            "remaining_quota": 75.0,
            "repeated": repeated,
        }


async def test_a_prepaid_quota_gets_refunds_too(house: House) -> None:
    await house.client.post("/api/quotas", json={"id": "refunded", "kind": "allowance", "total": 5})
    await house.qf.acquire("refunded", 3)
    path = "/api/quotas/refunded/logs"

    async def charged() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await house.client.get(path, params={"action": "consume"})).json()[
            "items"
        ]
        return items

    await until(charged)
    request_id = (await charged())[0]["request_id"]
    answer = await house.client.post("/api/refund", json={"token_id": "refunded", "request_id": request_id})
    assert (answer.json()["amount"], answer.json()["remaining_quota"]) == (3.0, 5.0)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"request_id": "never"}, 404, None),
        ({"request_id": "dear", "amount": 41}, 422, "amount"),
        ({"request_id": "dear", "amount": 0}, 422, "amount"),
        ({"request_id": "dear", "amount": -1}, 422, "amount"),
        ({"request_id": "a b"}, 422, "request_id"),
        ({}, 422, "request_id"),
        ({"request_id": "dear", "reason": "x"}, 422, "reason"),
    ],
)
async def test_a_bad_refund_gives_nothing_back(
    house: House, body: dict[str, Any], status: int, field: str | None
) -> None:
    made, mine = await house.token()
    await consumed(house, mine, cost=40, request_id="dear")
    answer = await house.client.post("/api/refund", json={"token_id": made["id"], **body})
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert (await house.stranger.get("/api/consume/dear", headers=mine)).json()["state"] == "charged"
    assert (await consumed(house, mine, cost=0)).json()["remaining"] == 60.0


# When something is full, or away


async def test_what_is_not_decided_is_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    with ValkeyProcess() as valkey:
        flags = {"redis__deadline_s": 0.3, "journal__request_records_max": 1}
        async with opened(valkey, tmp_path, **flags) as house:
            made, mine = await house.token()
            assert (await consumed(house, mine, request_id="first")).status_code == 200
            full = await consumed(house, mine, request_id="second")
            assert (full.status_code, full.json()["code"]) == (503, "request_records_full")
            assert full.headers["retry-after"] == "60"
            valkey.kill()
            for method, path in (
                ("POST", "/api/consume"),
                ("GET", "/api/consume/first"),
                ("DELETE", "/api/consume/first"),
            ):
                answer = await house.stranger.request(method, path, headers=mine)
                assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM), path
                assert int(answer.headers["retry-after"]) >= 1
            shown = (await house.client.get(f"/api/tokens/{made['id']}")).json()
            assert (shown["allowed"], shown["active"]) == (None, True), "what SQL knows"
            valkey.start()

            async def again() -> bool:
                return (await consumed(house, mine, request_id="first")).status_code == 200

            await until(again, deadline_s=60)
            assert (await consumed(house, mine, request_id="first")).json()["repeated"] is True


# Who may


WRONG = ["", "Bearer", "Basic x", f"Bearer {TOKEN}", "Bearer qf_", f"Bearer {UNKNOWN[:-1]}0", "Bearer é"]


@pytest.mark.parametrize("header", [*WRONG, f"Bearer {UNKNOWN}"])
async def test_without_a_known_secret_nobody_consumes_not_even_the_owner(house: House, header: str) -> None:
    async with asking(create_app(house.qf, trusted=False)) as stranger:
        for client in (stranger, house.client):
            for method, path in (
                ("POST", "/api/consume"),
                ("GET", "/api/consume/x"),
                ("DELETE", "/api/consume/x"),
                ("POST", "/api/consume/x/outcome"),
            ):
                answer = await client.request(method, path, headers=[(b"authorization", header.encode())])
                assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM), path
                assert answer.headers["www-authenticate"].startswith("Bearer ")
                assert UNKNOWN not in answer.text


@pytest.mark.parametrize("secret", ["qf_guess", UNKNOWN])
async def test_who_guesses_secrets_is_slowed_and_nobody_else(house: House, secret: str) -> None:
    _, mine = await house.token()
    app = create_app(house.qf, trusted=False, clock=ManualClock())
    async with asking(app) as client, asking(app, "10.0.0.8") as other:
        for _ in range(TRIES):
            answer = await client.post("/api/consume", headers={"access-token": secret})
            assert (answer.status_code, answer.json()["code"]) == (401, "unknown_token")
        slowed = await client.post("/api/consume", headers=mine)
        assert (slowed.status_code, slowed.json()["code"]) == (429, "too_many_tries")
        assert slowed.headers["retry-after"] == "1"
        assert (await other.post("/api/consume", headers=mine)).status_code == 200
        admin = {"authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/api/tokens", headers=admin)).status_code == 200, "not of the admin's tries"
    for _ in range(TRIES + 1):
        assert (await house.client.post("/api/consume", headers={"access-token": secret})).status_code == 401
    assert (await house.client.post("/api/consume", headers=mine)).status_code == 200, "the owner's is not"


async def test_a_wrong_method_is_told_the_right_ones(house: House) -> None:
    _, mine = await house.token()
    for path, allowed in (("/api/consume", "POST"), ("/api/consume/x", "GET, DELETE")):
        answer = await house.stranger.put(path, headers=mine)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
