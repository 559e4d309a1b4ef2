"""A lock on a file that ends with its holder, however the holder ends."""

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from quotaflow.errors import ConfigError, StoreLocked

TRY_EVERY_S = 0.01


class FileLock:
    """An exclusive flock: it lasts while any process keeps this opening of the file; `kill -9` ends it too.

    The file carries the holder's pid, for people and for messages only. It is never removed: a process could
    then lock the removed file while another locks its successor. Tasks of one process exclude each other too,
    when each has a FileLock of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; never waits. False also when this very object holds it already.

        :raises ConfigError: the file cannot be opened.
        """
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot open the lock {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return False
            raise ConfigError(f"cannot lock {self.path}: {error.strerror}") from error
        self._fd = fd
        self._note_holder(os.getpid())
        return True

    def acquire(self) -> None:
        """Take the lock or say who has it.

        :raises StoreLocked: another process, or another FileLock of this one, holds it.
        """
        if not self.try_acquire():
            raise StoreLocked(f"{self.path} is held by process {self.holder() or 'unknown'}")

    async def wait(self) -> None:
        """Take the lock as soon as nobody has it, without blocking the loop; put a deadline around this.

        :raises ConfigError: the file cannot be opened.
        """
        while not self.try_acquire():  # noqa: ASYNC110  nothing tells when a flock becomes free
            await asyncio.sleep(TRY_EVERY_S)

    def holder(self) -> int | None:
        """Return the pid in the file: while the lock is held its holder's, otherwise that of the last one."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None

    def fileno(self) -> int:
        """Return the descriptor, for a child that is to inherit the lock.

        :raises ValueError: the lock is not held.
        """
        if self._fd is None:
            raise ValueError(f"{self.path} is not held")
        return self._fd

    def hand_over(self, pid: int) -> None:
        """Name the child that has inherited the descriptor as the holder, and let go of it here."""
        self._note_holder(pid)
        self.release()

    def release(self) -> None:
        """Let go; harmless when not held. Never by LOCK_UN: that would take it from a child as well."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _note_holder(self, pid: int) -> None:
        # On a full disk the lock must still work; only the message is poorer then.
        with contextlib.suppress(OSError):
            os.ftruncate(self.fileno(), 0)
            os.pwrite(self.fileno(), f"{pid}\n".encode(), 0)
