"""Real `quotaflow` processes, and the same command inside this one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import PATIENCE_S, wait_until

COMMAND = [sys.executable, "-m", "quotaflow"]
READY_S = 90.0  # a start takes two seconds; the machine may be busy
USUAL = {
    "PYTHONWARNINGS": "default",  # nothing may be left un-awaited or open
    "QUOTAFLOW_REDIS__DEADLINE_S": str(PATIENCE_S),
    "QUOTAFLOW_STORE__DEADLINE_S": str(PATIENCE_S),
}


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which nothing but `changes` configures quotaflow."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("QUOTA", "LC_", "LANG"))
    }
    here = str(Path(__file__).parents[2])
    return {**clean, "LANG": "C.UTF-8", "PYTHONPATH": here, **changes}


def quotaflow(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


class Background:
    """A `quotaflow` that goes on until it is told to stop; what it says is in `out` and `err`."""

    def __init__(self, *arguments: str, cwd: Path, **changes: str) -> None:
        self._out, self._err = cwd / "out.txt", cwd / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=cwd,
                env=environment(**{**USUAL, **changes}),
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        """What it has said so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has logged and complained so far."""
        return self._err.read_text()

    def wait_for(self, text: str) -> None:
        """Return when `text` stands in its output."""
        wait_until(lambda: text in self.out or self._process.poll() is not None, deadline_s=READY_S)
        assert text in self.out, self.err

    def wait_for_log(self, text: str) -> None:
        """Return when `text` stands in its log."""
        wait_until(lambda: text in self.err, deadline_s=READY_S)

    def wait_ready(self) -> str:
        """Return its URL, once it has said it."""
        self.wait_for("http://")
        found = re.search(r"http://\S+", self.out)
        assert found is not None
        return found[0]

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return its exit code; minus the signal's number when a signal ended it."""
        return self._process.wait(timeout=90)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.send(number)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(timeout=60)
