"""`quotaflow cleanup`, `quotaflow db cleanup`, and the script for cron."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quotaflow.records import Batch, DeadLetter
from quotaflow.settings import load
from quotaflow.store import Store
from quotaflow.timing import ManualClock
from tests.cli.conftest import Ask, Owner
from tests.cli.support import environment
from tests.servers import PATIENCE_S, wait_until

SCRIPT = Path(__file__).parents[2] / "scripts" / "cleanup_quota_logs.sh"
LONG_AGO_US = 1_600_000_000_000_000


async def old_rows(directory: Path, count: int) -> None:
    """Make a store with rows of the year 2020."""
    directory.mkdir(mode=0o700)
    url = load(environ={}, data_dir=directory).store_url
    store = await Store.open(url, clock=ManualClock(LONG_AGO_US), deadline_s=PATIENCE_S)
    await store.write_batch(Batch(dead=[DeadLetter(f"d{number}", "{}", "why") for number in range(count)]))
    await store.close()


def script(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script as cron does, with `quotaflow` on its path."""
    program = tmp_path / "bin" / "quotaflow"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quotaflow "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *arguments],
        cwd=tmp_path,
        env=environment(PATH=path, **environ),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_a_daemon_tells_how_cleaning_stands_and_cleans_when_asked(at: Ask) -> None:
    before = json.loads(at("cleanup", "stats", "-o", "json").out)
    assert (before["enabled"], before["retention_days"]) == (True, 180)
    assert json.loads(at("cleanup", "run", "--days", "7", "-o", "json").out) == {"started": True}

    def done() -> bool:
        found = json.loads(at("cleanup", "stats", "-o", "json").out)
        return bool(found["last_cleanup_time"]) and not found["running"]

    wait_until(done, deadline_s=60)


@pytest.mark.parametrize("days", ["0", "36501", "x"])
def test_days_that_make_no_sense_are_exit_code_2(at: Ask, days: str) -> None:
    assert at("cleanup", "run", "--days", days).code == 2
    assert at("db", "cleanup", "--days", days).code == 2


def test_the_script_cleans_without_a_daemon_even_where_the_cleaner_is_off(tmp_path: Path) -> None:
    asyncio.run(old_rows(tmp_path / "d", 3))
    off = {"QUOTA_CLEANUP_ENABLED": "false"}
    kept = script(tmp_path, "36500", "--data-dir", "d", **off)
    assert (kept.returncode, kept.stdout) == (0, "rows removed: 0\n"), kept.stderr
    gone = script(tmp_path, "--data-dir", "d", **off)
    assert (gone.returncode, gone.stdout) == (0, "rows removed: 3\n"), gone.stderr


def test_the_script_asks_the_daemon_that_has_the_store(tmp_path: Path, owner: Owner) -> None:
    config = str(owner.home / "config.toml")

    def asked() -> bool:
        seen = script(tmp_path, "30", "--config", config)
        assert seen.returncode == 0, seen.stderr
        return seen.stdout == "the daemon removes old rows now\n"

    wait_until(asked, deadline_s=60)


def test_the_script_ends_with_the_exit_codes_of_the_command(tmp_path: Path) -> None:
    assert script(tmp_path, "0", "--data-dir", "d").returncode == 2
    assert script(tmp_path, "x", "--data-dir", "d").returncode == 2
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "quotaflow.db").write_bytes(b"not a database" * 100)
    seen = script(tmp_path, "--data-dir", "broken")
    assert (seen.returncode, seen.stdout, len(seen.stderr.splitlines())) == (3, "", 1)
