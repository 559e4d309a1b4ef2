"""The other end of NOTIFY_SOCKET: a datagram socket that keeps what it hears, and when."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.servers import wait_until


class Ear:
    """What was heard so far: (seconds on the monotonic clock, the words of one datagram)."""

    def __init__(self, listener: socket.socket) -> None:
        self.heard: list[tuple[float, list[str]]] = []
        self._listener = listener
        threading.Thread(target=self._listen, daemon=True).start()

    def moments(self, word: str) -> list[float]:
        """Return when a word was heard."""
        return [at_s for at_s, words in self.heard if word in words]

    def wait_for(self, word: str, times: int = 1) -> None:
        """Return when it was heard so often."""
        wait_until(lambda: len(self.moments(word)) >= times, deadline_s=60)

    def _listen(self) -> None:
        while data := self._listener.recv(4096):
            self.heard.append((time.monotonic(), data.decode().split("\n")))


@contextlib.contextmanager
def listening(address: str | Path) -> Iterator[Ear]:
    """Listen in the block; an address that begins with @ is an abstract one."""
    name = str(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        yield Ear(listener)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", listener.getsockname())
