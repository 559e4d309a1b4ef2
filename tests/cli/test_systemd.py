"""The words for systemd, over a real socket, and the unit file that asks for them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quotaflow.control.ending import STOP_S
from quotaflow.control.stats import Readiness
from quotaflow.edges.cli.leaving import LEFT_S
from quotaflow.edges.cli.systemd import Systemd
from quotaflow.edges.cli.watchdog import BLOCKED_S
from quotaflow.errors import ConfigError
from quotaflow.settings import Settings, load
from quotaflow.timing import SystemClock
from tests.cli.support import quotaflow
from tests.processes.notified import listening
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "scripts" / "quotaflow.service"


def test_what_is_for_us_is_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "@none", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "HOME": "/"}
    Systemd(environ, 7)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "ping_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_pings_are_for_the_process_that_was_asked_for_them(
    environ: dict[str, str], ping_s: float | None
) -> None:
    assert Systemd(environ, 7).ping_s == ping_s


def test_nobody_listening_is_said_and_no_address_is_no_failure(tmp_path: Path) -> None:
    assert not Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, 7).tell("READY=1")
    assert Systemd({}, 7).tell("READY=1")
    assert Systemd({"NOTIFY_SOCKET": "vsock:2:1"}, 7).tell("READY=1"), "which is not for a process here"


async def test_ready_is_told_when_readyz_would_say_200_and_before_that_why_not() -> None:
    answers = [Readiness(["Redis is away"]), Readiness(["Redis is away", "a\nREADY=1"]), Readiness()]

    async def readiness() -> Readiness:
        return answers.pop(0)

    with listening("@quotaflow-test-ready") as ear:
        systemd = Systemd({"NOTIFY_SOCKET": "@quotaflow-test-ready"}, 7)
        await systemd.tell_ready(readiness, "http://127.0.0.1:8000", SystemClock())
        wait_until(lambda: len(ear.heard) == 3)
        assert [words for _, words in ear.heard] == [
            ["STATUS=not ready: Redis is away"],
            ["STATUS=not ready: Redis is away; a\\nREADY=1"],
            ["READY=1", "STATUS=serving http://127.0.0.1:8000"],
        ]


# The unit file


def service() -> dict[str, list[str]]:
    """Return the keys of [Service], each with all its values."""
    found: dict[str, list[str]] = {}
    _, _, section = UNIT.read_text().partition("[Service]")
    for line in section.partition("[Install]")[0].splitlines():
        name, mark, value = line.partition("=")
        if mark and not name.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def seconds(name: str) -> float:
    (value,) = service()[name]
    return float(value)


def test_the_unit_starts_a_command_that_exists_in_a_place_that_it_may_write_to(tmp_path: Path) -> None:
    unit = service()
    (start,) = unit["ExecStart"]
    program, command, option, _ = start.split()
    assert (Path(program).name, command) == ("quotaflow", "run")
    assert option in quotaflow("run", "--help", cwd=tmp_path).stdout
    assert (unit["Type"], unit["StateDirectory"]) == (["notify"], ["quotaflow"])
    environ = dict(entry.split("=", 1) for entry in unit["Environment"])
    assert environ["QUOTAFLOW_DATA_DIR"] == "%S/" + unit["StateDirectory"][0]
    (tmp_path / "config.toml").touch()
    load(tmp_path / "config.toml", environ=environ)  # refuses what it does not know


def test_systemd_waits_for_an_orderly_end_and_starts_again_what_can_be_mended_so() -> None:
    # The workers once interrupted, the last outcomes, and four last writes have a deadline each.
    slowest_s = Settings(data_dir=ROOT).runner.shutdown_grace_s + 6 * STOP_S + 2 * LEFT_S
    assert seconds("TimeoutStopSec") > slowest_s
    assert seconds("WatchdogSec") > 10 * BLOCKED_S
    assert service()["Restart"] == ["on-failure"]
    assert service()["RestartPreventExitStatus"] == [str(ConfigError.exit_code)]


def test_the_unit_gives_it_no_more_than_it_needs() -> None:
    unit = service()
    assert unit["CapabilityBoundingSet"] == [""]
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert unit[name] == ["yes"], name
    assert (unit["ProtectSystem"], unit["ProtectHome"], unit["UMask"]) == (["strict"], ["yes"], ["0077"])
    assert not [value for value in unit["Environment"] if "TOKEN" in value or "URL" in value]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="only systemd knows its own words")
def test_systemd_itself_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "quotaflow.service"
    unit.write_text(UNIT.read_text().replace("/opt/quotaflow/bin/quotaflow", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit],  # noqa: S607  from wherever it was found
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    mine = [line for line in verified.stderr.splitlines() if "quotaflow" in line]
    assert (verified.returncode, mine) == (0, [])
