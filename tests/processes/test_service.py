"""A daemon as a service: what it tells systemd, what SIGTERM does, and what cannot keep it from ending."""

import json
import re
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.support import READY_S, Background
from tests.processes.notified import listening
from tests.servers import ServerDirectory, wait_until

TOKEN = {"Authorization": "Bearer canary-admin-token-0123456789"}

CONFIG = """
data_dir = "data"
[http]
port = 0
[tasks]
modules = ["work"]
"""

TASKS = """
import asyncio, os, time
from quotaflow import SchedulerTask
EVERY_SECOND, NEVER = "* * * * * *", "0 3 29 2 *"
@SchedulerTask(id="slow", name="Slow", cron={slow})
async def slow() -> None:
    print("begun", flush=True)
    await asyncio.sleep(2.5)
    print("done", flush=True)
@SchedulerTask(id="endless", name="Endless", cron={endless})
async def endless() -> None:
    print("begun", flush=True)
    await asyncio.sleep(3600)
@SchedulerTask(id="stubborn", name="Stubborn", cron=NEVER)
async def stubborn() -> None:
    print("stubborn", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass
@SchedulerTask(id="threaded", name="Threaded", cron=NEVER)
async def threaded() -> None:
    print("threaded", flush=True)
    await asyncio.to_thread(time.sleep, 3600)
@SchedulerTask(id="blocking", name="Blocking", cron=NEVER)
async def blocking() -> None:
    print("inherited:", [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_"))], flush=True)
    time.sleep(2.5)
    print("unblocked", flush=True)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory with a configuration; the servers in it end with the test."""
    directory = ServerDirectory("service")
    (directory.path / "config.toml").write_text(CONFIG)
    yield directory.path
    directory.end()


def daemon_in(place: Path, *, every_second: str = "", **changes: str) -> Background:
    """Start a daemon; of its tasks one is due every second, or none."""
    crons = {name: "EVERY_SECOND" if name == every_second else "NEVER" for name in ("slow", "endless")}
    (place / "work.py").write_text(TASKS.format(**crons))
    token = TOKEN["Authorization"].removeprefix("Bearer ")
    return Background("run", cwd=place, QUOTAFLOW_ADMIN_TOKEN=token, **changes)


def trigger(url: str, task_id: str) -> httpx.Response:
    return httpx.post(f"{url}/api/tasks/{task_id}/trigger", headers=TOKEN)


def statuses(place: Path) -> Counter[str]:
    """Count the recorded runs by status."""
    connection = sqlite3.connect(place / "data" / "quotaflow.db")
    try:
        return Counter(status for (status,) in connection.execute("SELECT status FROM traces"))
    finally:
        connection.close()


