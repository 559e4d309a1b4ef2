"""Buckets by key, and keys with a capacity and rate of their own, over HTTP."""

import pytest

from tests.http.house import PROBLEM, House, path_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def acquired(house: House, quota_id: str, **body: object) -> tuple[int, dict[str, object]]:
    answer = await house.client.post(path_of(quota_id, "acquire"), json=body)
    return answer.status_code, answer.json()


async def test_each_key_has_a_level_of_its_own(house: House) -> None:
    await house.quota("keyed", capacity=2, refill_rate=0)
    for key in ("customer-42", "客户 7", "a/b:c%"):
        assert [(await acquired(house, "keyed", key=key))[0] for _ in range(3)] == [200, 200, 429]
    assert (await acquired(house, "keyed"))[1]["remaining"] == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a\nb", 5, True])
async def test_a_key_that_is_none_is_refused_by_name(house: House, key: object) -> None:
    code, problem = await acquired(house, "refusing", key=key)
    assert (code, problem["field"]) == (422, "key")


async def test_an_override_acts_at_once_and_can_be_taken_back(house: House) -> None:
    await house.quota("tiers/gold", capacity=1, refill_rate=0)
    url = path_of("tiers/gold", "overrides", "vip")
    given = await house.client.put(url, json={"capacity": 5, "refill_rate": 2.5})
    shown = {"quota_id": "tiers/gold", "key": "vip", "capacity": 5.0, "refill_rate": 2.5}
    assert (given.status_code, given.json()) == (200, shown)
    assert (await acquired(house, "tiers/gold", key="vip", cost=5))[0] == 200
    assert (await acquired(house, "tiers/gold", key="anna", cost=5))[0] == 422
    listed = await house.client.get(path_of("tiers/gold", "overrides"))
    assert listed.json() == {"items": [shown], "next_cursor": None}
    assert (await house.client.delete(url)).status_code == 204
    assert (await acquired(house, "tiers/gold", key="vip", cost=5))[0] == 422
    gone = await house.client.delete(url)
    assert (gone.status_code, gone.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"capacity": 0, "refill_rate": 1}, "capacity"),
        ({"capacity": 1, "refill_rate": -1}, "refill_rate"),
        ({"capacity": 1e308, "refill_rate": 1}, "capacity"),
        ({"capacity": 1}, "refill_rate"),
    ],
)
async def test_bad_amounts_change_nothing(house: House, body: dict[str, float], field: str) -> None:
    if (await house.client.get(path_of("strict"))).status_code == 404:
        await house.quota("strict", capacity=1, refill_rate=0)
    answer = await house.client.put(path_of("strict", "overrides", "k"), json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await house.client.get(path_of("strict", "overrides"))).json()["items"] == []


async def test_a_quota_that_is_not_there_has_no_overrides(house: House) -> None:
    answer = await house.client.put(
        path_of("nowhere", "overrides", "k"), json={"capacity": 1, "refill_rate": 1}
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
