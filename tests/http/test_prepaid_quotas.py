"""/api/quotas of kind allowance: prepaid, recharged, begun again by a schedule."""

from typing import Any

import pytest

from quotaflow.errors import ConfigError
from quotaflow.model import QuotaKind, make_quota
from tests.http.house import House, path_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def prepaid(house: House, quota_id: str, total: float = 10, **more: Any) -> dict[str, Any]:
    """Create a prepaid quota."""
    body = {"id": quota_id, "kind": "allowance", "total": total, **more}
    answer = await house.client.post("/api/quotas", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_prepaid_quota_is_created_full_and_shown_alike_everywhere(house: House) -> None:
    made = await prepaid(house, "sms", 10, reset_cron="0 0 1 * *", timezone="Asia/Shanghai")
    assert made == {
        "id": "sms",
        "name": "sms",
        "kind": "allowance",
        "capacity": 10.0,
        "refill_rate": 0.0,
        "enabled": True,
        "version": 1,
        "remaining": 10.0,
        "allowed": 0,
        "limited": 0,
        "total": 10.0,
        "reset_cron": "0 0 1 * *",
        "timezone": "Asia/Shanghai",
        "max_concurrent": None,
        "mirrors": None,
        "running": None,
        "waiting": 0,
    }
    assert (await house.client.get("/api/quotas/sms")).json() == made
    assert made in (await house.client.get("/api/quotas")).json()["items"]


async def test_what_is_used_is_gone_until_it_is_recharged(house: House) -> None:
    await prepaid(house, "used", 3)
    taken = await house.client.post("/api/quotas/used/acquire", json={"cost": 3})
    assert (taken.status_code, taken.json()["remaining"]) == (200, 0.0)
    refused = await house.client.post("/api/quotas/used/acquire")
    assert (refused.status_code, refused.json()["code"], refused.json()["reason"]) == (
        429,
        "quota_exhausted",
        "exhausted",
    )
    assert "retry-after" not in refused.headers
    recharge = {"operation": "add", "amount": 2, "request_id": "bill-1"}
    for _ in range(2):
        assert (await house.client.post("/api/quotas/used/recharge", json=recharge)).json()["remaining"] == 2
    reset = await house.client.post("/api/quotas/used/recharge", json={"operation": "set", "amount": 1})
    assert reset.json()["remaining"] == 1
    assert (await house.client.post("/api/quotas/used/refill")).json()["remaining"] == 3


async def test_a_new_total_counts_from_the_next_reset_on(house: House) -> None:
    await prepaid(house, "grows", 10)
    changed = (await house.client.patch("/api/quotas/grows", json={"total": 20})).json()
    assert (changed["total"], changed["remaining"], changed["version"]) == (20.0, 10.0, 2)
    assert (await house.client.post("/api/quotas/grows/refill")).json()["remaining"] == 20


async def test_its_schedule_is_changed_and_removed(house: House) -> None:
    await prepaid(house, "monthly", 10)
    change = {"reset_cron": "0 0 * * *", "timezone": "Europe/Berlin"}
    shown = (await house.client.patch("/api/quotas/monthly", json=change)).json()
    assert (shown["reset_cron"], shown["timezone"]) == ("0 0 * * *", "Europe/Berlin")
    never = (await house.client.patch("/api/quotas/monthly", json={"reset_cron": None})).json()
    assert (never["reset_cron"], never["timezone"]) == (None, "Europe/Berlin")
    off = await house.client.patch("/api/quotas/monthly", json={"enabled": False})
    assert off.json()["enabled"] is False
    refused = await house.client.post("/api/quotas/monthly/acquire")
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_disabled")


NEW = {"id": "never", "kind": "allowance", "total": 5}


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({**NEW, "kind": "pool"}, "kind", "invalid_input"),
        ({**NEW, "kind": None}, "kind", "invalid_input"),
        ({**NEW, "capacity": 5}, "capacity", "invalid_input"),
        ({**NEW, "refill_rate": 5}, "refill_rate", "invalid_input"),
        ({**NEW, "total": 0}, "total", "invalid_input"),
        ({**NEW, "total": -1}, "total", "invalid_input"),
        ({**NEW, "total": None}, "total", "invalid_input"),
        ({**NEW, "total": 2_000_000_001}, "total", "invalid_input"),
        ({"id": "never", "kind": "allowance"}, "total", "invalid_input"),
        ({**NEW, "reset_cron": "61 * * * *"}, "reset_cron", "invalid_cron"),
        ({**NEW, "reset_cron": ""}, "reset_cron", "invalid_cron"),
        ({**NEW, "reset_cron": 5}, "reset_cron", "invalid_input"),
        ({**NEW, "timezone": "Mars/Base"}, "timezone", "invalid_input"),
        ({**NEW, "timezone": "../etc"}, "timezone", "invalid_input"),
        ({"id": "never", "capacity": 1, "refill_rate": 1, "total": 5}, "total", "invalid_input"),
        ({"id": "never", "capacity": 1, "refill_rate": 1, "timezone": "UTC"}, "timezone", "invalid_input"),
    ],
)
async def test_what_does_not_fit_its_kind_is_refused_and_nothing_made(
    house: House, body: dict[str, Any], field: str, code: str
) -> None:
    before = await house.written()
    answer = await house.client.post("/api/quotas", json=body)
    assert (answer.status_code, answer.json()["field"], answer.json()["code"]) == (422, field, code)
    assert await house.written() == before
    assert not list(house.redis.scan_iter("qf:{p0}:allowance:never"))


