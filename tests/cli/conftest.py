import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from quotaflow.edges.cli.main import main
from tests.cli.support import Background
from tests.servers import ServerDirectory

TOKEN = "canary-admin-token-0123456789"

CONFIG = """
data_dir = "{home}/data"
[tasks]
modules = ["tests.cli.errands"]
[http]
port = 0
[[quotas]]
id = "errands"
capacity = 1000
refill_rate = 0
"""


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Owner(NamedTuple):
    """A running daemon, as its owner knows it."""

    home: Path
    url: str


Ask = Callable[..., Answer]


@pytest.fixture(scope="package")
def home() -> Iterator[Path]:
    """Give a directory whose servers end with the tests."""
    directory = ServerDirectory("cli")
    yield directory.path
    directory.end()


@pytest.fixture(scope="package")
def owner(home: Path) -> Iterator[Owner]:
    """Run one daemon for all tests that only ask it."""
    (home / "config.toml").write_text(CONFIG.format(home=home))
    with Background("run", cwd=home, QUOTAFLOW_ADMIN_TOKEN=TOKEN) as daemon:
        yield Owner(home, daemon.wait_ready())
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.err
        assert "admin token" not in daemon.err + daemon.out  # who set it knows it


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    """Give the command itself, inside this process, in an empty directory."""
    for name in [name for name in os.environ if name.startswith("QUOTA")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["quotaflow", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Answer(int(end.value.code or 0), out, err)

    return call


@pytest.fixture
def at(ask: Ask, owner: Owner) -> Ask:
    """Ask the running daemon."""
    return lambda *arguments: ask(*arguments, "--config", str(owner.home / "config.toml"))
