"""The ledger over HTTP: pages, filters, and files for spreadsheets and programs."""

import csv
import io
import json
from typing import Any

import pytest

from quotaflow.edges.http.exports import cell, csv_of
from quotaflow.edges.http.logs import values_of
from quotaflow.ledger import Action, LedgerRow
from tests.http.house import House, path_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLUMNS = [
    "event_id", "subject", "action", "quota_before", "quota_change", "quota_after", "epoch", "seq", "request_id",
    "actor", "created_at", "execution_success", "execution_error_type", "execution_error_message",
]  # fmt: skip


async def spent(house: House) -> tuple[str, dict[str, str]]:
    """Make a token with five rows in its ledger; return the address of its logs."""
    made, mine = await house.token()
    path = f"/api/tokens/{made['id']}"
    for number in range(3):
        await house.stranger.post(
            "/api/consume", json={"cost": 10, "request_id": f"r-{number}"}, headers=mine
        )
    recharge = {"operation": "add", "amount": 5.5, "request_id": "bill"}
    await house.client.post(f"{path}/recharge", json=recharge)

    async def written() -> bool:
        return len((await house.client.get(f"{path}/quota/logs")).json()["items"]) == 5

    await until(written)
    return f"{path}/quota/logs", mine


async def test_a_row_tells_what_changed_by_whom_and_under_which_id(house: House) -> None:
    path, _ = await spent(house)
    newest, *others = (await house.client.get(path)).json()["items"]
    assert list(newest) == COLUMNS
    assert [row["action"] for row in (newest, *others)] == ["recharge", *["consume"] * 3, "init"]
    assert (newest["quota_before"], newest["quota_change"], newest["quota_after"]) == (70.0, 5.5, 75.5)
    assert (newest["request_id"], newest["actor"], newest["execution_success"]) == ("bill", "admin", None)
    assert (others[0]["quota_change"], others[0]["actor"]) == (-10.0, None)
    assert [row["seq"] for row in (newest, *others)] == [5, 4, 3, 2, 1]
    assert others[-1]["actor"] == "admin"


async def test_logs_come_in_pages(house: House) -> None:
    path, _ = await spent(house)
    found: list[int] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await house.client.get(path, params=query)).json()
        found += [row["seq"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [5, 4, 3, 2, 1]


async def test_logs_are_filtered(house: House) -> None:
    path, _ = await spent(house)

    async def seqs(**query: Any) -> list[int]:
        return [row["seq"] for row in (await house.client.get(path, params=query)).json()["items"]]

    assert await seqs(action="consume") == [4, 3, 2]
    assert await seqs(request_id="r-1") == [3]
    assert await seqs(since="1h") == [5, 4, 3, 2, 1]
    assert await seqs(until="1h") == []
    third = (await house.client.get(path, params={"request_id": "r-1"})).json()["items"][0]["created_at"]
    assert await seqs(since=third, action="consume") == [4, 3]
    assert await seqs(until=third, action="consume") == [2]


@pytest.mark.parametrize(
    ("act", "query", "field"),
    [
        ("", {"action": "steal"}, "action"),
        ("", {"since": "soon"}, "since"),
        ("", {"until": "soon"}, "until"),
        ("", {"limit": 0}, "limit"),
        ("", {"cursor": "x"}, "cursor"),
        ("", {"format": "csv"}, "format"),
        ("/export", {"format": "xlsx"}, "format"),
        ("/export", {"since": "soon"}, "since"),
        ("/export", {"limit": 5}, "limit"),
    ],
)
async def test_a_bad_query_is_refused_by_field(
    house: House, act: str, query: dict[str, Any], field: str
) -> None:
    made, _ = await house.token()
    answer = await house.client.get(f"/api/tokens/{made['id']}/quota/logs{act}", params=query)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


async def test_an_export_has_every_row_however_many_pages_it_takes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = await spent(house)
    items = (await house.client.get(path)).json()["items"]
    monkeypatch.setattr("quotaflow.edges.http.logs.ROWS", 2)
    lines = await house.client.get(f"{path}/export", params={"format": "jsonl"})
    assert lines.headers["content-type"] == "application/jsonl"
    assert [json.loads(line) for line in lines.text.splitlines()] == items

    file = await house.client.get(f"{path}/export")
    token_id = path.split("/")[3]
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == f'attachment; filename="{token_id}-logs.csv"'
    rows = list(csv.DictReader(io.StringIO(file.text, newline="")))
    assert [list(row) for row in rows] == [COLUMNS] * 5
    assert [float(row["quota_change"]) for row in rows] == [item["quota_change"] for item in items]
    assert [row["request_id"] for row in rows] == [item["request_id"] or "" for item in items]
    filtered = await house.client.get(f"{path}/export", params={"action": "consume", "since": "1h"})
    assert len(filtered.text.splitlines()) == 4


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=cmd()", "'=cmd()"),
        ("+1+2", "'+1+2"),
        ("-1+cmd()", "'-1+cmd()"),
        ("@sum", "'@sum"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5", "-5"),
        ("-5.25", "-5.25"),
        ("plain", "plain"),
        (-10.0, -10.0),
        (None, None),
        (True, "true"),
    ],
)
async def test_no_cell_is_a_formula_and_numbers_stay_numbers(value: object, shown: object) -> None:
    assert cell(value) == shown


async def test_a_dangerous_request_id_is_text_in_a_spreadsheet() -> None:
    row = LedgerRow("e", "tok_1", Action.CONSUME, 0, -5, -5, 1, 2, "=HYPERLINK()", "@admin", 0, "sum")
    values = dict(zip(COLUMNS, next(csv.reader([csv_of(COLUMNS, [values_of(row)], False)])), strict=True))
    assert (values["request_id"], values["actor"], values["quota_change"]) == (
        "'=HYPERLINK()",
        "'@admin",
        "-5e-06",
    )


@pytest.mark.parametrize("quota_id", ["led", "led/ger", "账 本"])
async def test_a_prepaid_quota_has_logs_too_also_when_it_is_gone(house: House, quota_id: str) -> None:
    await house.client.post("/api/quotas", json={"id": quota_id, "kind": "allowance", "total": 5})
    await house.qf.acquire(quota_id, 2)
    path = path_of(quota_id, "logs")

    async def written() -> bool:
        return len((await house.client.get(path)).json()["items"]) == 2

    await until(written)
    await house.client.delete(path_of(quota_id))
    items = (await house.client.get(path)).json()["items"]
    assert [(row["action"], row["quota_after"]) for row in items] == [("consume", 3.0), ("init", 5.0)]
    file = await house.client.get(path_of(quota_id, "logs", "export"))
    assert len(file.text.splitlines()) == 3
    file.headers["content-disposition"].encode("ascii")


async def test_the_logs_of_nothing_are_not_found(house: House) -> None:
    for act in ("logs", "logs/export"):
        answer = await house.client.get(f"/api/quotas/nowhere/{act}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    await house.quota("a_bucket")
    assert (await house.client.get("/api/quotas/a_bucket/logs")).json() == {"items": [], "next_cursor": None}
