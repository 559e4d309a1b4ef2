"""Pipes to a process, on the event loop: it never waits for us, and we never wait for whoever holds the other end."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from io import FileIO
from typing import NamedTuple

CHUNK = 65_536  # bytes read at a time: what a pipe holds
LAST_CHUNKS = 32  # read of each pipe when all are dead: 2 MB, more than any pipe holds
MAX_LINE = 2_000  # bytes of a line in the log
MAX_LINES = 1_000  # of each stream of a run in the log


class Lines:
    """Cuts a stream into lines and tells each one; what is too long or too much is counted and thrown away.

    :param tell: is given a line, and how many bytes were left out after it.
    """

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        self._tell = tell
        self._line = b""
        self._cut = 0  # bytes of this line that were thrown away
        self._left = MAX_LINES
        self._lost = 0  # bytes after the last line that is told

    def take(self, data: bytes) -> None:
        """Add what was read."""
        *ends, rest = data.split(b"\n", self._left)
        for end in ends:
            self._add(end)
            self._tell_line()
        if self._left:
            self._add(rest)
        else:
            self._lost += len(rest)

    def end(self) -> None:
        """Tell what is left at the end of the stream."""
        if self._line or self._cut:
            self._tell_line()
        if self._lost:
            self._tell("", self._lost)

    def _add(self, part: bytes) -> None:
        kept = part[: MAX_LINE - len(self._line)]
        self._line += kept
        self._cut += len(part) - len(kept)

    def _tell_line(self) -> None:
        line, cut = self._line, self._cut
        self._line, self._cut = b"", 0
        self._left -= 1
        self._tell(line.decode("utf-8", "backslashreplace").rstrip("\r"), cut)


class Pipe(NamedTuple):
    """Both ends of a pipe."""

    reading: FileIO
    writing: FileIO


@contextlib.contextmanager
def made() -> Iterator[Pipe]:
    """Make a pipe, and close both ends afterwards."""
    reading, writing = os.pipe()
    with FileIO(reading, "rb") as ours, FileIO(writing, "wb") as theirs:
        yield Pipe(ours, theirs)


@contextlib.contextmanager
def flowing_in(pipe: FileIO, take: Callable[[bytes], None]) -> Iterator[None]:
    """Read as it comes, so that whoever writes never waits; at the end what is left, without waiting for more."""
    loop = asyncio.get_running_loop()
    os.set_blocking(pipe.fileno(), False)

    def read() -> bool:
        data = pipe.read(CHUNK)
        if data:
            take(data)
        elif data is not None:
            loop.remove_reader(pipe.fileno())
        return bool(data)

    loop.add_reader(pipe.fileno(), read)
    try:
        yield
    finally:
        for _ in range(LAST_CHUNKS):
            if not read():
                break
        loop.remove_reader(pipe.fileno())


@contextlib.contextmanager
def flowing_out(pipe: FileIO, data: bytes) -> Iterator[None]:
    """Write as there is room. It stays open afterwards: its end tells the process that we are gone."""
    loop = asyncio.get_running_loop()
    os.set_blocking(pipe.fileno(), False)
    left = memoryview(data)

    def write() -> None:
        nonlocal left
        try:
            left = left[pipe.write(left) or 0 :]
        except BrokenPipeError:  # it is dead
            left = left[:0]
        if not left:
            loop.remove_writer(pipe.fileno())

    loop.add_writer(pipe.fileno(), write)
    try:
        yield
    finally:
        loop.remove_writer(pipe.fileno())
