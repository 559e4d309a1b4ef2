"""/api/cleanup: how the removal of old rows stands, and its trigger."""

import re
from pathlib import Path
from typing import Any

import pytest

from quotaflow.edges.http.moments import go_duration
from tests.http.house import PROBLEM, House, opened, until
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOMENT = r"20\d\d-\d\d-\d\dT[\d:.]+Z"


async def stats(house: House) -> dict[str, Any]:
    answer = await house.client.get("/api/cleanup/stats")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_it_tells_what_it_will_do_and_when(fresh: House) -> None:
    found = await stats(fresh)
    assert re.fullmatch(MOMENT, found.pop("next_cleanup_time"))
    assert found == {
        "enabled": True,
        "retention_days": 180,
        "cleanup_interval": "24h0m0s",
        "batch_size": 10_000,
        "last_cleanup_time": None,
        "last_cleanup_count": 0,
        "total_cleaned_count": 0,
        "running": False,
    }


async def test_a_trigger_starts_it_once_and_tells_when_it_runs_already(house: House) -> None:
    assert await house.qf.store.begin_cleanup("another daemon")
    answer = await house.client.post("/api/cleanup/run")
    assert (answer.status_code, answer.json()) == (202, {"started": False})
    assert (await stats(house))["running"] is True
    await house.qf.store.end_cleanup("another daemon", 7)
    assert (await stats(house))["last_cleanup_count"] == 7
    answer = await house.client.post("/api/cleanup/run", json={"days": 3})
    assert (answer.status_code, answer.json()) == (202, {"started": True})

    async def ended() -> bool:
        return not (await stats(house))["running"]

    await until(ended)
    found = await stats(house)
    assert re.fullmatch(MOMENT, found["last_cleanup_time"])
    assert found["last_cleanup_count"] == 0


@pytest.mark.parametrize("body", [{"days": 0}, {"days": 36_501}, {"days": "3"}, {"force": 1}, {"hours": 3}])
async def test_wishes_that_make_no_sense_are_refused(house: House, body: dict[str, object]) -> None:
    answer = await house.client.post("/api/cleanup/run", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


async def test_where_it_is_off_somebody_has_to_insist(tmp_path: Path) -> None:
    with ValkeyProcess() as valkey:
        async with opened(valkey, tmp_path, retention__enabled=False) as house:
            found = await stats(house)
            assert (found["enabled"], found["next_cleanup_time"]) == (False, None)
            answer = await house.client.post("/api/cleanup/run", json={})
            assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
            assert answer.json()["code"] == "cleanup_disabled"
            answer = await house.client.post("/api/cleanup/run", json={"force": True})
            assert (answer.status_code, answer.json()) == (202, {"started": True})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (86_400, "24h0m0s"),
        (90_061, "25h1m1s"),
        (1800, "30m0s"),
        (3661.5, "1h1m1.5s"),
        (60, "1m0s"),
        (3.6, "3.6s"),
        (0.36, "360ms"),
    ],
)
async def test_spans_of_time_are_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
