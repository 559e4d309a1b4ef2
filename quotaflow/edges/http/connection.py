"""One client's connection, within bounds: a slow, silent or endless client is hung up on, never waited for.

uvicorn itself waits for ever for the end of a request and for the client to read, and reads headers of any length.
Its `limit_concurrency` would answer 503 to probes as well, once idle clients alone have used it up.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

READ_S = 10.0  # from the first byte of a request to its last, and for the first one to come
WRITE_S = 10.0  # for a client that does not read its answer
KEEP_ALIVE_S = 15  # between requests
MAX_HEAD = 32 * 1024  # bytes of a request line and its headers
BACKLOG = 100  # connections taken per turn of the loop; asyncio gives back the file of one turned away 4 turns later
MAX_CONNECTIONS = min(
    1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3
)  # Redis and SQL need files too

_OVERLOADED = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class Deadline:
    """Calls once, so many seconds after it was first started, unless it is stopped before."""

    def __init__(self, act: Callable[[], None], seconds: float) -> None:
        self._act = act
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, or go on."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._act)

    def stop(self) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Connection(HttpToolsProtocol):
    """An HTTP/1.1 connection with deadlines. When there are too many, the one silent for longest has to go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading = Deadline(self._hang_up, READ_S)
        self._writing = Deadline(self._hang_up, WRITE_S)
        self._in_head = True
        self._head_bytes = 0
        self.heard_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; make room for it."""
        super().connection_made(transport)
        self.heard_s = self.loop.time()
        self._reading.start()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._reading.stop()
        self._writing.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as the head stays small."""
        self.heard_s = self.loop.time()
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > MAX_HEAD:
            self._end_with(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        self._in_head = True
        self._reading.start()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock: the rest is ours to do."""
        self._reading.stop()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Give a client that does not read a while."""
        self._writing.start()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on: it reads again."""
        self._writing.stop()
        super().resume_writing()

    @property
    def waits_for_client(self) -> bool:
        """It is the client's turn to send or to read; otherwise a request is being worked on."""
        cycle = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body or self.flow.write_paused

    def _make_room(self) -> None:
        known = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        others = [one for one in known if not one.transport.is_closing()]
        silent = [one for one in others if one.waits_for_client]
        if len(others) < MAX_CONNECTIONS:
            return
        if silent:
            min(silent, key=lambda one: one.heard_s).transport.abort()
        else:
            self._end_with(_OVERLOADED)

    def _hang_up(self) -> None:
        self.transport.abort()

    def _end_with(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
