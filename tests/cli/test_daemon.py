"""`quotaflow run` as a process: how it starts, refuses and ends."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.support import READY_S, Background, quotaflow
from tests.servers import ServerDirectory

TASKS = """
import asyncio
from quotaflow import SchedulerTask
@SchedulerTask(id="slow", name="Slow", cron="* * * * * *")
async def slow() -> None:
    print("begun", flush=True)
    await asyncio.sleep(3600)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory with a configuration; the servers in it end with the test."""
    directory = ServerDirectory("run")
    (directory.path / "config.toml").write_text(
        'data_dir = "data"\n[http]\nport = 0\n[log]\nlevel = "debug"\n'
    )
    yield directory.path
    directory.end()


def test_a_signal_ends_the_daemon_in_order_and_a_second_daemon_is_refused(place: Path) -> None:
    with Background("run", cwd=place) as daemon:
        assert httpx.get(f"{daemon.wait_ready()}/readyz").status_code == 200
        second = quotaflow("run", cwd=place)
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr.startswith("quotaflow: another daemon uses ")
        assert len(second.stderr.splitlines()) == 1

        assert daemon.stop(signal.SIGTERM) == 0
        (told,) = [line for line in daemon.err.splitlines() if "qf_admin_" in line]  # the log is at debug
        assert told.startswith("admin token, shown only now: qf_admin_")
        assert "daemon.stopped" in daemon.err
        assert "Traceback" not in daemon.err
        assert "Warning" not in daemon.err
    assert not (place / "data" / "http.sock").exists()


def test_a_second_signal_ends_it_at_once(place: Path) -> None:
    (place / "slow.py").write_text(TASKS)
    changes = {"QUOTAFLOW_TASKS__MODULES": "slow", "QUOTAFLOW_RUNNER__SHUTDOWN_GRACE_S": "3600"}
    with Background("run", cwd=place, **changes) as daemon:
        daemon.wait_for("begun")
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("daemon.stopping")
        assert daemon.stop(signal.SIGTERM) == -signal.SIGTERM


def test_a_signal_cuts_a_start_short(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}"
        changes = {"QUOTAFLOW_REDIS__URL": url, "QUOTAFLOW_REDIS__DEADLINE_S": "0.5"}
        with Background("run", cwd=place, **changes) as daemon:
            mute.settimeout(READY_S)
            with mute.accept()[0]:
                assert daemon.stop() == 0
            assert daemon.out == ""
            assert "Traceback" not in daemon.err


def test_a_redis_that_is_away_is_one_line_and_exit_code_3(place: Path) -> None:
    refused = quotaflow("run", cwd=place, QUOTAFLOW_REDIS__URL="redis://127.0.0.1:1")
    complaints = [line for line in refused.stderr.splitlines() if line.startswith("quotaflow: ")]
    assert (refused.returncode, refused.stdout, len(complaints)) == (3, "", 1)
    assert "Redis cannot be" in complaints[0]
    assert "Traceback" not in refused.stderr
