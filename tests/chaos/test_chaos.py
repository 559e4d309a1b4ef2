"""Everything is killed, frozen, locked and flushed under load: every count is right, and planted bugs are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from chaoslab.plants import PLANTS, planted  # type: ignore[import-not-found,unused-ignore]

# What brings each bug to light, and what it breaks; only this happens in a drill, a whole chaos takes four times as
# long. `trim-before-commit` needs a kill in the milliseconds between the two: 60 s of chaos by hand.
DRILLS = {
    "absolute-snapshot": (("customers", "0", "cut the journal's tail"), "unexplained"),
    "new-id-per-retry": (("customers", "15"), "lost acknowledgement"),
}
ROOT = Path(__file__).parents[2]


def chaos(*words: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/chaos with this Python; its seed and what it did are in the output."""
    return _run([str(ROOT / "scripts" / "chaos"), *words], CHAOS_PYTHON=sys.executable)


def drill(plant: str, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a drill in a copy of the code that has the bug."""
    root = planted(plant, ROOT, where / "code")
    command = [sys.executable, "-m", "tests.chaos.drill", *words]
    return _run(command, root, PYTHONPATH=f"{root}:{root / 'scripts'}")


def _run(command: list[str], root: Path = ROOT, **changes: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTAFLOW_")}
    return subprocess.run(
        command, cwd=root, env=clean | changes, capture_output=True, text=True, timeout=290, check=False
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_chaos_breaks_no_invariant(store: str) -> None:
    """Nine seconds, and longer until all faults have happened: three kills of daemons, every other fault once."""
    done = chaos("--store", store, "--seconds", "9", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations" in done.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize("plant", sorted(DRILLS.keys() & PLANTS.keys()))
def test_a_planted_bug_raises_the_alarm(plant: str, tmp_path: Path) -> None:
    words, broken = DRILLS[plant]
    done = drill(plant, tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"VIOLATION {broken}" in done.stdout
