"""A small HTTP/1.1 server on loopback for stand-ins: keep-alive, thousands of requests a second, no task for any."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, cast

MAX_REQUEST_BYTES = 65_536
DRIP_S = 0.05  # between two bytes
NEVER = 0  # a status: no answer comes
HANG_UP = -1  # a status: the connection is closed instead

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})", re.IGNORECASE)
_BEARER = re.compile(rb"\r\nauthorization: *bearer +(\S+)", re.IGNORECASE)


class Answer(NamedTuple):
    """What is sent, and how long after the request. `headers`: lines, each with its end."""

    status: int
    body: bytes = b"{}"
    after_s: float = 0.0
    headers: str = ""
    drips: bool = False  # byte by byte


Handler = Callable[[str, str, str, bytes], Answer]
"""Makes the answer to method, target, bearer token and body."""


@contextlib.asynccontextmanager
async def listening(handler: Handler, port: int = 0) -> AsyncIterator[str]:
    """Serve on loopback while the block runs; gives the URL. Port 0 takes any free one."""
    open_ones: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(handler, open_ones), "127.0.0.1", port, backlog=1024
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for transport in open_ones:
            transport.abort()
        await asyncio.sleep(0)  # they close in the loop's next round


class _Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, handler: Handler, open_ones: set[asyncio.Transport]) -> None:
        self._handler = handler
        self._open_ones = open_ones
        self._received = b""
        self._is_busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it, so that it can be closed."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._open_ones.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Forget what was still to be sent."""
        self._open_ones.discard(self._transport)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Collect a request."""
        self._received += data
        if len(self._received) > MAX_REQUEST_BYTES:
            self._transport.abort()
        elif not self._is_busy:
            self._next()

    def _next(self) -> None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if not end or len(rest) < length:
            return
        self._received = rest[length:]
        first = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(first) != 3:  # noqa: PLR2004  method, target, version
            self._transport.abort()
            return
        bearer = found[1].decode("latin-1") if (found := _BEARER.search(head)) else ""
        self._later(self._handler(first[0], first[1], bearer, rest[:length]))

    def _later(self, answer: Answer) -> None:
        self._is_busy = True
        if answer.status == NEVER:
            return
        loop = asyncio.get_running_loop()
        if answer.status == HANG_UP:
            self._timer = loop.call_later(answer.after_s, self._transport.abort)
        elif answer.drips:
            self._timer = loop.call_later(answer.after_s, self._drip, _written(answer))
        elif answer.after_s > 0:
            self._timer = loop.call_later(answer.after_s, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self._transport.write(_written(answer))
        self._is_busy = False
        if self._received:
            self._next()

    def _drip(self, rest: bytes) -> None:
        self._transport.write(rest[:1])
        self._is_busy = len(rest) > 1
        if self._is_busy:
            self._timer = asyncio.get_running_loop().call_later(DRIP_S, self._drip, rest[1:])


def _written(answer: Answer) -> bytes:
    """A reason phrase is optional: RFC 9112, 4."""
    head = f"HTTP/1.1 {answer.status} \r\nContent-Type: application/json\r\n{answer.headers}"
    return f"{head}Content-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body
