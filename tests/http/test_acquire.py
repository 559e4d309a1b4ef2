"""POST /api/quotas/{id}/acquire: a decision, with the headers that clients of rate limits know."""

import asyncio
import re

import pytest

from quotaflow.edges.http.problems import retry_after
from quotaflow.edges.http.ratelimit import headers, item, whole
from quotaflow.errors import Unavailable
from quotaflow.model import Decision, Reason, make_quota
from tests.http.house import PROBLEM, House, path_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_grant_says_what_is_left(house: House) -> None:
    await house.quota("grants", capacity=10, refill_rate=0)
    answer = await house.client.post("/api/quotas/grants/acquire", json={"cost": 4})
    assert answer.status_code == 200
    assert answer.json() == {
        "allowed": True,
        "remaining": 6.0,
        "retry_after": 0.0,
        "reset_after": None,
        "reason": "granted",
    }
    assert answer.headers["ratelimit-policy"] == '"grants";q=10'
    assert answer.headers["ratelimit"] == '"grants";r=6'
    assert "retry-after" not in answer.headers


async def test_without_a_body_it_costs_one(house: House) -> None:
    await house.quota("bare", capacity=2, refill_rate=0)
    assert (await house.client.post("/api/quotas/bare/acquire")).json()["remaining"] == 1
    assert (await house.client.post("/api/quotas/bare/acquire", json={"cost": 0})).json()["remaining"] == 1


async def test_a_refusal_is_a_problem_that_says_when_to_come_back(house: House) -> None:
    await house.quota("refuses", capacity=10, refill_rate=0.8)
    await house.client.post("/api/quotas/refuses/acquire", json={"cost": 10})
    answer = await house.client.post("/api/quotas/refuses/acquire", json={"cost": 2})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (429, PROBLEM)
    assert (problem["code"], problem["allowed"], problem["reason"]) == ("quota_exceeded", False, "limited")
    assert 2 < problem["retry_after"] <= 2.5
    assert answer.headers["retry-after"] == "3", "whole seconds, rounded up"
    assert answer.headers["ratelimit-policy"] == '"refuses";q=10;w=13'
    assert answer.headers["ratelimit"] == '"refuses";r=0;t=13'


async def test_retry_after_is_whole_seconds_rounded_up_and_at_least_one() -> None:
    assert [retry_after(seconds).get("Retry-After") for seconds in (0.0, 1e-6, 1.0, 1.01, 1e10)] == [
        "1", "1", "1", "2", "10000000000",
    ]  # fmt: skip
    assert retry_after(None) == {}


async def test_a_refusal_says_to_wait_at_least_a_second(house: House) -> None:
    await house.quota("quick", capacity=1, refill_rate=2)
    await house.client.post("/api/quotas/quick/acquire")
    answer = await house.client.post("/api/quotas/quick/acquire")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


async def test_what_never_refills_promises_no_time(house: House) -> None:
    await house.quota("prepaid", capacity=1, refill_rate=0)
    await house.client.post("/api/quotas/prepaid/acquire")
    answer = await house.client.post("/api/quotas/prepaid/acquire")
    assert (answer.status_code, answer.json()["retry_after"]) == (429, None)
    assert "retry-after" not in answer.headers


async def test_more_than_the_capacity_is_impossible(house: House) -> None:
    await house.quota("small", capacity=3)
    answer = await house.client.post("/api/quotas/small/acquire", json={"cost": 4})
    assert (answer.status_code, answer.json()["code"], answer.json()["retry_after"]) == (
        422,
        "impossible",
        None,
    )
    assert answer.json()["remaining"] == 3


async def test_a_disabled_quota_is_a_conflict(house: House) -> None:
    await house.quota("off", enabled=False)
    answer = await house.client.post("/api/quotas/off/acquire")
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (
        409,
        "quota_disabled",
        "disabled",
    )
    assert "retry-after" not in answer.headers


async def test_a_missing_quota_is_not_found(house: House) -> None:
    answer = await house.client.post("/api/quotas/nowhere/acquire")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_many_at_once_never_get_more_than_there_is(house: House) -> None:
    await house.quota("crowd", capacity=20, refill_rate=0)
    answers = await asyncio.gather(*[house.client.post("/api/quotas/crowd/acquire") for _ in range(60)])
    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [429] * 40
    shown = (await house.client.get("/api/quotas/crowd")).json()
    assert (shown["allowed"], shown["limited"]) == (20, 40)


async def test_the_policy_follows_a_change_at_once(house: House) -> None:
    await house.quota("moves", capacity=10, refill_rate=1)
    look = await house.client.post("/api/quotas/moves/acquire", json={"cost": 0})
    assert look.headers["ratelimit-policy"] == '"moves";q=10;w=10'
    await house.client.patch("/api/quotas/moves", json={"capacity": 7.5, "refill_rate": 0.5})
    look = await house.client.post("/api/quotas/moves/acquire", json={"cost": 0})
    assert look.headers["ratelimit-policy"] == '"moves";q=7;w=15'


async def test_a_decision_does_not_need_sql(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers do; they are left out while SQL is away, and it is not asked again for each request."""
    await house.quota("away", capacity=10)
    asked = 0

    async def away(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise Unavailable("SQL is away")

    monkeypatch.setattr(house.qf.store, "get_quota", away)
    for _ in range(3):
        answer = await house.client.post("/api/quotas/away/acquire")
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers
    assert asked == 1


async def test_slow_sql_holds_a_decision_up_once_and_for_a_moment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.quota("slow")
    monkeypatch.setattr("quotaflow.edges.http.ratelimit.READ_S", 0.01)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(house.qf.store, "get_quota", never)
    for _ in range(2):
        assert (await house.client.post("/api/quotas/slow/acquire")).status_code == 200


@pytest.mark.parametrize(
    ("quota_id", "written"),
    [
        ("external_api", '"external_api"'),
        ('say "hi" \\', '"say \\"hi\\" \\\\"'),
        ("100%", '"100%25"'),
        ("获取", '"%E8%8E%B7%E5%8F%96"'),
        ("a,b;q=9", '"a,b;q=9"'),
        ("\r\nX-Injected: 1", '"%0D%0AX-Injected: 1"'),
    ],
)
async def test_an_id_is_a_structured_field_string(quota_id: str, written: str) -> None:
    assert item(quota_id) == written
    assert re.fullmatch(r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"', written), "RFC 9651, 3.3.3"


async def test_numbers_in_the_headers_stay_within_fifteen_digits() -> None:
    slowest = make_quota(id="slowest", capacity=9_000_000_000, refill_rate=0.000_001)
    decision = Decision(False, "slowest", 0.999, 9e15, 9e15, Reason.LIMITED)
    assert headers(slowest, decision) == {
        "RateLimit-Policy": '"slowest";q=9000000000;w=999999999999999',
        "RateLimit": '"slowest";r=0;t=999999999999999',
    }
    assert whole(0.1) == 1


@pytest.mark.parametrize("quota_id", ["获取 数据", 'a"b\\c', "a,b;c=1", "per%cent"])
async def test_the_headers_of_an_odd_id_arrive_whole(house: House, quota_id: str) -> None:
    await house.quota(quota_id, capacity=10, refill_rate=0)
    answer = await house.client.post(path_of(quota_id, "acquire"))
    assert answer.headers["ratelimit"] == f"{item(quota_id)};r=9"
