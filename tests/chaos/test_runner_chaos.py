"""Three daemons with 200 tasks are killed, frozen and stopped: every tick runs once, and a planted bug is found."""

from pathlib import Path

import pytest

from tests.chaos.test_chaos import chaos, drill


@pytest.mark.timeout(300)
def test_daemons_that_are_killed_and_frozen_keep_every_promise_of_the_runner() -> None:
    done = chaos("--runner", "--seconds", "8", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations" in done.stdout


@pytest.mark.timeout(300)
def test_a_slot_that_is_not_held_raises_the_alarm(tmp_path: Path) -> None:
    done = drill("slot-not-held", tmp_path, "daemons", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VIOLATION overlaps" in done.stdout