def events(daemon: Background, name: str) -> list[dict[str, Any]]:
    """Return the lines of its log with this event."""
    lines = [json.loads(line) for line in daemon.err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


# SIGTERM


def test_while_runs_finish_readyz_says_that_it_stops_and_nothing_new_begins(place: Path) -> None:
    with daemon_in(place, every_second="slow") as daemon:
        url = daemon.wait_ready()
        daemon.wait_for("begun")
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("daemon.stopping")
        answer = httpx.get(f"{url}/readyz")
        assert (answer.status_code, answer.json()["problems"]) == (503, ["the process is stopping"])
        refused = trigger(url, "slow")
        assert (refused.status_code, refused.json()["code"]) == (503, "not_open")
        begun = daemon.out.count("begun")
        assert daemon.wait() == 0
        assert daemon.out.count("begun") == daemon.out.count("done") == begun, "two more ticks were due"
        assert statuses(place) == {"ok": begun}


def test_a_run_longer_than_the_grace_is_closed_as_interrupted(place: Path) -> None:
    with daemon_in(place, every_second="endless", QUOTAFLOW_RUNNER__SHUTDOWN_GRACE_S="0.2") as daemon:
        daemon.wait_for("begun")
        assert daemon.stop() == 0
        assert statuses(place) == {"interrupted": daemon.out.count("begun")}
        assert "daemon.abandoned" not in daemon.err


def test_a_second_signal_ends_it_at_once_also_while_a_task_blocks_the_loop(place: Path) -> None:
    with daemon_in(place) as daemon:
        trigger(daemon.wait_ready(), "blocking")
        daemon.wait_for("inherited")
        daemon.send(signal.SIGTERM)
        time.sleep(0.5)  # two that come together are one
        assert daemon.stop(signal.SIGTERM) == -signal.SIGTERM
        assert "unblocked" not in daemon.out


@pytest.mark.parametrize(("task_id", "left"), [("stubborn", "stubborn "), ("threaded", "quotaflow thread_")])
def test_what_does_not_end_does_not_keep_the_process_from_ending(
    place: Path, task_id: str, left: str
) -> None:
    """It is named, and the exit code is that of an orderly end: everything of ours was written down."""
    with daemon_in(place, QUOTAFLOW_RUNNER__SHUTDOWN_GRACE_S="0.2") as daemon:
        trigger(daemon.wait_ready(), task_id)
        daemon.wait_for(task_id)
        assert daemon.stop() == 0
        (abandoned,) = events(daemon, "daemon.abandoned")
        assert [name for name in abandoned["left"] if name.startswith(left)] == abandoned["left"]
        assert len(events(daemon, "daemon.stopped")) == 1
        assert "Traceback" not in daemon.err
        assert statuses(place) == {"interrupted": 1}


# systemd


def test_systemd_hears_that_it_is_ready_lives_and_stops(place: Path) -> None:
    with (
        listening(place / "notify") as ear,
        daemon_in(place, NOTIFY_SOCKET=str(place / "notify"), WATCHDOG_USEC="400000") as daemon,
    ):
        ear.wait_for("READY=1")
        (words,) = [words for _, words in ear.heard if "READY=1" in words]
        (url,) = [word.removeprefix("STATUS=serving ") for word in words if word.startswith("STATUS=")]
        # A loop that was blocked while it started, on a busy machine, is told for 10 s.
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, deadline_s=60)
        begin = len(ear.moments("WATCHDOG=1"))
        ear.wait_for("WATCHDOG=1", begin + 11)
        pings = ear.moments("WATCHDOG=1")[begin : begin + 11]
        assert 10 * 0.18 < pings[-1] - pings[0] < 10 * 0.4, "every half of what is allowed"
        assert not ear.moments("STOPPING=1")

        daemon.send(signal.SIGTERM)
        ear.wait_for("STOPPING=1")
        assert daemon.wait() == 0
        assert len(ear.moments("READY=1")) == 1


def test_a_start_that_waits_for_redis_is_alive_and_not_ready(place: Path) -> None:
    name = f"@{place}"  # an abstract address
    with socket.create_server(("127.0.0.1", 0)) as mute, listening(name) as ear:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}"
        changes = {"QUOTAFLOW_REDIS__URL": url, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
        with daemon_in(place, **changes) as daemon:
            mute.settimeout(READY_S)
            with mute.accept()[0]:
                ear.wait_for("WATCHDOG=1", times=5)
                assert daemon.stop() == 0
                ear.wait_for("STOPPING=1")
                assert not ear.moments("READY=1")


def test_a_task_that_blocks_the_loop_is_named_and_counted_and_silences_the_pings(place: Path) -> None:
    with (
        listening(place / "notify") as ear,
        daemon_in(place, NOTIFY_SOCKET=str(place / "notify"), WATCHDOG_USEC="400000") as daemon,
    ):
        url = daemon.wait_ready()
        ear.wait_for("READY=1")
        run_id = trigger(url, "blocking").json()["run_id"]
        daemon.wait_for("unblocked")
        assert "inherited: []" in daemon.out
        wait_until(lambda: events(daemon, "loop.back"))
        answer = httpx.get(f"{url}/readyz")
        assert answer.status_code == 503
        assert re.fullmatch(r"the event loop was blocked for 2\.\d s: .*", answer.json()["problems"][0])
        loop = httpx.get(f"{url}/api/stats", headers=TOKEN).json()["loop"]
        assert loop["blocks"] == 1
        assert 2.0 < loop["longest_s"] < 10
        figures = httpx.get(f"{url}/metrics").text
        assert "\nquotaflow_loop_blocks_total 1\n" in figures
        assert f"\nquotaflow_loop_longest_block_seconds {loop['longest_s']}\n" in figures

        (blocked,) = events(daemon, "loop.blocked")
        assert (blocked["task"], blocked["blocked_ms"] >= 1000) == (f"blocking {run_id}", True)
        assert blocked["stack"].startswith(f"blocking ({place}/work.py:")
        pings = ear.moments("WATCHDOG=1")
        assert max(after - before for before, after in pairwise(pings)) > 2.4
        assert daemon.stop() == 0
