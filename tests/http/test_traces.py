"""/api/traces: lists, filters, pages, one trace, summaries."""

from typing import Any

import pytest

from quotaflow.edges.http.moments import LATEST_US, read_moment
from quotaflow.edges.http.views import status_code, trace_shown
from quotaflow.errors import InvalidInput
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Trace
from quotaflow.timing import iso
from tests.http.house import House, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW_US = 1_750_000_000_000_000  # 2025-06-15T15:06:40Z


async def ran(house: House) -> list[dict[str, Any]]:
    """Return the traces of two failures, one refusal and two successes; the first caller makes them happen."""
    if (await house.client.get("/api/quotas/plenty")).status_code == 404:
        await house.quota("plenty", capacity=1000, refill_rate=0)
        await house.quota("for_tasks", capacity=1, refill_rate=0)
        for task_id in ("fails", "fails", "fetch", "fetch", "nightly"):
            await house.client.post(f"/api/tasks/{task_id}/trigger")

    async def ended() -> bool:
        items = (await house.client.get("/api/traces")).json()["items"]
        return len(items) == 5 and all(Status(item["status"]).is_final for item in items)

    await until(ended)
    items: list[dict[str, Any]] = (await house.client.get("/api/traces")).json()["items"]
    return items


async def test_traces_are_listed_newest_first_with_every_column(house: House) -> None:
    traces = await ran(house)
    assert [trace["task_id"] for trace in traces] == ["nightly", "fetch", "fetch", "fails", "fails"]
    failed = traces[-1]
    assert failed.keys() >= {
        "run_id", "task_id", "quota_id", "trigger", "scheduled_for", "started_at", "finished_at", "status", "reason",
        "attempt", "latency_ms", "wait_ms", "cost", "error_type", "error", "instance_id", "status_code", "claimed_at",
    }  # fmt: skip
    assert (failed["status"], failed["status_code"], failed["cost"]) == ("failed", 500, 1.0)
    assert (failed["error_type"], failed["error"]) == ("ValueError", "the moon is down")
    assert failed["claimed_at"] <= failed["started_at"] <= failed["finished_at"]
    assert failed["started_at"].endswith("Z")
    assert (failed["trigger"], failed["scheduled_for"], failed["quota_id"]) == ("manual", None, "plenty")


async def test_a_refused_run_answers_to_429(house: House) -> None:
    refused = (await ran(house))[1]
    assert (refused["status"], refused["status_code"], refused["task_id"]) == ("limited", 429, "fetch")


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        ({"task": "fails"}, ["fails", "fails"]),
        ({"quota": "for_tasks"}, ["fetch", "fetch"]),
        ({"status": "limited"}, ["fetch"]),
        ({"status": "ok", "task": "fetch"}, ["fetch"]),
        ({"trigger": "cron"}, []),
        ({"trigger": "manual", "limit": "2"}, ["nightly", "fetch"]),
        ({"text": "MOON"}, ["fails", "fails"]),
        ({"text": "%"}, []),
        ({"since": "1h", "task": "nightly"}, ["nightly"]),
        ({"until": "1h"}, []),
        ({"since": "2000-01-01", "until": "9999-12-31T23:59:59-14:00", "task": "nightly"}, ["nightly"]),
        ({"task": "nobody"}, []),
    ],
)
async def test_traces_are_filtered(house: House, query: dict[str, str], tasks: list[str]) -> None:
    await ran(house)
    answer = await house.client.get("/api/traces", params=query)
    assert [item["task_id"] for item in answer.json()["items"]] == tasks


async def test_a_moment_splits_the_list(house: House) -> None:
    traces = await ran(house)
    middle = traces[2]["claimed_at"]
    newer = (await house.client.get("/api/traces", params={"since": middle})).json()["items"]
    older = (await house.client.get("/api/traces", params={"until": middle})).json()["items"]
    assert (newer, older) == (traces[:3], traces[3:])


