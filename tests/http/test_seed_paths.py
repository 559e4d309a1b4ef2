"""The README's table "seed path -> ours": each row is asked for here as the seed's own text does."""

import pytest

from tests.http.house import House, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
SEED_QUOTA = """{
    "id": "external_api",
    "name": "external_api",
    "capacity": 10,
    "refill_rate": 1.0,
    "enabled": true
  }"""


async def test_the_calls_of_seed_000_work_as_they_stand(house: House) -> None:
    client = house.client
    made = await client.post("/api/quotas", content=SEED_QUOTA, headers=JSON)
    assert (made.status_code, made.json()["id"]) == (201, "external_api")
    shown = (await client.get("/api/quotas/external_api")).json()
    assert (shown["capacity"], shown["refill_rate"], shown["remaining"]) == (10.0, 1.0, 10.0)
    assert [item["id"] for item in (await client.get("/api/quotas")).json()["items"]] == ["external_api"]

    for body, field, value in (
        ('{"refill_rate": 0.5}', "refill_rate", 0.5),
        ('{"capacity": 20}', "capacity", 20.0),
        ('{"enabled": false}', "enabled", False),
        ('{"enabled": true}', "enabled", True),
    ):
        changed = await client.patch("/api/quotas/external_api", content=body, headers=JSON)
        assert (changed.status_code, changed.json()[field]) == (200, value)

    refilled = await client.post("/api/quotas/external_api/refill")
    assert (refilled.status_code, refilled.json()["remaining"]) == (200, 20.0)
    taken = await client.post("/api/quotas/external_api/acquire", content='{"cost": 5}', headers=JSON)
    assert (taken.status_code, taken.json()["allowed"], taken.json()["remaining"]) == (200, True, 15.0)
    triggered = await client.post("/api/tasks/nightly/trigger")
    assert triggered.status_code == 202

    async def traced() -> bool:
        return bool(
            (await client.get("/api/traces", params={"task": "nightly", "status": "ok"})).json()["items"]
        )

    await until(traced)
    summary = {
        item["task_id"]: item["ok"] for item in (await client.get("/api/traces/summary")).json()["items"]
    }
    assert summary["nightly"] == 1


async def test_the_pool_stats_of_seed_003_are_at_stats(house: House) -> None:
    """Row 3-15: /flow/cache-write-pool/stats."""
    figures = (await house.client.get("/stats")).json()
    assert {key: type(value) for key, value in figures.items()} == {
        "sync_queue_len": int,
        "sync_queue_cap": int,
        "log_queue_len": int,
        "log_queue_cap": int,
        "sync_interval": str,
        "sync_batch_size": int,
    }
    assert figures.keys() <= (await house.client.get("/api/stats")).json().keys()
