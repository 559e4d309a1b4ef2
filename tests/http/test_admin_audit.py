"""/api/admin-audit: what people change is written down, who did it, before and after; and it is taken back."""

import itertools
from dataclasses import fields
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaflow.errors import Unavailable
from quotaflow.log import Event
from quotaflow.model import Quota, make_quota
from quotaflow.operators import Role
from quotaflow.store import AuditFilter
from tests.http.house import PROBLEM, House, path_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUDIT = "/api/admin-audit"
SECRET_VARIABLE, OTHER_VARIABLE = "CANARY_KEY_A", "CANARY_KEY_B"
_numbers = itertools.count()

Step = tuple[str, str, Any]  # method, address, body; {id} is the id in the answer to the step before


class Case(NamedTuple):
    """What the owner does before, what Anna does then, and what is written down of that."""

    route: str
    steps: list[Step]
    act: str
    kind: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def quota_of(quota_id: str, **more: Any) -> Step:
    return "POST", "/api/quotas", {"id": quota_id, "capacity": 10, "refill_rate": 0, **more}


def bucket(quota_id: str, **more: Any) -> dict[str, Any]:
    named = {"id": quota_id, "name": quota_id, "kind": "bucket", "capacity": 10.0, "refill_rate": 0.0}
    return {**named, "max_concurrent": None, "enabled": True, **more}


def prepaid(quota_id: str) -> Step:
    return "POST", "/api/quotas", {"id": quota_id, "kind": "allowance", "total": 10}


TOKEN: Step = (
    "POST",
    "/api/tokens",
    {"ws_id": "ws", "email": "a@b.io", "operation": "unlimited", "quota_type": "count", "total_quota": 100},
)
TOKEN_FIELDS = {
    "ws_id": "ws",
    "email": "a@b.io",
    "quota_type": "count",
    "total_quota": 100.0,
    "expires_at": None,
    "rate_limit_per_minute": None,
    "rate_limit_burst": None,
    "active": True,
}
KEYS = "/api/upstream-keys"
KEY_FIELDS = {"provider": "tavily", "enabled": False}
PACE = {"capacity": 5.0, "refill_rate": 2.5}


def key_named(name: str, variable: str = SECRET_VARIABLE) -> Step:
    return "POST", KEYS, {**KEY_FIELDS, "secret": f"env:{variable}", "name": name}


def override_of(quota_id: str, **more: Any) -> Step:
    return "PUT", path_of(quota_id, "overrides", "vip"), {**PACE, **more}


