"""/livez, /readyz, /stats, /metrics, /api/stats, /docs, and what happens when something breaks."""

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from quotaflow.edges.http.metrics import render
from quotaflow.limiter.rpo import SECONDS
from tests.http.house import PROBLEM, House, opened, until
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED_FIGURES = {
    "sync_queue_len",
    "sync_queue_cap",
    "log_queue_len",
    "log_queue_cap",
    "sync_interval",
    "sync_batch_size",
}


async def test_a_sound_process_lives_and_is_ready(house: House) -> None:
    assert (await house.client.get("/livez")).json() == {"alive": True}
    assert (await house.client.get("/readyz")).json() == {"ready": True, "problems": [], "rpo": SECONDS}


async def test_the_small_figures_are_those_of_the_seed(house: House) -> None:
    figures = (await house.client.get("/stats")).json()
    assert figures.keys() == SEED_FIGURES
    assert (figures["sync_interval"], figures["sync_batch_size"], figures["log_queue_cap"]) == (
        "1s",
        500,
        10_000,
    )


async def test_all_figures_tell_of_queues_decisions_and_instances(house: House) -> None:
    await house.quota("counted", capacity=1, refill_rate=0)
    for _ in range(3):
        await house.qf.acquire("counted")
    figures = (await house.client.get("/api/stats")).json()
    assert figures.keys() >= SEED_FIGURES | {
        "flush_lag_s",
        "decisions",
        "traces",
        "runner",
        "redis",
        "instances",
    }
    assert figures["quotas"]["counted"] == {"allowed": 1, "limited": 2, "remaining": 0.0}
    assert figures["runner"]["queue_cap"] == 1000
    assert (figures["redis"]["appendfsync"], figures["redis"]["rpo"]) == ("everysec", SECONDS)
    (instance,) = figures["instances"]
    assert instance["id"] == house.qf.instance_id
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", instance["started_at"])
    assert not [key for key in instance if key.endswith("_us")]


async def test_metrics_are_in_prometheus_text_format(house: House) -> None:
    await house.quota('odd "name" \\', capacity=2, refill_rate=0)
    await house.qf.acquire('odd "name" \\')
    answer = await house.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    sample = re.compile(
        r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\})? -?[0-9.e+-]+'
    )
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line) for line in lines)
    assert 'quotaflow_decisions_total{quota="odd \\"name\\" \\\\",result="allowed"} 1' in lines
    assert "quotaflow_runner_queue 0" in lines
    assert "quotaflow_journal_backlog 0" in lines
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed))
    assert all(line.split("{")[0].split()[0] in typed for line in lines if not line.startswith("#"))


async def test_a_line_end_in_a_label_ends_no_line() -> None:
    figures = {
        "quotas": {"a\nb": {"allowed": 1, "limited": 0, "remaining": 0.5}},
        "traces": {"ok": 3},
        "instances": [],
        **dict.fromkeys(
            (
                "log_queue_len",
                "flush_lag_s",
                "sync_queue_len",
                "waiting_calls",
                "slots",
                "untraced",
                "dead_letters",
                "double_claims",
            ),
            0,
        ),
        "waiting_runs": 0,
    }
    text = render(
        figures,
        {
            "runner": {"queue_len": 0, "queue_cap": 0, "running": 0, "stuck": 0},
            "loop": {"blocks": 0, "longest_s": 0},
        },
        {"providers": {}, "lost": 0},
    )
    assert 'quotaflow_remaining_units{quota="a\\nb"} 0.5\n' in text
    assert 'quotaflow_runs{status="ok"} 3\n' in text


# Documentation without a network


class Links(HTMLParser):
    """Collects what a page loads or leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Take src and href."""
        self.found += [value for name, value in attrs if name in ("src", "href", "action") and value]


async def test_docs_load_everything_from_this_host(house: House) -> None:
    page = await house.stranger.get("/docs")
    links = Links()
    links.feed(page.text)
    assert len(links.found) >= 3
    for link in links.found:
        assert link.startswith("/")
        assert not link.startswith("//")
        assert (await house.stranger.get(link)).status_code == 200, link
    assert not re.findall(r"https?://", page.text), "nor does its script name another host"
    assert '"validatorUrl": null' in page.text, "or Swagger UI shows the document to a validator"
    style = await house.stranger.get("/static-offline-docs/swagger-ui.css")
    assert not re.findall(r"url\((?!['\"]?data:)|@import", style.text)
    assert (await house.client.get("/redoc")).status_code == 404