@pytest.mark.parametrize(
    ("quota_id", "body", "field"),
    [
        ("steady_a", {"capacity": 5}, "capacity"),
        ("steady_a", {"refill_rate": 5, "total": 7}, "refill_rate"),
        ("steady_a", {"total": 0}, "total"),
        ("steady_a", {"total": 2_000_000_001}, "total"),  # SQL would round it
        ("steady_a", {"reset_cron": "x", "total": 7}, "reset_cron"),
        ("steady_a", {"timezone": "x", "total": 7}, "timezone"),
        ("steady_a", {"kind": "bucket"}, "kind"),
        ("steady_b", {"total": 5, "capacity": 7}, "total"),
        ("steady_b", {"reset_cron": "@daily"}, "reset_cron"),
    ],
)
async def test_a_bad_change_changes_nothing(
    house: House, quota_id: str, body: dict[str, Any], field: str
) -> None:
    if (await house.client.get("/api/quotas/steady_a")).status_code == 404:
        await prepaid(house, "steady_a", 5)
        await house.quota("steady_b", refill_rate=0)
    before = await house.written()
    answer = await house.client.patch(path_of(quota_id), json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert await house.written() == before


async def test_a_declared_quota_with_a_bad_schedule_keeps_the_daemon_from_starting(house: House) -> None:
    bad = make_quota(id="declared", kind=QuotaKind.ALLOWANCE, total=5, reset_cron="61 * * * *")
    with pytest.raises(ConfigError, match='quota "declared": reset_cron "61'):
        await house.qf.quotas.declare([bad])
    await house.qf.quotas.declare([make_quota(id="declared", kind=QuotaKind.ALLOWANCE, total=5)])
    assert (await house.client.get("/api/quotas/declared")).json()["remaining"] == 5


async def test_a_bucket_is_not_recharged(house: House) -> None:
    await house.quota("refills")
    answer = await house.client.post("/api/quotas/refills/recharge", json={"operation": "add", "amount": 1})
    assert (answer.status_code, answer.json()["field"]) == (422, "quota_id")
    gone = await house.client.post("/api/quotas/nowhere/recharge", json={"operation": "add", "amount": 1})
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_a_prepaid_quota_has_no_slots(house: House) -> None:
    await prepaid(house, "no slots", 1)
    body = {"id": "x", "kind": "allowance", "total": 1, "max_concurrent": 2}
    for answer in (
        await house.client.post("/api/quotas", json=body),
        await house.client.patch(path_of("no slots"), json={"max_concurrent": 2}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "max_concurrent is not for a quota of kind allowance" in answer.text