CASES = {
    "a quota is created": Case(
        "POST /api/quotas", [quota_of("a1", max_concurrent=3)], "create", "quota", None,
        bucket("a1", max_concurrent=3),
    ),
    "a quota is changed": Case(
        "PATCH /api/quotas/{quota_id}",
        [quota_of("a2"), ("PATCH", "/api/quotas/a2", {"capacity": 2.5, "enabled": True})],
        "change", "quota", {"capacity": 10.0}, {"capacity": 2.5},
    ),
    "a quota is removed": Case(
        "DELETE /api/quotas/{quota_id}",
        [quota_of("a/3"), override_of("a/3"), ("DELETE", path_of("a/3"), None)],
        "remove", "quota", bucket("a/3", overrides={"vip": PACE}), None,
    ),
    "a key gets an override": Case(
        "PUT /api/quotas/{quota_id}/overrides/{key}", [quota_of("a4"), override_of("a4")],
        "create", "override", None, {"quota_id": "a4", "key": "vip", **PACE},
    ),
    "an override is changed": Case(
        "PUT /api/quotas/{quota_id}/overrides/{key}",
        [quota_of("a5"), override_of("a5"), override_of("a5", capacity=7)],
        "change", "override", {"capacity": 5.0}, {"capacity": 7.0},
    ),
    "an override is removed": Case(
        "DELETE /api/quotas/{quota_id}/overrides/{key}",
        [quota_of("a6"), override_of("a6"), ("DELETE", path_of("a6", "overrides", "vip"), None)],
        "remove", "override", {"quota_id": "a6", "key": "vip", **PACE}, None,
    ),
    "a quota is refilled": Case(
        "POST /api/quotas/{quota_id}/refill",
        [quota_of("a7"), ("POST", path_of("a7", "acquire"), {"cost": 4}), ("POST", path_of("a7", "refill"), {})],
        "refill", "quota", {"remaining": 6.0}, {"remaining": 10.0, "operation": "refill"},
    ),
    "a prepaid quota is recharged": Case(
        "POST /api/quotas/{quota_id}/recharge",
        [prepaid("a8"), ("POST", path_of("a8", "recharge"), {"operation": "add", "amount": 2.5})],
        "recharge", "quota", {"remaining": 10.0, "total": 10.0},
        {"remaining": 12.5, "total": 12.5, "operation": "add", "amount": 2.5},
    ),
    "a prepaid quota is refilled": Case(
        "POST /api/quotas/{quota_id}/refill",
        [prepaid("a9"), ("POST", path_of("a9", "acquire"), {"cost": 4}), ("POST", path_of("a9", "refill"), {})],
        "recharge", "quota", {"remaining": 6.0}, {"remaining": 10.0, "operation": "reset", "amount": 10.0},
    ),
    "a task is paused": Case(
        "PATCH /api/tasks/{task_id}", [("PATCH", "/api/tasks/nightly", {"paused": True})],
        "change", "task", {"paused": False}, {"paused": True},
    ),
    "a task runs by another expression": Case(
        "PATCH /api/tasks/{task_id}", [("PATCH", "/api/tasks/nightly", {"cron": "0 4 1 1 *"})],
        "change", "task", {"cron": None}, {"cron": "0 4 1 1 *"},
    ),
    "a task starts less often": Case(
        "PATCH /api/tasks/{task_id}", [("PATCH", "/api/tasks/nightly", {"rate_limit": "3/m"})],
        "change", "task", {"rate_limit": None}, {"rate_limit": "3/m"},
    ),
    "a token is made": Case("POST /api/tokens", [TOKEN], "create", "token", None, TOKEN_FIELDS),
    "a token is changed": Case(
        "PATCH /api/tokens/{token_id}", [TOKEN, ("PATCH", "/api/tokens/{id}", {"ws_id": "other"})],
        "change", "token", {"ws_id": "ws"}, {"ws_id": "other"},
    ),
    "a token is deleted": Case(
        "DELETE /api/tokens/{token_id}", [TOKEN, ("DELETE", "/api/tokens/{id}", None)],
        "remove", "token", TOKEN_FIELDS, None,
    ),
    "a token is recharged": Case(
        "POST /api/tokens/{token_id}/recharge",
        [TOKEN, ("POST", "/api/tokens/{id}/recharge", {"operation": "set", "amount": 40})],
        "recharge", "token", {"remaining": 100.0}, {"remaining": 40.0, "operation": "set", "amount": 40.0},
    ),
    "an upstream key is stored": Case(
        f"POST {KEYS}", [key_named("k1")], "create", "upstream_key", None, {**KEY_FIELDS, "name": "k1"},
    ),
    "an upstream key is changed": Case(
        f"PATCH {KEYS}/{{key_id}}", [key_named("k2"), ("PATCH", f"{KEYS}/{{id}}", {"name": "k22"})],
        "change", "upstream_key", {"name": "k2"}, {"name": "k22"},
    ),
    "an upstream key has another secret": Case(
        f"PATCH {KEYS}/{{key_id}}",
        [key_named("k3"), ("PATCH", f"{KEYS}/{{id}}", {"secret": f"env:{OTHER_VARIABLE}"})],
        "change", "upstream_key", {}, {"secret": "changed"},
    ),
    "an upstream key is removed": Case(
        f"DELETE {KEYS}/{{key_id}}", [key_named("k4"), ("DELETE", f"{KEYS}/{{id}}", None)],
        "remove", "upstream_key", {**KEY_FIELDS, "name": "k4"}, None,
    ),
    "upstream keys are imported": Case(
        f"POST {KEYS}/import", [("POST", f"{KEYS}/import", [key_named("k5")[2]])],
        "create", "upstream_key", None, {**KEY_FIELDS, "name": "k5"},
    ),
    "an operator is made": Case(
        "POST /api/operators", [("POST", "/api/operators", {"name": "bo", "role": "viewer"})],
        "create", "operator", None, {"name": "bo", "role": "viewer"},
    ),
    "an operator is revoked": Case(
        "DELETE /api/operators/{operator_id}",
        [("POST", "/api/operators", {"name": "cy", "role": "admin"}), ("DELETE", "/api/operators/{id}", None)],
        "remove", "operator", {"name": "cy", "role": "admin"}, None,
    ),
}  # fmt: skip

