"""What is refused is said in Chinese on a Chinese page. Every sentence comes from whoever raises it."""

import re
from typing import Any

import httpx
import pytest

from quotaflow.edges.web.words import ZH, Words
from quotaflow.operators import Role
from tests.http.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

HAN = re.compile("[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[a-z]+ [a-z]+ [a-z]+")  # three words in a row; names and values have fewer
OP = f"op_{'0' * 32}"
TOKEN_ID = f"tok_{'0' * 32}"

BUCKET = {"capacity": 1, "refill_rate": 1}
PREPAID = {"kind": "allowance", "total": 1}
TOKEN = {"ws_id": "w", "email": "a@example.com", "operation": "unlimited"}
CHANGED = "/api/quotas/errs"

# method, address, body
REFUSED: list[tuple[str, str, Any]] = [
    ("GET", "/api/quotas/nobody", None),
    ("GET", "/api/tasks/nobody", None),
    ("GET", f"/api/tokens/{TOKEN_ID}", None),
    ("GET", "/api/tokens/nobody", None),
    ("GET", "/api/traces/nobody", None),
    ("DELETE", "/api/operators/nobody", None),
    ("DELETE", f"/api/operators/{OP}", None),
    ("DELETE", f"{CHANGED}/overrides/nobody", None),
    ("POST", "/api/admin-audit/nobody/undo", None),
    ("POST", "/api/tasks/nobody/trigger", None),
    ("POST", "/api/upstream-keys", {"provider": "x", "secret": "0123456789"}),
    ("POST", "/api/operators", {"name": "Err", "role": "viewer"}),
    ("POST", "/api/operators", {"name": " x", "role": "viewer"}),
    ("POST", "/api/operators", {"name": "x\n", "role": "viewer"}),
    ("POST", "/api/operators", {"name": "a\nb", "role": "viewer"}),
    ("POST", "/api/operators", {"name": "é" * 65, "role": "owner"}),
    ("POST", "/api/quotas", {"id": "errs", **BUCKET}),
    ("POST", "/api/quotas", {"id": ".", **BUCKET}),
    ("POST", "/api/quotas", {"id": "e", **BUCKET, "total": 1}),
    ("POST", "/api/quotas", {"id": "e", **BUCKET, "capacity": 1e12}),
    ("POST", "/api/quotas", {"id": "e", **BUCKET, "capacity": 0}),
    ("POST", "/api/quotas", {"id": "e", **BUCKET, "reset_cron": "0 0 * * *"}),
    ("POST", "/api/quotas", {"id": "e", **BUCKET, "max_concurrent": 0}),
    ("POST", "/api/quotas", {"id": "e", **PREPAID, "total": 0.00000001}),
    ("POST", "/api/quotas", {"id": "e", **PREPAID, "total": 1e-7 + 1}),
    ("POST", "/api/quotas", {"id": "e", **PREPAID, "max_concurrent": 1}),
    ("POST", "/api/quotas", {"id": "e", **PREPAID, "reset_cron": "0 0 * * x"}),
    ("POST", "/api/quotas", {"id": "e", **PREPAID, "reset_cron": "0 0 31 2 *"}),
    ("POST", "/api/quotas", {"id": "e", **PREPAID, "reset_cron": "0 0 1 * *", "timezone": "Asia/Shangai"}),
    ("POST", "/api/quotas", {"id": "e", "kind": "allowance", "mirrors": "nobody"}),
    ("POST", "/api/quotas", {"id": "e", "kind": "allowance", "mirrors": "nobody", "total": 1}),
    ("POST", "/api/quotas", {**{f"x{number}": 1 for number in range(9)}}),
    ("PATCH", CHANGED, {"name": "Other name"}),
    ("PATCH", CHANGED, {"total": 5}),
    ("POST", f"{CHANGED}/recharge", {"op": "recharge", "amount": 1}),
    ("POST", "/api/quotas/errs_prepaid/recharge", {"op": "recharge", "amount": 1e30}),
    ("POST", "/api/tokens", {**TOKEN, "quota_type": "time", "total_quota": 1}),
    ("POST", "/api/tokens", {**TOKEN, "quota_type": "count"}),
    ("POST", "/api/tokens", {**TOKEN, "quota_type": "hybrid", "total_quota": 1}),
    ("POST", "/api/tokens", {**TOKEN, "email": "a"}),
    ("POST", "/api/tokens", {**TOKEN, "email": "a b@example.com"}),
    ("POST", "/api/tokens", {**TOKEN, "operation": "add", "days": 1e6}),
    ("POST", "/api/tokens", {**TOKEN, "operation": "set", "specific_date": "2001-01-01T00:00:00Z"}),
    ("POST", "/api/tokens", {**TOKEN, "rate_limit_burst": 5}),
    ("POST", "/api/tokens", {**TOKEN, "rate_limit_per_minute": 0}),
    ("PATCH", "/api/tasks/nightly", {"cron": "61 * * * *"}),
    ("PATCH", "/api/tasks/nightly", {"cron": "x"}),
    ("PATCH", "/api/tasks/nightly", {"rate_limit": "fast"}),
    ("POST", "/api/tasks/nightly/trigger", {"args": {"x": 1}}),
    ("POST", "/api/tasks/nightly/trigger", {"countdown": -1}),
    ("GET", "/api/traces?cursor=x", None),
    ("POST", "/api/tasks/nightly/trigger", {"args": [1]}),
    ("GET", "/api/traces?since=soon", None),
    ("POST", "/api/quotas", {"id": "x" * 70_000}),
]


