"""Data directories whose embedded server ends with the test, and processes that open them."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import ServerDirectory

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Opened:
    """What another process got."""

    url: str
    started: bool
    run_id: str
    pid: int


class Opener:
    """Another process that opens what it is told and then goes on living."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.redis_server.opener"],
            cwd=ROOT,
            env=os.environ | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, data_dir: Path) -> None:
        """Tell it to open this one, without waiting."""
        assert self._process.stdin
        self._process.stdin.write(f"{data_dir}\n")
        self._process.stdin.flush()

    def receive(self) -> Opened:
        """Wait for what became of the oldest `send`."""
        assert self._process.stdout
        return Opened(**json.loads(self._process.stdout.readline()))

    def open(self, data_dir: Path) -> Opened:
        """Send and receive."""
        self.send(data_dir)
        return self.receive()

    def leave(self) -> str:
        """Let it end by itself and return what it complained about."""
        return self._process.communicate(timeout=60)[1]

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture
def new_home() -> Iterator[Callable[[], Path]]:
    """Make data directories that do not exist yet; their servers end with the test."""
    directory = ServerDirectory("home")
    numbers = itertools.count()
    yield lambda: directory.path / f"home-{next(numbers)}"
    directory.end()


@pytest.fixture
def home(new_home: Callable[[], Path]) -> Path:
    """One data directory."""
    return new_home()


@pytest.fixture
def opener() -> Iterator[Callable[..., Opener]]:
    """Start processes that open; they are killed with the test."""
    openers: list[Opener] = []

    def make(**environ: str) -> Opener:
        openers.append(Opener(environ))
        return openers[-1]

    yield make
    for each in openers:
        each.kill()