# Those that change no definition and no balance by a person's word, or that the ledger or a trace records.
NO_CHANGES = {
    "POST /api/quotas/{quota_id}/acquire",
    "POST /api/tasks/{task_id}/trigger",
    "POST /api/consume",
    "DELETE /api/consume/{request_id}",
    "POST /api/consume/{request_id}/outcome",
    "POST /api/ledger/verify",
    "POST /api/cleanup/run",
    "POST /api/upstream-keys/refresh",
}
ELSEWHERE = {  # tests of their own
    "POST /api/tokens/{token_id}/expire",
    f"POST {AUDIT}/{{entry_id}}/undo",
    "POST /api/traces/{run_id}/cancel",
    "POST /api/refund",
    "DELETE /api/tokens/{token_id}/requests/{request_id}",
    "POST /api/upstream-keys/rotate",
}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the variables be there that keys refer to, no key from before, and the task be as its code says."""
    for number, name in enumerate((SECRET_VARIABLE, OTHER_VARIABLE)):
        monkeypatch.setenv(name, f"tvly-canary-secret-{number}-0123456789")
    for item in (await house.client.get(KEYS)).json()["items"]:
        await house.client.delete(f"{KEYS}/{item['id']}")
    for change in ({"paused": False}, {"cron": None}, {"rate_limit": None}, {"skip_next": False}):
        await house.client.patch("/api/tasks/nightly", json=change)


async def anna_of(house: House) -> tuple[str, dict[str, str]]:
    """Make an operator whom no test knows; return the name and the headers."""
    name = f"anna {next(_numbers)}"
    _, secret = await house.qf.operators.create(name, Role.ADMIN)
    return name, {"authorization": f"Bearer {secret}"}


async def entries(house: House, **query: str) -> list[dict[str, Any]]:
    answer = await house.client.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def walk(house: House, steps: list[Step], headers: dict[str, str]) -> httpx.Response:
    """Take the steps, the last as the operator with these headers."""
    subject = ""
    for method, address, body in steps[:-1]:
        answer = await house.client.request(method, address.format(id=subject), json=body)
        assert answer.is_success, answer.text
        subject = answer.json().get("id", subject)
    method, address, body = steps[-1]
    return await house.stranger.request(method, address.format(id=subject), json=body, headers=headers)


@pytest.mark.parametrize("what", CASES)
async def test_what_a_person_changes_is_written_down_once(house: House, what: str) -> None:
    case = CASES[what]
    name, headers = await anna_of(house)
    answer = await walk(house, case.steps, headers)
    assert answer.is_success, answer.text
    (entry,) = await entries(house, actor=name)
    found = (entry["act"], entry["kind"], entry["before"], entry["after"], entry["undoes"])
    assert found == (case.act, case.kind, case.before, case.after, None)
    undoable = case.kind in ("quota", "override", "task") and case.act in ("create", "change", "remove")
    assert entry["can_undo"] is undoable


async def test_every_route_that_changes_something_is_told_of_here(house: House) -> None:
    paths = (await house.client.get("/openapi.json")).json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    changing = {route for route in routes if not route.startswith("GET ")}
    assert changing == {case.route for case in CASES.values()} | NO_CHANGES | ELSEWHERE


async def test_whoever_reaches_the_socket_is_called_admin(house: House) -> None:
    await house.quota("by_admin")
    assert [entry["actor"] for entry in await entries(house, subject="by_admin")] == ["admin"]


async def test_code_that_names_nobody_leaves_no_entry(house: House) -> None:
    await house.qf.quotas.create(make_quota(id="by_code", capacity=1, refill_rate=1))
    await house.qf.quotas.change("by_code", capacity=2)
    await house.qf.quotas.refill("by_code")
    await house.qf.quotas.remove("by_code")
    assert await entries(house, subject="by_code") == []


async def test_a_change_that_changes_nothing_leaves_no_entry(house: House) -> None:
    await house.quota("same", capacity=10)
    before = await entries(house)
    await house.client.patch("/api/quotas/same", json={"capacity": 10})
    await house.client.patch("/api/tasks/nightly", json={"paused": False})
    assert await entries(house) == before


async def test_a_recharge_that_is_asked_for_twice_was_one(house: House) -> None:
    token, _ = await house.token()
    wanted = {"operation": "add", "amount": 5, "request_id": "bill-77"}
    for _ in range(2):
        await house.client.post(f"/api/tokens/{token['id']}/recharge", json=wanted)
    acts = [entry["act"] for entry in await entries(house, subject=token["id"])]
    assert acts == ["recharge", "create"]


async def test_a_token_that_ends_now_is_one_entry(house: House) -> None:
    token, _ = await house.token()
    name, headers = await anna_of(house)
    answer = await house.stranger.post(f"/api/tokens/{token['id']}/expire", headers=headers)
    (entry,) = await entries(house, actor=name)
    assert (entry["act"], entry["before"]) == ("recharge", {"remaining": 100.0, "expires_at": None})
    ends_at = answer.json()["expires_at"]
    assert ends_at is not None
    after = {"remaining": 0.0, "expires_at": ends_at, "operation": "expire", "amount": None}
    assert entry["after"] == after


async def test_an_end_that_sql_does_not_take_is_written_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = await house.token()
    name, headers = await anna_of(house)
    monkeypatch.setattr(house.qf.store, "update_token", away)
    answer = await house.stranger.post(f"/api/tokens/{token['id']}/expire", headers=headers)
    assert answer.status_code == 503
    (entry,) = await entries(house, actor=name)
    assert (entry["act"], entry["after"]["remaining"], entry["after"]["operation"]) == (
        "recharge", 0.0, "expire",
    )  # fmt: skip


async def test_a_refill_is_written_down_whatever_two_looks_saw(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.quota("unseen", capacity=10)
    name, headers = await anna_of(house)
    await house.stranger.post(path_of("unseen", "refill"), headers=headers)
    monkeypatch.setattr(house.qf._base.quota_state, "levels", away)
    await house.stranger.post(path_of("unseen", "refill"), headers=headers)
    found = [(entry["act"], entry["before"], entry["after"]) for entry in await entries(house, actor=name)]
    assert found == [("refill", {}, {"operation": "refill"})] * 2


async def test_what_goes_back_to_a_token_is_written_down_once(house: House) -> None:
    token, bearer = await house.token()
    name, headers = await anna_of(house)
    for request_id in ("one", "two"):
        wanted = {"cost": 5, "request_id": request_id}
        assert (await house.stranger.post("/api/consume", json=wanted, headers=bearer)).is_success
    for _ in range(2):
        wanted = {"token_id": token["id"], "request_id": "one", "amount": 3}
        assert (await house.stranger.post("/api/refund", json=wanted, headers=headers)).is_success
        address = f"/api/tokens/{token['id']}/requests/two"
        assert (await house.stranger.delete(address, headers=headers)).is_success
    found = [(entry["act"], entry["kind"], entry["after"]) for entry in await entries(house, actor=name)]
    assert found == [
        ("cancel", "token", {"request_id": "two", "amount": 5.0}),
        ("refund", "token", {"request_id": "one", "amount": 3.0}),
    ]


async def test_a_run_that_is_cancelled_is_written_down(house: House) -> None:
    later = await house.client.post("/api/tasks/nightly/trigger", json={"countdown": 3600})
    run_id = later.json()["run_id"]
    name, headers = await anna_of(house)

    async def cancelled() -> bool:
        address = f"/api/traces/{run_id}/cancel"
        return (await house.stranger.post(address, headers=headers)).is_success

    await until(cancelled)  # it is in SQL after a moment
    (entry,) = await entries(house, actor=name)
    assert (entry["act"], entry["kind"], entry["subject"]) == ("cancel", "run", run_id)
    after = {"status": "cancelled", "task_id": "nightly"}
    assert (entry["before"], entry["after"], entry["can_undo"]) == ({"status": "waiting"}, after, False)


async def test_a_tick_that_is_to_be_left_out_is_written_down_as_its_moment(house: House) -> None:
    name, headers = await anna_of(house)
    change = {"skip_next": True}
    shown = await house.stranger.patch("/api/tasks/nightly", json=change, headers=headers)
    (entry,) = await entries(house, actor=name)
    assert (entry["before"], entry["after"]) == ({"skip_at": None}, {"skip_at": shown.json()["skip_at"]})
    assert (await undone(house, entry["id"]))["after"] == {"skip_at": None}
    assert (await house.client.get("/api/tasks/nightly")).json()["skip_at"] is None


async def away(*_: object, **__: object) -> None:
    raise Unavailable("SQL is away")


async def test_a_refill_while_sql_is_away_is_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await house.quota("logged")
    await house.client.post(path_of("logged", "acquire"), json={"cost": 4})
    monkeypatch.setattr(house.qf.store, "note_act", away)
    assert (await house.client.post(path_of("logged", "refill"))).json()["remaining"] == 10
    told = [str(record.msg) for record in caplog.records if Event.STORE_AWAY in str(record.msg)]
    assert [("logged" in line, "admin" in line) for line in told] == [(True, True)]


async def test_an_override_that_sql_keeps_comes_into_force_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.quota("kept", capacity=1, refill_rate=0)
    address = path_of("kept", "overrides", "vip")
    await house.client.put(address, json={"capacity": 5, "refill_rate": 0})
    with monkeypatch.context() as broken:
        broken.setattr(house.qf.store, "remove_override", away)
        assert (await house.client.delete(address)).status_code == 503
    await house.qf.quotas.settle()
    taken = await house.client.post(path_of("kept", "acquire"), json={"cost": 5, "key": "vip"})
    assert taken.status_code == 200


async def test_changes_are_listed_page_after_page(house: House) -> None:
    for capacity in (1, 2, 3):
        await house.client.post("/api/quotas", json={"id": "paged", "capacity": 9, "refill_rate": 0})
        await house.client.patch("/api/quotas/paged", json={"capacity": capacity})
    first = (await house.client.get(AUDIT, params={"subject": "paged", "limit": 2})).json()
    query = {"subject": "paged", "limit": 2, "cursor": first["next_cursor"]}
    rest = (await house.client.get(AUDIT, params=query)).json()
    shown = [entry["after"]["capacity"] for entry in (*first["items"], *rest["items"])]
    assert (shown, rest["next_cursor"]) == ([3.0, 2.0, 1.0, 9.0], None)


@pytest.mark.parametrize("query", [{"kind": "nothing"}, {"limit": 0}, {"who": "anna"}])
async def test_a_question_that_is_none_is_refused(house: House, query: dict[str, Any]) -> None:
    answer = await house.client.get(AUDIT, params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


# Undoing


async def undone(house: House, entry_id: str) -> dict[str, Any]:
    answer = await house.client.post(f"{AUDIT}/{entry_id}/undo")
    assert answer.status_code == 200, answer.text
    entry: dict[str, Any] = answer.json()
    return entry


async def state_of(house: House, subject: str, kind: str) -> object:
    """Return what there is of a definition, as people see it and as Redis knows it."""
    if kind == "task":
        shown = (await house.client.get(f"/api/tasks/{subject}")).json()
        return [
            shown[field] for field in ("paused", "cron_override", "rate_override", "skip_at", "next_runs")
        ]
    quota_id, _, _ = subject.partition("\n")
    shown = (await house.client.get(path_of(quota_id))).json()
    listed = await house.client.get(path_of(quota_id, "overrides"))
    in_redis = house.redis.hgetall(f"qf:{{p0}}:quota:{quota_id.replace('/', '%2F')}")
    # Both only grow: how often it was changed, and that keys of it have to be looked for.
    ours = ("version", "overrides")
    known = {name: text for name, text in in_redis.items() if name not in ours}
    live = ("version", "detail", "allowed", "limited", "remaining")
    return {k: v for k, v in shown.items() if k not in live}, listed.json().get("items"), known


UNDOABLE = [what for what, case in CASES.items() if case.kind in ("quota", "override", "task")
            and case.act in ("create", "change", "remove")]  # fmt: skip


@pytest.mark.parametrize("what", UNDOABLE)
async def test_what_is_undone_is_as_it_was_and_can_be_done_again(house: House, what: str) -> None:
    case = CASES[what]
    name, headers = await anna_of(house)
    renamed = [
        (method, address.replace("/quotas/a", "/quotas/undo_a"), _renamed(body))
        for method, address, body in case.steps
    ]
    for method, address, body in renamed[:-1]:
        assert (await house.client.request(method, address, json=body)).is_success
    subject = "nightly" if case.kind == "task" else _subject(renamed[0])
    before = await state_of(house, subject, case.kind)
    assert (await walk(house, renamed[-1:], headers)).is_success
    after = await state_of(house, subject, case.kind)
    assert before != after
    (entry,) = await entries(house, actor=name)
    back = await undone(house, entry["id"])
    assert (back["undoes"], back["actor"]) == (entry["id"], "admin")
    assert (back["before"], back["after"]) == (entry["after"], entry["before"])
    assert await state_of(house, subject, case.kind) == before
    await undone(house, back["id"])
    assert await state_of(house, subject, case.kind) == after


def _renamed(body: Any) -> Any:
    return {**body, "id": f"undo_{body['id']}"} if body and "id" in body else body


def _subject(step: Step) -> str:
    return str(step[2]["id"])


async def test_an_undone_quota_decides_as_before(house: House) -> None:
    await house.quota("decides", capacity=5, refill_rate=0)
    await house.client.put(path_of("decides", "overrides", "vip"), json={"capacity": 50, "refill_rate": 0})
    await house.client.delete("/api/quotas/decides")
    assert (await house.client.post("/api/quotas/decides/acquire")).status_code == 404
    (entry, *_) = await entries(house, subject="decides")
    await undone(house, entry["id"])
    for body, status in (({"cost": 5}, 200), ({"cost": 1}, 429), ({"cost": 50, "key": "vip"}, 200)):
        assert (await house.client.post("/api/quotas/decides/acquire", json=body)).status_code == status


async def test_a_prepaid_quota_comes_back_whole(house: House) -> None:
    body = {"id": "whole", "kind": "allowance", "total": 7, "reset_cron": "0 0 1 1 *", "timezone": "UTC"}
    made = (await house.client.post("/api/quotas", json=body)).json()
    await house.client.delete("/api/quotas/whole")
    await undone(house, (await entries(house, subject="whole"))[0]["id"])
    assert (await house.client.get("/api/quotas/whole")).json() == made


async def refusal(house: House, entry_id: str) -> tuple[int, str]:
    answer = await house.client.post(f"{AUDIT}/{entry_id}/undo")
    assert answer.headers["content-type"] == PROBLEM
    return answer.status_code, answer.json()["detail"]


async def test_what_was_changed_since_names_what_must_be_undone_first(house: House) -> None:
    await house.quota("since", capacity=1)
    for capacity in (2, 3):
        await house.client.patch("/api/quotas/since", json={"capacity": capacity})
    third, second, first = [entry["id"] for entry in await entries(house, subject="since")]
    for entry_id in (second, first):
        assert await refusal(house, entry_id) == (409, f"it has been changed since: undo {third} first")
    assert (await house.client.get("/api/quotas/since")).json()["capacity"] == 3
    await undone(house, third)
    await undone(house, second)
    assert (await house.client.get("/api/quotas/since")).json()["capacity"] == 1


async def test_changes_of_different_things_are_undone_in_any_order(house: House) -> None:
    await house.quota("apart", capacity=1, refill_rate=1)
    await house.client.patch("/api/quotas/apart", json={"capacity": 2})
    await house.client.patch("/api/quotas/apart", json={"refill_rate": 2})
    rate, capacity, _ = [entry["id"] for entry in await entries(house, subject="apart")]
    await undone(house, capacity)
    await undone(house, rate)
    shown = (await house.client.get("/api/quotas/apart")).json()
    assert (shown["capacity"], shown["refill_rate"]) == (1, 1)


async def test_a_quota_that_was_given_overrides_is_not_removed_by_undoing(house: House) -> None:
    await house.quota("given")
    await house.client.put(path_of("given", "overrides", "vip"), json=PACE)
    override, made = [entry["id"] for entry in await entries(house, subject="given")]
    assert await refusal(house, made) == (409, f"it has been changed since: undo {override} first")
    await undone(house, override)
    await undone(house, made)
    assert (await house.client.get("/api/quotas/given")).status_code == 404


async def test_an_override_that_was_changed_since_keeps_deciding(house: House) -> None:
    await house.quota("keeps", capacity=1, refill_rate=0)
    for capacity in (5, 6):
        body = {"capacity": capacity, "refill_rate": 0}
        await house.client.put(path_of("keeps", "overrides", "vip"), json=body)
    made = (await entries(house, subject="keeps\nvip"))[-1]
    assert (await refusal(house, made["id"]))[0] == 409
    taken = await house.client.post(path_of("keeps", "acquire"), json={"cost": 6, "key": "vip"})
    assert taken.status_code == 200


async def test_what_the_configuration_changed_since_is_not_undone(house: House) -> None:
    await house.quota("configured", capacity=1)
    await house.client.patch("/api/quotas/configured", json={"capacity": 2})
    await house.qf.quotas.change("configured", capacity=3)
    status, detail = await refusal(house, (await entries(house, subject="configured"))[0]["id"])
    assert (status, detail.partition(":")[0]) == (409, "this cannot be undone any more")


async def test_a_removed_quota_whose_name_was_taken_stays_away(house: House) -> None:
    await house.quota("first", name="shared name")
    await house.client.delete("/api/quotas/first")
    await house.quota("second", name="shared name")
    status, detail = await refusal(house, (await entries(house, subject="first"))[0]["id"])
    assert status == 409
    assert "'shared name' exists" in detail


async def test_nothing_is_undone_twice(house: House) -> None:
    await house.quota("twice")
    await house.client.patch("/api/quotas/twice", json={"enabled": False})
    entry = (await entries(house, subject="twice"))[0]
    back = await undone(house, entry["id"])
    said = (409, f"this has been undone already, by {back['id']}")
    assert await refusal(house, entry["id"]) == said
    await house.client.patch("/api/quotas/twice", json={"enabled": False})
    assert await refusal(house, entry["id"]) == said


FINAL = [what for what in CASES if what not in UNDOABLE]


@pytest.mark.parametrize("what", FINAL)
async def test_what_cannot_be_undone_says_so(house: House, what: str) -> None:
    case = CASES[what]
    name, headers = await anna_of(house)
    steps = [
        (method, address.replace("/quotas/a", "/quotas/final_a"), _final(body))
        for method, address, body in case.steps
    ]
    assert (await walk(house, steps, headers)).is_success
    (entry,) = await entries(house, actor=name)
    status, detail = await refusal(house, entry["id"])
    kind = case.kind.replace("_", " ")
    assert (status, detail) == (422, f"this cannot be undone: {case.act} of {kind}")


def _final(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    changed = {field: f"final_{body[field]}" for field in ("id", "name") if field in body}
    return {**body, **changed}


async def test_a_change_that_is_none_is_not_found(house: House) -> None:
    assert (await refusal(house, "nothing"))[0] == 404


async def test_no_secret_is_written_down(house: House) -> None:
    token, _ = await house.token()
    operator = (await house.client.post("/api/operators", json={"name": "keeper", "role": "admin"})).json()
    key = (await house.client.post(KEYS, json=key_named("watched")[2])).json()
    await house.client.patch(f"{KEYS}/{key['id']}", json={"secret": f"env:{OTHER_VARIABLE}"})
    await house.client.delete(f"/api/tokens/{token['id']}")
    written = repr((await house.qf.store.list_audit(AuditFilter(), limit=1000)).items)
    shown = (await house.client.get(AUDIT, params={"limit": 1000})).text
    for secret in ("tvly-canary", SECRET_VARIABLE, OTHER_VARIABLE, token["secret"], operator["secret"]):
        assert secret not in written
        assert secret not in shown
    assert token["prefix"] not in written
    assert "hash" not in written


CHANGE = st.fixed_dictionaries(
    {},
    optional={
        "capacity": st.integers(1, 9_000_000_000_000) | st.integers(1, 20),
        "refill_rate": st.integers(0, 9_000_000_000_000) | st.integers(0, 3),
        "max_concurrent": st.none() | st.integers(1, 3),
        "enabled": st.booleans(),
    },
)


@pytest.mark.asyncio(loop_scope="module")
@settings(max_examples=30)  # half a second each on a busy machine
@given(changes=st.lists(CHANGE, max_size=6))
async def test_undoing_all_changes_in_reverse_order_restores_the_first_definition(
    house: House, changes: list[dict[str, Any]]
) -> None:
    quota_id = f"random {next(_numbers)}"
    first = await house.qf.quotas.create(make_quota(id=quota_id, capacity=7, refill_rate=1), actor="anna")
    for change in changes:
        amounts: dict[str, Any] = {
            field: change[field] / 1e6 for field in ("capacity", "refill_rate") if field in change
        }
        await house.qf.quotas.change(quota_id, actor="anna", **(change | amounts))
    page = await house.qf.changes.page(AuditFilter(subject_id=quota_id), None, 100)
    for entry in page.items[:-1]:
        await house.qf.changes.undo(entry.id, "otto")
    last = (await house.qf.quotas.get(quota_id)).quota
    assert terms_of(last) == terms_of(first.quota)
    await house.qf.changes.undo(page.items[-1].id, "otto")
    assert (await house.client.get(path_of(quota_id))).status_code == 404


def terms_of(quota: Quota) -> list[object]:
    """Leave out the version, which counts changes."""
    return [getattr(quota, field.name) for field in fields(quota) if field.name != "version"]
