"""Runs beside a test run: when stdin ends, kills the servers that live below a directory, and removes it."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def kill(pid_file: Path, how: signal.Signals) -> None:
    """Kill the process named first in the file, if there is one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        os.kill(int(pid_file.read_text().split()[0]), how)


def held(lock: Path) -> bool:
    """Say whether the pid in the file is that of a living holder; otherwise it may be anybody's."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def main(directory: Path) -> None:
    """Wait, kill, remove."""
    sys.stdin.read()
    for file in directory.rglob("valkey.pid"):
        kill(file, signal.SIGKILL)
    for file in directory.rglob("postmaster.pid"):
        kill(file, signal.SIGQUIT)  # its children end with it, at once
    for file in directory.rglob("redis.lock"):
        if held(file):
            kill(file, signal.SIGKILL)
    for _ in range(500):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            break
        time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