def check(english: str) -> None:
    """Check that a sentence is Chinese for who reads Chinese."""
    chinese = Words(ZH).error(english)
    assert HAN.search(chinese), english
    assert not ENGLISH.search(chinese), f"{english} -> {chinese}"


async def refusal(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> str:
    answer = await client.request(method, path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    return str(answer.json()["detail"])


async def furnish(house: House) -> None:
    if (await house.client.get(CHANGED)).status_code == 404:
        await house.quota("errs", name="Errs")
        await house.quota("errs_other", name="Other name")
        assert (
            await house.client.post("/api/quotas", json={"id": "errs_prepaid", **PREPAID})
        ).status_code == 201
        await house.qf.operators.create("Err", Role.VIEWER)


@pytest.mark.parametrize(("method", "path", "body"), REFUSED)
async def test_what_is_refused_is_said_in_chinese(house: House, method: str, path: str, body: Any) -> None:
    await furnish(house)
    check(await refusal(house.client, method, path, body))


async def test_what_cannot_be_undone_is_said_in_chinese(house: House) -> None:
    async def newest(quota_id: str) -> str:
        answer = await house.client.get(f"/api/admin-audit?subject={quota_id}&kind=quota&limit=1")
        return f"/api/admin-audit/{answer.json()['items'][0]['id']}/undo"

    await house.quota("undoes", name="undoes")
    made = await newest("undoes")
    await house.client.patch("/api/quotas/undoes", json={"capacity": 7})
    changed = await newest("undoes")
    told = [await refusal(house.client, "POST", made)]
    assert (await house.client.post(changed)).status_code == 200
    told.append(await refusal(house.client, "POST", changed))
    await house.client.post("/api/quotas/undoes/refill")
    told.append(await refusal(house.client, "POST", await newest("undoes")))
    await house.client.delete("/api/quotas/undoes")
    gone = await newest("undoes")
    await house.quota("in the way", name="undoes")
    told.append(await refusal(house.client, "POST", gone))
    begins = (
        "it has been changed since",
        "this has been undone already",
        "this cannot be undone",
        "this cannot",
    )
    for english, begin in zip(told, begins, strict=True):
        assert english.startswith(begin)
        check(english)


async def test_who_may_not_is_told_so_in_chinese(house: House) -> None:
    _, viewer = await house.qf.operators.create("Err looks", Role.VIEWER)
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {viewer}"}):
        answer = await house.stranger.post("/api/quotas", headers=headers)
        assert answer.status_code in (401, 403)
        check(answer.json()["detail"])
