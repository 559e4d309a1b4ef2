"""What must be refused, each with the field that is wrong, and nothing written."""

import json
from typing import Any

import pytest

from tests.http.house import PROBLEM, House, path_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOUND = {"id": "never", "capacity": 10, "refill_rate": 1}
JARGON = ("pydantic", "Traceback", "Input should", "value_error", "ValidationError", "NoneType")


async def refused(house: House, method: str, path: str, body: bytes, status: int) -> dict[str, Any]:
    """Send; return the problem after checking that it is one, and that nothing was written."""
    before = await house.written()
    answer = await house.client.request(
        method, path, content=body, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "code", "detail"} <= problem.keys()
    assert problem["status"] == status
    assert not [word for word in JARGON if word in answer.text]
    assert await house.written() == before
    return problem


BAD_AMOUNTS = [
    "true",
    '"1"',
    '"１２"',
    '"1_0"',
    "null",
    "[1]",
    "{}",
    "-1",
    "-1e-9",
    "NaN",
    "Infinity",
    "-Infinity",
]
BAD_AMOUNTS += ["1e308", "1e400", "9000000001", "1e-7", "9" * 40, "1" * 5000]


@pytest.mark.parametrize("value", [*BAD_AMOUNTS, "0"])
async def test_a_bad_capacity_is_refused(house: House, value: str) -> None:
    body = f'{{"id": "never", "refill_rate": 1, "capacity": {value}}}'.encode()
    assert (await refused(house, "POST", "/api/quotas", body, 422))["field"] == "capacity"


@pytest.mark.parametrize("value", BAD_AMOUNTS)
async def test_a_bad_refill_rate_is_refused(house: House, value: str) -> None:
    body = f'{{"id": "never", "capacity": 1, "refill_rate": {value}}}'.encode()
    assert (await refused(house, "POST", "/api/quotas", body, 422))["field"] == "refill_rate"


@pytest.mark.parametrize("value", [*BAD_AMOUNTS, "0.1234567"])
async def test_a_bad_cost_is_refused(house: House, value: str) -> None:
    await there(house, "costs")
    path = path_of("costs", "acquire")
    assert (await refused(house, "POST", path, f'{{"cost": {value}}}'.encode(), 422))["field"] == "cost"


BAD_IDS = [
    "",
    " x",
    "x ",
    "a\nb",
    "a\r\nX-Injected: 1",
    "a\0b",
    "\x1b[31m",
    "x" * 129,
    "é" * 65,
    "x" * 10_000,
]


@pytest.mark.parametrize(
    ("field", "quota_id"),
    [*(("id", text) for text in (*BAD_IDS, ".", "..")), *(("name", text) for text in BAD_IDS)],
)
async def test_a_bad_id_or_name_is_refused(house: House, field: str, quota_id: str) -> None:
    body = json.dumps({**SOUND, field: quota_id}).encode()
    assert (await refused(house, "POST", "/api/quotas", body, 422))["field"] == field


@pytest.mark.parametrize("value", ["7", "true", "null", "[]", '"\\ud800"'])
async def test_an_id_that_is_no_text_is_refused(house: House, value: str) -> None:
    body = f'{{"id": {value}, "capacity": 1, "refill_rate": 1}}'.encode()
    assert (await refused(house, "POST", "/api/quotas", body, 422))["field"] == "id"


@pytest.mark.parametrize("value", ['"true"', "1", "0", "null", "[]"])
async def test_enabled_is_true_or_false_and_nothing_like_it(house: House, value: str) -> None:
    await there(house, "switch")
    body = f'{{"enabled": {value}}}'.encode()
    assert (await refused(house, "PATCH", "/api/quotas/switch", body, 422))["field"] == "enabled"
    new = json.dumps(SOUND)[:-1].encode() + b', "enabled": ' + value.encode() + b"}"
    assert (await refused(house, "POST", "/api/quotas", new, 422))["field"] == "enabled"


@pytest.mark.parametrize("field", ["capacity", "refill_rate"])
@pytest.mark.parametrize("value", BAD_AMOUNTS)
async def test_a_bad_change_changes_nothing_not_even_its_good_part(
    house: House, field: str, value: str
) -> None:
    await there(house, "steady")
    good = '"refill_rate": 5' if field == "capacity" else '"capacity": 5'
    body = f'{{{good}, "{field}": {value}}}'.encode()
    assert (await refused(house, "PATCH", "/api/quotas/steady", body, 422))["field"] == field


@pytest.mark.parametrize(
    ("method", "path", "body", "names"),
    [
        ("POST", "/api/quotas", {**SOUND, "burst": 1, "algo": "x"}, ["burst", "algo"]),
        ("PATCH", "/api/quotas/known", {"name": "x"}, ["name"]),
        ("PATCH", "/api/quotas/known", {"id": "x"}, ["id"]),
        ("POST", "/api/quotas/known/acquire", {"cst": 1}, ["cst"]),
        ("POST", "/api/quotas/known/refill", {"amount": 1}, ["amount"]),
        ("POST", "/api/tasks/nightly/trigger", {"priority": 1}, ["priority"]),
        ("POST", "/api/traces/run-1/cancel", {"force": True}, ["force"]),
        ("PATCH", "/api/tasks/nightly", {"enabled": False}, ["enabled"]),
    ],
)
async def test_unknown_keys_are_refused_by_name(
    house: House, method: str, path: str, body: dict[str, object], names: list[str]
) -> None:
    await there(house, "known")
    problem = await refused(house, method, path, json.dumps(body).encode(), 422)
    assert all(f"{name} is not known here" in problem["detail"] for name in names)
    assert problem["field"] == names[0]


