"""What cannot start, or breaks, says so in a line each; the exit code says what kind of trouble it is."""

import logging
import socket
import sys
from pathlib import Path

import pytest

from quotaflow.edges.cli.demo import free_or_any
from tests.cli.conftest import Ask


@pytest.fixture
def start(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Start the command in a directory with a broken module; logging and imports are as before afterwards."""
    (tmp_path / "broken.py").write_text('raise ValueError("a\\nb")')
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return ask


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        (
            {"QUOTAFLOW_HTTP__PORT": "x", "QUOTAFLOW_RUNER__X": "1"},
            ["environment: unknown", "QUOTAFLOW_HTTP__PORT"],
        ),
        (
            {"QUOTAFLOW_TASKS__MODULES": "nobody"},
            ['tasks.modules: "nobody" cannot be imported: ModuleNotFound'],
        ),
        (
            {"QUOTAFLOW_TASKS__MODULES": "broken"},
            ['tasks.modules: "broken" cannot be imported: ValueError: a\\nb'],
        ),
    ],
)
def test_what_cannot_start_says_so_in_a_line_each(
    start: Ask, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], begins: list[str]
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    refused = start("run")
    assert (refused.code, refused.out) == (2, "")
    lines = refused.err.splitlines()
    assert len(lines) == len(begins), refused.err
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(f"quotaflow: {begin}")


def test_debug_shows_where_a_module_broke(start: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTAFLOW_TASKS__MODULES", "broken")
    refused = start("run", "--log-level", "debug")
    assert refused.code == 2
    assert "Traceback" in refused.err


def test_a_bug_is_one_line_and_no_traceback(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ExceptionGroup("unhandled", [RuntimeError("a bug\x1b[2J")])

    monkeypatch.setattr("quotaflow.edges.cli.app.app", broken)
    told = ask("version")
    assert (told.code, len(told.err.splitlines())) == (1, 1)
    assert told.err.startswith(r"quotaflow: unexpected error: RuntimeError: a bug\x1b[2J")


def test_an_unknown_command_is_usage(ask: Ask) -> None:
    told = ask("quotas")
    assert (told.code, told.out) == (2, "")
    assert "Traceback" not in told.err


def test_no_command_and_a_question_show_the_help(ask: Ask) -> None:
    assert "Usage:" in ask().out + ask("--help").out
    assert ask("version").code == 0


def test_the_demo_takes_another_port_when_its_own_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_or_any(port) == 0
    assert free_or_any(port) == port
