"""`scripts/bench http`: POST /api/quotas/{id}/acquire of one daemon on one core, under wrk on the other."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from benchmarks.machine import describe, pin
from benchmarks.report import Report
from tests.servers import ValkeyProcess

TOKEN = "qf_admin_for-the-benchmark"  # noqa: S105  of a daemon that lives as long as this run
CONNECTIONS = 64
LUA = """
wrk.method = "POST"
wrk.body = '{body}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {token}"
done = function(summary, latency)
  print(string.format('{{"requests": %d, "us": %d, "errors": %d, "refused": %d, "p50": %d, "p95": %d}}',
    summary.requests, summary.duration, summary.errors.connect + summary.errors.read + summary.errors.timeout,
    summary.errors.status, latency:percentile(50), latency:percentile(95)))
end
"""


@contextmanager
def daemon(redis: str, folder: Path) -> Iterator[str]:
    """Run a daemon on the second core; gives its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("QUOTAFLOW_")}
    env |= {"QUOTAFLOW_ADMIN_TOKEN": TOKEN, "QUOTAFLOW_REDIS__URL": redis}
    env |= {"QUOTAFLOW_DATA_DIR": str(folder / "data"), "QUOTAFLOW_HTTP__PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "quotaflow", "run"], cwd=folder, env=env, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _await_ready(url)
        pin(process.pid, 1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _await_ready(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the daemon did not become ready")


def load(url: str, body: str, seconds: int, folder: Path, connections: int) -> dict[str, float]:
    """Let wrk ask as fast as it is answered."""
    script = folder / "ask.lua"
    script.write_text(LUA.format(body=body, token=TOKEN))
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"{url}/api/quotas/api/acquire",
    ]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: pin(0, 0)
    ).stdout
    found = re.search(r"\{.*\}", said)
    assert found, said
    figures = json.loads(found.group())
    return {
        "per second": figures["requests"] / figures["us"] * 1e6,
        "median ms": figures["p50"] / 1e3,
        "P95 ms": figures["p95"] / 1e3,
        "errors": figures["errors"] + figures["refused"],
    }


def run(*, quick: bool, json_file: Path | None) -> int:
    """Measure; exit code 1 when a bar is not reached, 2 without wrk."""
    if shutil.which("wrk") is None:
        print("scripts/bench http needs wrk (on Debian: apt install wrk)", file=sys.stderr)
        return 2
    report = Report(describe(), quick)
    seconds = 3 if quick else 10
    with tempfile.TemporaryDirectory() as name, ValkeyProcess() as valkey:
        folder = Path(name)
        pin(valkey.pid, 0)
        with daemon(valkey.url, folder) as url:
            quota = {"id": "api", "capacity": 1e9, "refill_rate": 1e6}
            httpx.post(
                f"{url}/api/quotas", json=quota, headers={"Authorization": f"Bearer {TOKEN}"}
            ).raise_for_status()
            load(url, '{"cost": 1}', 2, folder, CONNECTIONS)
            full = load(url, '{"cost": 1}', seconds, folder, CONNECTIONS)
            keyed = load(url, '{"cost": 1, "key": "customer-42"}', seconds, folder, CONNECTIONS)
            # Few enough connections that about half of that rate arrives.
            half = load(url, '{"cost": 1}', seconds, folder, 4)
    report.show(
        "POST /api/quotas/{id}/acquire",
        {"64 connections": dict(full), "64 connections, key": dict(keyed), "4 connections": dict(half)},
    )
    report.at_least("http: acquires per second on one core", full["per second"], 4_000)
    report.at_most("http: P95 with 4 connections", half["P95 ms"], 20, "ms")
    report.at_most("http: errors", full["errors"] + half["errors"], 0)
    report.show_bars()
    if json_file:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1
