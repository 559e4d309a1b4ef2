"""Everything is killed, frozen, locked and flushed under load: every count is right, and planted bugs are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from chaoslab.plants import PLANTS  # type: ignore[import-not-found,unused-ignore]

# Found in every run so far. `trim-before-commit` needs a kill in the milliseconds between the two: 60 s by hand.
FOUND = sorted({"absolute-snapshot", "new-id-per-retry"} & PLANTS.keys())
ROOT = Path(__file__).parents[2]


def chaos(*words: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/chaos with this Python; its seed and what it did are in the output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("QUOTAFLOW_")}
    environ["CHAOS_PYTHON"] = sys.executable
    command = [str(ROOT / "scripts" / "chaos"), *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_fifteen_seconds_of_chaos_break_no_invariant(store: str) -> None:
    done = chaos("--store", store, "--seconds", "15", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations" in done.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize("plant", FOUND)
def test_a_planted_bug_raises_the_alarm(plant: str) -> None:
    done = chaos("--seconds", "12", "--seed", "1", "--plant", plant)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "VIOLATION" in done.stdout