async def test_the_document_names_every_route_and_body(house: House) -> None:
    document = (await house.stranger.get("/openapi.json")).json()
    assert (document["info"]["title"], bool(document["info"]["version"])) == ("quotaflow", True)
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
        ("GET", "/api/quotas"),
        ("POST", "/api/quotas"),
        ("GET", "/api/quotas/{quota_id}"),
        ("GET", "/api/quotas/{quota_id}/overrides"),
        ("PUT", "/api/quotas/{quota_id}/overrides/{key}"),
        ("DELETE", "/api/quotas/{quota_id}/overrides/{key}"),
        ("PATCH", "/api/quotas/{quota_id}"),
        ("DELETE", "/api/quotas/{quota_id}"),
        ("POST", "/api/quotas/{quota_id}/refill"),
        ("POST", "/api/quotas/{quota_id}/acquire"),
        ("POST", "/api/quotas/{quota_id}/recharge"),
        ("GET", "/api/quotas/{quota_id}/logs"),
        ("GET", "/api/quotas/{quota_id}/logs/export"),
        ("GET", "/api/tokens"),
        ("POST", "/api/tokens"),
        ("GET", "/api/tokens/{token_id}"),
        ("PATCH", "/api/tokens/{token_id}"),
        ("DELETE", "/api/tokens/{token_id}"),
        ("GET", "/api/tokens/{token_id}/quota"),
        ("GET", "/api/tokens/{token_id}/quota/logs"),
        ("GET", "/api/tokens/{token_id}/quota/logs/export"),
        ("POST", "/api/tokens/{token_id}/recharge"),
        ("POST", "/api/tokens/{token_id}/expire"),
        ("GET", "/api/tokens/{token_id}/requests/{request_id}"),
        ("DELETE", "/api/tokens/{token_id}/requests/{request_id}"),
        ("POST", "/api/ledger/verify"),
        ("POST", "/api/refund"),
        ("POST", "/api/consume"),
        ("GET", "/api/consume/{request_id}"),
        ("DELETE", "/api/consume/{request_id}"),
        ("POST", "/api/consume/{request_id}/outcome"),
        ("GET", "/api/tasks"),
        ("GET", "/api/tasks/{task_id}"),
        ("PATCH", "/api/tasks/{task_id}"),
        ("POST", "/api/tasks/{task_id}/trigger"),
        ("GET", "/api/traces"),
        ("GET", "/api/traces/summary"),
        ("GET", "/api/traces/{run_id}"),
        ("POST", "/api/traces/{run_id}/cancel"),
        ("GET", "/api/stats"),
        ("GET", "/api/cleanup/stats"),
        ("POST", "/api/cleanup/run"),
        ("GET", "/api/upstream-keys"),
        ("POST", "/api/upstream-keys"),
        ("GET", "/api/upstream-keys/{key_id}"),
        ("PATCH", "/api/upstream-keys/{key_id}"),
        ("DELETE", "/api/upstream-keys/{key_id}"),
        ("POST", "/api/upstream-keys/import"),
        ("GET", "/api/upstream-keys/refresh"),
        ("POST", "/api/upstream-keys/refresh"),
        ("POST", "/api/upstream-keys/rotate"),
        ("GET", "/api/events"),
        ("GET", "/api/admin-audit"),
        ("POST", "/api/admin-audit/{entry_id}/undo"),
        ("GET", "/api/operators"),
        ("POST", "/api/operators"),
        ("DELETE", "/api/operators/{operator_id}"),
        ("GET", "/api/whoami"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/stats"),
        ("GET", "/metrics"),
    }
    acquire = document["paths"]["/api/quotas/{quota_id}/acquire"]["post"]
    assert set(acquire["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {
        "cost",
        "key",
    }
    assert [parameter["name"] for parameter in acquire["parameters"]] == ["quota_id"]
    assert document["paths"]["/api/quotas"]["post"]["requestBody"]["required"] is True


# When something breaks


async def test_a_bug_is_logged_under_a_number_and_answered_by_it_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("canary-7c21: internals")

    monkeypatch.setattr(house.qf.store, "get_quota", broken)
    answer = await house.client.get("/api/quotas/any")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"], problem["code"]) == (500, PROBLEM, "internal")
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    (record,) = [record for record in caplog.records if problem["error_id"] in str(record.msg)]
    assert "canary-7c21" in str(record.msg)
    assert "GET /api/quotas/any" in str(record.msg)


async def test_without_redis_it_lives_shows_definitions_and_asks_to_come_back(tmp_path: Path) -> None:
    with ValkeyProcess() as valkey:
        async with opened(valkey, tmp_path, redis__deadline_s=0.3) as house:
            await house.quota("there", capacity=5)
            valkey.kill()
            assert (await house.client.get("/livez")).status_code == 200

            async def unready() -> bool:
                return (await house.client.get("/readyz")).status_code == 503

            await until(unready)
            assert (await house.client.get("/readyz")).json()["problems"] != []
            shown = (await house.client.get("/api/quotas/there")).json()
            assert (shown["capacity"], shown["remaining"], shown["allowed"]) == (5.0, None, None)
            for method, path in (
                ("POST", "/api/quotas/there/acquire"),
                ("GET", "/stats"),
                ("GET", "/metrics"),
            ):
                answer = await house.client.request(method, path)
                assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM), path
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["code"] in ("unavailable", "recovering")
            valkey.start()

            async def ready() -> bool:
                return (await house.client.get("/readyz")).status_code == 200

            await until(ready, deadline_s=60)
            assert (await house.client.post("/api/quotas/there/acquire")).status_code == 200


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_bug(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(str(message))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/quotas",
        "query_string": b"",
        "headers": [],
        "root_path": "",
    }
    transport = house.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    await transport.app(scope, receive, send)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
