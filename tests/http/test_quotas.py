"""/api/quotas: define, change, look at, refill."""

import unicodedata

import pytest

from tests.http.house import PROBLEM, House, path_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_quota_is_created_full_and_shown_alike_everywhere(house: House) -> None:
    made = await house.quota("plain", capacity=10, refill_rate=0.5, name="Plain API")
    assert made == {
        "id": "plain",
        "name": "Plain API",
        "kind": "bucket",
        "capacity": 10.0,
        "refill_rate": 0.5,
        "enabled": True,
        "version": 1,
        "remaining": 10.0,
        "allowed": 0,
        "limited": 0,
        "total": None,
        "reset_cron": None,
        "timezone": None,
        "max_concurrent": None,
        "mirrors": None,
        "running": None,
        "waiting": 0,
    }
    assert (await house.client.get("/api/quotas/plain")).json() == made
    assert made in (await house.client.get("/api/quotas")).json()["items"]


async def test_the_name_is_the_id_when_none_is_given(house: House) -> None:
    assert (await house.quota("unnamed"))["name"] == "unnamed"


async def test_a_quota_that_exists_is_a_conflict_and_stays_as_it_is(house: House) -> None:
    made = await house.quota("taken", capacity=3)
    for body in ({"id": "taken"}, {"id": "other_id", "name": "taken"}):
        answer = await house.client.post("/api/quotas", json={"capacity": 99, "refill_rate": 9, **body})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await house.client.get("/api/quotas/taken")).json() == made


async def test_a_change_acts_at_once_and_cuts_the_level(house: House) -> None:
    await house.quota("shrinks", capacity=10, refill_rate=0)
    answer = await house.client.patch("/api/quotas/shrinks", json={"capacity": 4})
    assert answer.status_code == 200
    assert (answer.json()["capacity"], answer.json()["remaining"], answer.json()["version"]) == (4.0, 4.0, 2)
    assert (await house.qf.acquire("shrinks", 4)).allowed
    assert not (await house.qf.acquire("shrinks", 1)).allowed
    assert (await house.client.patch("/api/quotas/shrinks", json={"enabled": False})).json()[
        "enabled"
    ] is False
    assert (await house.qf.acquire("shrinks", 0)).reason == "disabled"


async def test_a_refill_fills_it_at_once(house: House) -> None:
    await house.quota("empties", capacity=5, refill_rate=0)
    await house.qf.acquire("empties", 5)
    assert (await house.client.get("/api/quotas/empties")).json()["remaining"] == 0
    assert (await house.client.post("/api/quotas/empties/refill")).json()["remaining"] == 5
    assert (await house.client.post("/api/quotas/empties/refill", json={})).status_code == 200


async def test_a_deleted_quota_is_gone(house: House) -> None:
    await house.quota("leaves")
    answer = await house.client.delete("/api/quotas/leaves")
    assert (answer.status_code, answer.content, "content-type" in answer.headers) == (204, b"", False)
    for method, path in (
        ("GET", "/api/quotas/leaves"),
        ("PATCH", "/api/quotas/leaves"),
        ("DELETE", "/api/quotas/leaves"),
        ("POST", "/api/quotas/leaves/refill"),
        ("POST", "/api/quotas/leaves/acquire"),
    ):
        body = {"enabled": True} if method == "PATCH" else None
        answer = await house.client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert answer.headers["content-type"] == PROBLEM


async def test_a_list_comes_in_pages(house: House) -> None:
    wanted = [f"page_{number}" for number in range(5)]
    for quota_id in wanted:
        await house.quota(quota_id)
    found: list[str] = []
    cursor: str | None = "page_"
    while cursor is not None:
        page = (await house.client.get("/api/quotas", params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert [quota_id for quota_id in found if quota_id.startswith("page_")] == wanted


ODD_IDS = [
    "a:b",
    "{p0}",
    "a*?[x]",
    "100%",
    "a%2Fb",
    "with space",
    "slash/inside",
    "ends/acquire",
    "refill",
    "//",
    "q?x=1#top",
    "<script>alert(1)</script>",
    '"quoted\\"',
    "=cmd()",
    "获取股票数据",
    "é",
    "x" * 128,
]


@pytest.mark.parametrize("quota_id", ODD_IDS)
async def test_any_printable_id_works_percent_encoded(house: House, quota_id: str) -> None:
    made = await house.quota(quota_id, capacity=2, refill_rate=0)
    assert made["id"] == quota_id
    assert (await house.client.get(path_of(quota_id))).json() == made
    taken = await house.client.post(path_of(quota_id, "acquire"), json={"cost": 2})
    assert (taken.status_code, taken.json()["remaining"]) == (200, 0.0)
    assert (await house.client.post(path_of(quota_id, "refill"))).json()["remaining"] == 2
    changed = await house.client.patch(path_of(quota_id), json={"capacity": 3})
    assert changed.json()["version"] == 2
    assert (await house.client.delete(path_of(quota_id))).status_code == 204


async def test_two_spellings_of_one_id_are_one_quota(house: House) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "cafe\u0301"), "cafe\u0301"
    assert (await house.quota(decomposed))["id"] == composed
    assert (await house.client.get(path_of(decomposed))).json()["id"] == composed


async def test_a_quota_shows_how_many_are_under_way_and_null_removes_the_limit(house: House) -> None:
    made = await house.quota("slots", max_concurrent=2)
    assert (made["max_concurrent"], made["running"], made["waiting"]) == (2, 0, 0)
    async with house.qf.slot("slots"):
        assert (await house.client.get("/api/quotas/slots")).json()["running"] == 1
        changed = await house.client.patch("/api/quotas/slots", json={"max_concurrent": 1})
        assert (changed.json()["max_concurrent"], changed.json()["running"]) == (1, 1)
    changed = await house.client.patch("/api/quotas/slots", json={"max_concurrent": None})
    assert (changed.json()["max_concurrent"], changed.json()["running"]) == (None, None)


@pytest.mark.parametrize("value", [0, -1, 1_000_001, 1.5, "2", True])
async def test_a_limit_is_a_whole_number(house: House, value: object) -> None:
    await house.quota(f"limit {value!r}")
    body = {"id": "bad", "capacity": 1, "refill_rate": 1, "max_concurrent": value}
    for answer in (
        await house.client.post("/api/quotas", json=body),
        await house.client.patch(path_of(f"limit {value!r}"), json={"max_concurrent": value}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "max_concurrent" in answer.text
    assert (await house.client.get(path_of(f"limit {value!r}"))).json()["version"] == 1
