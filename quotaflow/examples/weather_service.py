"""A small HTTP service with a limit, as the world is full of them: too many requests are answered 429.

GET /weather?city=Oslo  ->  {"city": "Oslo", "celsius": 7.5}
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

PER_SECOND = 2.0
BURST = 3.0
READ_S = 5.0  # a client that says nothing for this long is hung up on


class WeatherService:
    """Answers, and counts what it refused."""

    def __init__(self) -> None:
        self._tokens = BURST
        self._at_s = 0.0
        self.refused = 0

    def answer(self, target: str, now_s: float) -> tuple[str, dict[str, object]]:
        """Return status line and body for a request at a moment of a monotonic clock."""
        self._tokens = min(BURST, self._tokens + (now_s - self._at_s) * PER_SECOND)
        self._at_s = now_s
        if self._tokens < 1:
            self.refused += 1
            return "429 Too Many Requests", {"error": f"at most {PER_SECOND:g} requests a second"}
        self._tokens -= 1
        city = parse_qs(urlsplit(target).query).get("city", ["nowhere"])[0]
        return "200 OK", {"city": city, "celsius": sum(city.encode()) % 400 / 10 - 10}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError),
        ):
            async with asyncio.timeout(READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
                _, target, _ = head.decode("latin-1").split(maxsplit=2)
                status, body = self.answer(target, asyncio.get_running_loop().time())
                writer.write(_response(status, json.dumps(body).encode()))
                await writer.drain()

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback while the block runs; gives the URL. Port 0 takes any free one."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + body


async def main() -> None:
    """Serve until Ctrl-C, where the example tasks look for it by default."""
    async with WeatherService().listening(port=8765):
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