async def test_pages_hold_every_trace_once(house: House) -> None:
    traces = await ran(house)
    found: list[dict[str, Any]] = []
    query: dict[str, str] = {"limit": "2"}
    while True:
        page = (await house.client.get("/api/traces", params=query)).json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == traces


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "1.5"),
        ("limit", "9" * 5000),
        ("status", "429"),
        ("trigger", "hand"),
        ("since", "yesterday"),
        ("until", "1 hour"),
        ("since", ""),
        ("task", "a\0b"),
        ("quota", " x"),
        ("cursor", "nonsense"),
        ("cursor", "x" * 301),
        ("text", "x" * 201),
        ("tasks", "fails"),
        ("offset", "5"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_by_name(house: House, name: str, value: str) -> None:
    answer = await house.client.get("/api/traces", params={name: value})
    assert (answer.status_code, answer.json()["field"]) == (422, name)
    assert "Input should" not in answer.text


async def test_one_trace_is_found_by_its_run_id(house: House) -> None:
    newest = (await ran(house))[0]
    assert (await house.client.get(f"/api/traces/{newest['run_id']}")).json() == newest
    answer = await house.client.get("/api/traces/nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_summary_counts_by_task(house: House) -> None:
    await ran(house)
    items = {
        item["task_id"]: item for item in (await house.client.get("/api/traces/summary")).json()["items"]
    }
    assert (items["fails"]["count"], items["fails"]["failed"], items["fails"]["ok"]) == (2, 2, 0)
    assert (items["fetch"]["count"], items["fetch"]["limited"], items["fetch"]["ok"]) == (2, 1, 1)
    assert items["fails"]["p95_ms"] >= items["fails"]["p50_ms"] > 0
    assert items["orphan"]["count"] == 0


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("90s", NOW_US - 90_000_000),
        ("15m", NOW_US - 900_000_000),
        ("1h", NOW_US - 3_600_000_000),
        ("7d", NOW_US - 604_800_000_000),
        ("2w", NOW_US - 1_209_600_000_000),
        ("999999999w", 0),
        ("2025-06-15T15:06:40Z", NOW_US),
        ("2025-06-15T15:06:40", NOW_US),
        ("2025-06-15 15:06:40", NOW_US),
        ("2025-06-15T23:06:40+08:00", NOW_US),
        ("2025-06-15T23:06:40 08:00", NOW_US),  # a "+" that the query string lost
        ("2025-06-15T15:06:40.000001Z", NOW_US + 1),
        ("2025-06-15", 1_749_945_600_000_000),
        ("0001-01-01T00:00:00+14:00", 0),
        ("9999-12-31T23:59:59-14:00", LATEST_US),
    ],
)
async def test_a_moment_is_read(text: str, us: int) -> None:
    assert read_moment(text, NOW_US, field="since") == us


@pytest.mark.parametrize(
    "text", ["", "h", "-1h", "1y", "1.5h", "１h", "1h ago", "now", "2025-13-01", "2025-06-15T25:00"]
)
async def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="since must be a moment like 2025-06-15T12:00:00Z"):
        read_moment(text, NOW_US, field="since")


async def test_a_moment_is_written_to_the_microsecond() -> None:
    assert iso(NOW_US + 1) == "2025-06-15T15:06:40.000001Z"
    assert read_moment(iso(NOW_US + 1), 0, field="since") == NOW_US + 1


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (Status.OK, None, 200),
        (Status.LIMITED, Reason.LIMITED, 429),
        (Status.LIMITED, Reason.IMPOSSIBLE, 429),
        (Status.SKIPPED, Reason.MISSING, 429),
        (Status.SKIPPED, Reason.DISABLED, 429),
        (Status.SKIPPED, Reason.PAUSED, None),
        (Status.MISSED, Reason.MISFIRE, None),
        (Status.FAILED, None, 500),
        (Status.DEAD, None, 500),
        (Status.LOST, Reason.CRASHED, 500),
        (Status.SOFT_TIMEOUT, None, 504),
        (Status.HARD_TIMEOUT, None, 504),
        (Status.INTERRUPTED, Reason.SHUTDOWN, 503),
        (Status.CANCELLED, None, 503),
        (Status.WAITING, None, None),
        (Status.RUNNING, None, None),
        (Status.STUCK, None, None),
    ],
)
async def test_every_status_has_a_status_code_or_none(
    status: Status, reason: Reason | None, code: int | None
) -> None:
    assert status_code(status, reason) == code
    row = Trace("r", "t", Trigger.CRON, status, NOW_US, reason=reason, cost_micro=2_500_000)
    shown = trace_shown(row)
    assert (shown.status_code, shown.cost, shown.finished_at) == (code, 2.5, None)