async def test_a_name_that_somebody_made_up_is_repeated_only_in_part(house: House) -> None:
    body = json.dumps({**SOUND, **{f"{number}\u001b[31m{'x' * 500}": 1 for number in range(20)}}).encode()
    problem = await refused(house, "POST", "/api/quotas", body, 422)
    assert "\x1b" not in problem["detail"]
    assert len(problem["detail"]) < 800
    assert "and 15 more" in problem["detail"]


@pytest.mark.parametrize("missing", ["id", "capacity", "refill_rate"])
async def test_a_missing_field_is_named(house: House, missing: str) -> None:
    body = json.dumps({key: value for key, value in SOUND.items() if key != missing}).encode()
    problem = await refused(house, "POST", "/api/quotas", body, 422)
    assert (problem["field"], problem["detail"]) == (missing, f"{missing} is missing")


@pytest.mark.parametrize("path", ["/api/quotas/known", "/api/tasks/nightly"])
async def test_an_empty_change_is_refused(house: House, path: str) -> None:
    await there(house, "known")
    for body in (b"{}", b""):
        assert (await refused(house, "PATCH", path, body, 422))["field"] == "body"


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"', b"true", b"NaN"])
async def test_a_body_that_is_no_object_is_refused(house: House, body: bytes) -> None:
    problem = await refused(house, "POST", "/api/quotas", body, 422)
    assert problem["detail"] == "body must be a JSON object"


MALFORMED = {
    "cut off": b'{"id": "never"',
    "no JSON": b"id=never&capacity=1",
    "two documents": b"{}{}",
    "single quotes": b"{'id': 'never'}",
    "not UTF-8": b'{"id": "\xff\xfe"}',
    "UTF-16": '{"id": "never"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"id": "never"}',
    "a key twice": b'{"capacity": 1, "id": "never", "refill_rate": 1, "capacity": 2}',
    "a key twice, spelt differently": b'{"id": "never", "\\u0069d": "x", "capacity": 1, "refill_rate": 1}',
    "a key twice, deep down": b'{"id": {"a": 1, "a": 1}}',
    "deep": b'{"id": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "an endless number": b'{"capacity": ' + b"1" * 5000 + b".}",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_one_clear_json_document_is_refused(house: House, name: str) -> None:
    problem = await refused(house, "POST", "/api/quotas", MALFORMED[name], 400)
    assert problem["code"] == "malformed_json"


async def test_a_body_above_64_kib_is_refused_however_it_comes(house: House) -> None:
    large = b'{"id": "' + b"x" * 65_536 + b'"}'
    assert (await refused(house, "POST", "/api/quotas", large, 413))["code"] == "too_large"

    async def in_parts() -> Any:
        for _ in range(70):
            yield b" " * 1024

    answer = await house.client.post("/api/quotas", content=in_parts())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"
    for claimed in ("-1", "1e9", "9" * 100, "many"):
        answer = await house.client.post("/api/quotas", content=b"{}", headers={"content-length": claimed})
        assert answer.status_code == 413, claimed


@pytest.mark.parametrize("path", ["/api/quotas/a%00b", "/api/tasks/%1b", "/api/traces/a%00b"])
async def test_control_characters_in_an_address_are_refused(house: House, path: str) -> None:
    answer = await house.client.get(path)
    assert (answer.status_code, answer.json()["field"]) == (422, "id")


@pytest.mark.parametrize(
    "path", ["/api/quotas/a%0D%0AX-Injected:%201", "/api/quotas/a%0AX-Injected:%201/acquire"]
)
async def test_a_line_end_in_an_address_becomes_no_header(house: House, path: str) -> None:
    answer = await house.client.post(path, json={})
    assert answer.status_code in (404, 422)
    assert "x-injected" not in answer.headers


async def test_an_unknown_address_is_a_problem(house: House) -> None:
    for path in ("/api/nothing", "/api", "/docs/x", "/static-offline-docs/..%2Fapp.py"):
        answer = await house.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM), path
        assert answer.json()["code"] == "no_route"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/quotas", "GET, POST"),
        ("POST", "/api/quotas/x", "GET, PATCH, DELETE"),
        ("PUT", "/api/tasks/nightly", "GET, PATCH"),
        ("POST", "/livez", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    house: House, method: str, path: str, allowed: str
) -> None:
    answer = await house.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


async def there(house: House, quota_id: str) -> None:
    """Make sure that the quota exists."""
    if (await house.client.get(path_of(quota_id))).status_code == 404:
        await house.quota(quota_id)
