"""/api/upstream-keys/refresh: asked for, watched, left, and cut short."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from quotaflow.balances import Progress
from quotaflow.edges.http import events
from quotaflow.edges.http.place import find_socket
from quotaflow.edges.http.server import serve
from quotaflow.edges.http.vitals import Stage, Vitals
from quotaflow.examples.upstream_service import Behaviour
from quotaflow.limiter.board import RefreshBoard
from quotaflow.settings import Http
from quotaflow.timing import SystemClock
from tests.http.house import held, until
from tests.http.upstream import PATH, UpstreamHouse, events_of, upstream_house
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFRESH = f"{PATH}/refresh"
SSE = {"accept": "text/event-stream"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    valkey_server: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UpstreamHouse]:
    valkey_server.start()
    valkey_server.clear()
    async with held(lambda: upstream_house(valkey_server, tmp_path_factory.mktemp("refresh"))) as house:
        yield house


@contextlib.asynccontextmanager
async def served(house: UpstreamHouse, data_dir: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Vitals]]:
    """Serve on a real socket: only there an answer comes piece by piece."""
    settings = house.qf.settings.model_copy(update={"data_dir": data_dir, "http": Http(port=0)})
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    vitals = Vitals(SystemClock(), Stage.WORKING)
    server = asyncio.create_task(serve(house.qf, settings, started=url.set_result, vitals=vitals))
    await url
    transport = httpx.AsyncHTTPTransport(uds=str(find_socket(data_dir)))
    async with httpx.AsyncClient(transport=transport, base_url="http://quotaflow") as owner:
        yield owner, vitals
    server.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await server


async def slow(house: UpstreamHouse, seconds: float) -> None:
    """Leave one key alone, whose service takes so long."""
    await house.clear()
    secret = house.account()
    await house.add(secret)
    house.service.behave([secret], Behaviour(slow_s=seconds))


async def test_nothing_to_refresh_is_zeros_and_an_unknown_provider_is_not_found(house: UpstreamHouse) -> None:
    await house.clear()
    answer = await house.client.post(REFRESH)
    assert answer.status_code == 200
    report = answer.json()
    assert report.pop("started_at").endswith("Z")
    assert report.pop("elapsed_seconds") < 1
    assert report == {"provider": None, "success": 0, "failed": 0, "total_keys": 0, "errors": []}
    for headers in ({}, SSE):
        unknown = await house.client.post(REFRESH, json={"provider": "tvly-canary"}, headers=headers)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        assert "known are tavily, other" in unknown.json()["detail"]
        assert "canary" not in unknown.text


async def test_a_refresh_reports_what_it_learnt_and_of_which_keys_nothing(house: UpstreamHouse) -> None:
    await house.clear()
    bad = house.account()
    good, other = await house.add(), await house.add(provider="other")
    broken = await house.add(bad, name="broken")
    await house.add(enabled=False)
    house.service.behave([bad], Behaviour("revoked"))
    report = (await house.client.post(REFRESH, json={"provider": None})).json()
    assert (report["success"], report["failed"], report["total_keys"]) == (2, 1, 3)
    (error,) = report["errors"]
    assert (error["id"], error["provider"], error["name"]) == (broken["id"], "tavily", "broken")
    assert "401" in error["error"]
    assert bad not in str(report)

    assert (await house.client.get(REFRESH)).json() == {
        "running": False,
        "provider": None,
        "done": 3,
        "failed": 1,
        "total_keys": 3,
        "report": report,
    }
    of_one = (await house.client.post(REFRESH, json={"provider": "other"})).json()
    assert (of_one["provider"], of_one["success"], of_one["total_keys"]) == ("other", 1, 1)
    before = (other["last_checked_at"], good["last_checked_at"])
    for key, was in zip((other, good), before, strict=True):
        assert (await house.client.get(f"{PATH}/{key['id']}")).json()["last_checked_at"] > was


async def test_a_refresh_tells_by_events_how_far_it_is_and_then_its_report(
    house: UpstreamHouse, tmp_path: Path
) -> None:
    await slow(house, 0.3)
    await house.add(provider="other")
    async with served(house, tmp_path) as (owner, _):
        asked = asyncio.create_task(owner.post(REFRESH, headers=SSE))

        async def running() -> bool:
            return bool((await owner.get(REFRESH)).json()["running"])

        await until(running)
        watched = await owner.get(REFRESH, headers=SSE)
        answer = await asked
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    for text in (answer.text, watched.text):
        *told, (name, report) = events_of(text)
        assert {kind for kind, _ in told} == {"progress"}
        assert all(data.keys() == {"done", "failed", "total_keys"} for _, data in told)
        assert told[-1][1]["total_keys"] == 2
        assert (name, report["success"], report["total_keys"]) == ("report", 2, 2)


async def test_who_watches_when_nothing_goes_on_gets_the_last_report(house: UpstreamHouse) -> None:
    await slow(house, 0)
    report = (await house.client.post(REFRESH)).json()
    assert events_of((await house.client.get(REFRESH, headers=SSE)).text) == [("report", report)]
    house.redis.delete("qf:{p0}:upstream:refresh", *house.redis.keys("*refresh*"))
    assert (await house.client.get(REFRESH, headers=SSE)).text == ""
    assert (await house.client.get(REFRESH)).json()["running"] is False


async def test_who_leaves_ends_no_refresh(house: UpstreamHouse, tmp_path: Path) -> None:
    await slow(house, 0.4)
    (key,) = (await house.client.get(PATH)).json()["items"]
    async with served(house, tmp_path) as (owner, _):
        async with owner.stream("POST", REFRESH, headers=SSE) as answer:
            assert "event: progress" in await anext(answer.aiter_text())

        async def checked() -> bool:
            now = (await owner.get(f"{PATH}/{key['id']}")).json()
            return bool(now["last_checked_at"] > key["last_checked_at"])

        await until(checked)


async def test_a_stream_ends_when_the_process_stops_and_the_refresh_goes_on(
    house: UpstreamHouse, tmp_path: Path
) -> None:
    await slow(house, 1.0)
    async with served(house, tmp_path) as (owner, vitals):
        async with owner.stream("POST", REFRESH, headers=SSE) as answer:
            texts = answer.aiter_text()
            assert "event: progress" in await anext(texts)
            vitals.stage = Stage.STOPPING
            async with asyncio.timeout(0.6):
                assert "report" not in "".join([text async for text in texts])
        assert (await owner.get(REFRESH)).json()["running"] is True
    assert (await house.client.post(REFRESH)).json()["success"] == 1


async def test_a_silent_stream_says_that_somebody_is_there(
    house: UpstreamHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await slow(house, 0.5)
    monkeypatch.setattr(events, "SILENT_S", 0.2)
    answer = await house.client.post(REFRESH, headers=SSE)
    assert ":\n\n" in answer.text
    assert events_of(answer.text)[-1][0] == "report"


async def test_an_error_is_the_last_event(
    house: UpstreamHouse, valkey_server: ValkeyProcess, tmp_path: Path
) -> None:
    """A process that died while it refreshed is not heard of any more."""
    board = RefreshBoard(house.qf._base.plain)
    await board.write(Progress("1", None, 3, 0, 10))
    watching = asyncio.create_task(house.client.get(REFRESH, headers=SSE))
    await asyncio.sleep(0.3)
    for key in house.redis.keys("*refresh*"):
        house.redis.delete(key)
    told = events_of((await watching).text)
    assert told[0] == ("progress", {"done": 3, "failed": 0, "total_keys": 10})
    assert (told[-1][0], told[-1][1]["code"], told[-1][1]["status"]) == ("error", "unavailable", 503)
