"""A lock that ends with its holder."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotaflow.errors import ConfigError, StoreLocked
from quotaflow.redis_server.locks import FileLock

HOLD = """
import sys
from pathlib import Path
from quotaflow.redis_server.locks import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds `tmp_path/lock`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=60)


def test_a_second_process_is_refused_and_told_who_holds_it(
    tmp_path: Path, other: "subprocess.Popen[str]"
) -> None:
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(StoreLocked, match=rf"{tmp_path}/lock is held by process {other.pid}$"):
        lock.acquire()


def test_a_killed_holder_holds_nothing(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.kill()
    other.wait(timeout=60)
    with FileLock(tmp_path / "lock") as lock:
        assert lock.holder() == os.getpid()


def test_two_locks_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert not first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_releasing_twice_or_before_acquiring_is_harmless(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.release()
    assert lock.try_acquire()
    lock.release()
    lock.release()
    with FileLock(tmp_path / "lock"), pytest.raises(StoreLocked):
        lock.acquire()


def test_a_lock_handed_to_a_child_lasts_as_long_as_the_child(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),)
    ) as child:
        lock.hand_over(child.pid)
        assert not lock.try_acquire()
        assert lock.holder() == child.pid
        child.communicate(b"\n", timeout=60)
    assert lock.try_acquire()
    lock.release()


def test_nothing_can_inherit_a_lock_that_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not held"):
        FileLock(tmp_path / "lock").fileno()


def test_a_lock_in_a_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot open the lock .*: No such file or directory"):
        FileLock(tmp_path / "missing" / "lock").try_acquire()


def test_a_file_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match=r"cannot lock .*: No locks available"):
        FileLock(tmp_path / "lock").try_acquire()


def test_the_holder_of_a_file_without_a_pid_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("?")
    assert FileLock(tmp_path / "lock").holder() is None
