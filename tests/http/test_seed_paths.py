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


async def test_the_tokens_of_seed_003_are_at_api_tokens(house: House) -> None:
    """/flow/tokens: made with an operation on the end, listed, changed, deleted."""
    client = house.client
    body = {"ws_id": "ws-1", "email": "user@example.com", "operation": "add", "days": 30}
    made = await client.post("/api/tokens", json={**body, "quota_type": "hybrid", "total_quota": 1000})
    token = made.json()
    assert (made.status_code, token["secret"][:3]) == (201, "qf_")
    assert token["id"] in [item["id"] for item in (await client.get("/api/tokens")).json()["items"]]
    path = f"/api/tokens/{token['id']}"
    set_to = {"operation": "set", "specific_date": "2100-12-31"}
    assert (await client.patch(path, json=set_to)).json()["expires_at"].startswith("2100-12-31")
    unlimited = {"quota_type": "count", "operation": "unlimited"}
    assert (await client.patch(path, json=unlimited)).json()["expires_at"] is None
    assert (await client.delete(path)).status_code == 204


async def test_the_quota_operations_of_seed_003_are_a_recharge(house: House) -> None:
    """PUT /flow/tokens/{token} with quota_operation and quota_value; /flow/tokens/{token}/quota shows it."""
    made, _ = await house.token(total_quota=1000)
    path = f"/api/tokens/{made['id']}"
    for operation, amount, remaining in (
        ("add", 500, 1500.0),
        ("set", 2000, 2000.0),
        ("reset", None, 2000.0),
    ):
        body = {"operation": operation, **({} if amount is None else {"amount": amount})}
        answer = await house.client.post(f"{path}/recharge", json=body)
        assert (answer.status_code, answer.json()["remaining_quota"]) == (200, remaining)
    shown = (await house.client.get(f"{path}/quota")).json()
    assert (shown["quota_type"], shown["total_quota"], shown["consumed_quota"]) == ("count", 2000.0, 0.0)


async def test_the_quota_logs_of_seed_003_are_at_quota_logs(house: House) -> None:
    """/flow/tokens/{token}/quota/logs, by action."""
    made, mine = await house.token()
    await house.stranger.post("/api/consume", json={"cost": 2}, headers=mine)
    path = f"/api/tokens/{made['id']}/quota/logs"

    async def written() -> list[dict[str, object]]:
        page = (await house.client.get(path, params={"action": "consume"})).json()
        items: list[dict[str, object]] = page["items"]
        return items

    await until(written)
    (row,) = await written()
    assert (row["action"], row["quota_before"], row["quota_change"], row["quota_after"]) == (
        "consume",
        100.0,
        -2.0,
        98.0,
    )


async def test_the_execution_of_seed_003_is_a_consume_and_an_outcome(house: House) -> None:
    """POST /flow/execute with the token in a header: whoever does the work charges first, then says how it ended."""
    made, _ = await house.token(total_quota=1)
    headers = {"accessToken": made["secret"]}
    charged = await house.stranger.post("/api/consume", json={"request_id": "e-1"}, headers=headers)
    assert (charged.status_code, charged.json()["remaining"]) == (200, 0.0)
    told = await house.stranger.post("/api/consume/e-1/outcome", json={"success": True}, headers=headers)
    assert told.status_code == 202
    refused = await house.stranger.post("/api/consume", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exhausted")
