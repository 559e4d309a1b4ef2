"""/api/tasks: look, pause, reschedule, run now."""

import pytest

from tests.http.house import PROBLEM, House, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_tasks_are_listed_with_their_next_run(house: House) -> None:
    tasks = {task["id"]: task for task in (await house.client.get("/api/tasks")).json()["items"]}
    assert set(tasks) == {"nightly", "fetch", "fails", "greedy", "orphan"}
    fetch = tasks["fetch"]
    assert (fetch["name"], fetch["kind"], fetch["quota_name"]) == ("获取", "limit", "for_tasks")
    assert (fetch["cron"], fetch["cron_override"], fetch["timezone"]) == ("0 3 1 1 *", None, "Asia/Shanghai")
    assert (fetch["enabled"], fetch["paused"]) == (True, False)
    assert [moment[4:] for moment in fetch["next_runs"]] == ["-12-31T19:00:00.000000Z"], (
        "03:00 in Shanghai is 19:00 UTC"
    )


async def test_one_task_shows_five_next_runs(house: House) -> None:
    shown = (await house.client.get("/api/tasks/nightly")).json()
    years = [int(moment[:4]) for moment in shown["next_runs"]]
    assert years == list(range(years[0], years[0] + 5))


async def test_a_trigger_runs_the_task_and_leaves_a_trace(house: House) -> None:
    before = (await house.client.get("/api/tasks/nightly")).json()["summary"]["count"]
    answer = await house.client.post("/api/tasks/nightly/trigger")
    assert answer.status_code == 202
    run_id = answer.json()["run_id"]

    async def done() -> bool:
        found = await house.client.get(f"/api/traces/{run_id}")
        return found.status_code == 200 and found.json()["status"] == "ok"

    await until(done)
    trace = (await house.client.get(f"/api/traces/{run_id}")).json()
    assert (trace["task_id"], trace["trigger"], trace["status_code"]) == ("nightly", "manual", 200)
    shown = (await house.client.get("/api/tasks/nightly")).json()
    assert (shown["last_status"], shown["last_run_id"]) == ("ok", run_id)
    assert shown["last_run_at"] == trace["claimed_at"]
    assert shown["summary"]["count"] == before + 1


async def test_a_trigger_takes_units_and_is_refused_when_there_are_none(house: House) -> None:
    await house.quota("for_tasks", capacity=1, refill_rate=0.5)
    assert (await house.client.post("/api/tasks/fetch/trigger", json={})).status_code == 202
    answer = await house.client.post("/api/tasks/fetch/trigger")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (429, PROBLEM)
    assert (problem["code"], problem["reason"], problem["allowed"]) == ("quota_exceeded", "limited", False)
    assert 1 < problem["retry_after"] <= 2
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["ratelimit-policy"] == '"for_tasks";q=1;w=2'
    assert answer.headers["ratelimit"] == '"for_tasks";r=0;t=2'

    async def told() -> bool:
        found = await house.client.get(f"/api/traces/{problem['run_id']}")
        return found.status_code == 200 and found.json()["status_code"] == 429

    await until(told)


async def test_a_task_that_costs_more_than_there_ever_is_is_impossible(house: House) -> None:
    await house.plenty()
    answer = await house.client.post("/api/tasks/greedy/trigger")
    assert (answer.status_code, answer.json()["code"]) == (422, "impossible")
    assert "retry-after" not in answer.headers


async def test_a_task_without_its_quota_is_a_conflict(house: House) -> None:
    answer = await house.client.post("/api/tasks/orphan/trigger")
    assert (answer.status_code, answer.json()["code"]) == (409, "quota_missing")
    assert answer.json()["run_id"]


async def test_a_task_with_a_disabled_quota_is_a_conflict(house: House) -> None:
    await house.plenty()
    await house.client.patch("/api/quotas/plenty", json={"enabled": False})
    answer = await house.client.post("/api/tasks/fails/trigger")
    await house.client.patch("/api/quotas/plenty", json={"enabled": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "quota_disabled")
    assert answer.json()["retry_after"] is None


@pytest.mark.parametrize(("method", "act"), [("GET", ""), ("PATCH", ""), ("POST", "/trigger")])
async def test_a_task_that_does_not_exist_is_not_found(house: House, method: str, act: str) -> None:
    body = {"paused": True} if method == "PATCH" else None
    answer = await house.client.request(method, f"/api/tasks/nobody{act}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_task_is_paused_and_resumed(house: House) -> None:
    assert (await house.client.patch("/api/tasks/orphan", json={"paused": True})).json()["paused"] is True
    assert (await house.client.get("/api/tasks/orphan")).json()["paused"] is True
    assert (await house.client.patch("/api/tasks/orphan", json={"paused": False})).json()["paused"] is False


async def test_a_task_runs_by_another_expression_until_told_otherwise(house: House) -> None:
    changed = (await house.client.patch("/api/tasks/greedy", json={"cron": "30 4 1 1 *"})).json()
    assert (changed["cron"], changed["cron_override"]) == ("0 3 1 1 *", "30 4 1 1 *")
    assert changed["next_runs"][0].endswith("-01-01T04:30:00.000000Z")
    restored = (await house.client.patch("/api/tasks/greedy", json={"cron": None})).json()
    assert restored["cron_override"] is None
    assert restored["next_runs"][0].endswith("-01-01T03:00:00.000000Z")


@pytest.mark.parametrize(
    "cron", ["", "x", "61 * * * *", "0 3 30 2 *", "* * * * * * *", "0 3 1 1 *\n", 5, True]
)
async def test_an_expression_that_cannot_be_read_changes_nothing(house: House, cron: object) -> None:
    answer = await house.client.patch("/api/tasks/greedy", json={"paused": True, "cron": cron})
    assert (answer.status_code, answer.json()["field"]) == (422, "cron")
    shown = (await house.client.get("/api/tasks/greedy")).json()
    assert (shown["cron_override"], shown["paused"]) == (None, False)


@pytest.mark.parametrize("value", ["true", 1, 0, None])
async def test_paused_is_true_or_false(house: House, value: object) -> None:
    answer = await house.client.patch("/api/tasks/greedy", json={"paused": value})
    assert (answer.status_code, answer.json()["field"]) == (422, "paused")
