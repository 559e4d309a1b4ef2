"""The producer-consumer of every asyncio tutorial, against a slow API that takes two requests a second.

Real time: what the API itself writes down is the proof.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from tenacity import wait_exponential

from quotaflow import Quotaflow, Retry
from quotaflow.settings import load
from tests.servers import ValkeyProcess

# Evenly spaced and a little below two a second: three requests are 1.1 s apart, and arrivals jitter by milliseconds.
CONFIG = """
[[quotas]]
id = "api"
capacity = 1
refill_rate = 1.8
"""
ANSWER_S = (0.2, 0.6, 0.3, 1.0, 0.4)
SHAKY, BROKEN = 2, 6  # the first fails twice, the second always


@dataclass
class Request:
    """What the API writes down about one request."""

    number: int
    arrived_s: float
    status: int
    answered_s: float = 0.0


class SlowApi:
    """A stand-in on loopback that takes its time, fails now and then, and remembers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.busy = self.busiest = 0

    def of(self, number: int) -> list[Request]:
        """Return the requests for one page."""
        return [request for request in self.requests if request.number == number]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                status = await self._answer(int(head.split()[1].strip(b"/")))
                writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()

    async def _answer(self, number: int) -> int:
        loop = asyncio.get_running_loop()
        fails = number == BROKEN or (number == SHAKY and len(self.of(number)) < 2)
        request = Request(number, loop.time(), 500 if fails else 200)
        self.requests.append(request)
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await asyncio.sleep(ANSWER_S[len(self.requests) % len(ANSWER_S)])
        self.busy -= 1
        request.answered_s = loop.time()
        return request.status


@dataclass
class Told:
    """What the program itself saw."""

    pages: list[int]
    sizes: list[int]
    statistics: dict[str, int]


async def program(qf: Quotaflow, client: httpx.AsyncClient) -> Told:
    """The producer and its two consumers."""
    pages: list[int] = []
    sizes: list[int] = []

    async def fetch(number: int) -> None:
        sizes.append(queue.statistics()["size"])
        (await client.get(f"/{number}")).raise_for_status()
        pages.append(number)

    retry = Retry(attempts=3, wait=wait_exponential(multiplier=1, min=1, max=10))
    async with qf.queue(fetch, maxsize=5, workers=2, quota="api", retry=retry) as queue:
        for number in range(10):
            await queue.put(number)  # waits while 5 are in it
            sizes.append(queue.statistics()["size"])
        await queue.join()
        return Told(pages, sizes, queue.statistics())


async def test_two_consumers_stay_within_two_requests_a_second_whatever_fails(
    valkey: ValkeyProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    settings = load(
        tmp_path / "config.toml", environ={}, redis__url=valkey.url, data_dir=str(tmp_path / "data")
    )
    api = SlowApi()
    async with (
        api.listening() as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
        Quotaflow.open(settings) as qf,
    ):
        told = await program(qf, client)

    arrivals = [request.arrived_s for request in api.requests]
    assert len(arrivals) == 14
    # A request that was let go a second ago may arrive late, beside the next: a quarter of a second is room for that.
    assert max(sum(first <= other < first + 0.75 for other in arrivals) for first in arrivals) <= 2
    assert api.busiest <= 2
    assert max(told.sizes) == 5

    for number, statuses in ((SHAKY, [500, 500, 200]), (BROKEN, [500, 500, 500])):
        tries = api.of(number)
        assert [request.status for request in tries] == statuses
        rests = [later.arrived_s - earlier.answered_s for earlier, later in pairwise(tries)]
        assert rests[0] >= 1
        assert rests[1] >= 2

    assert sorted(told.pages) == [number for number in range(10) if number != BROKEN]
    assert told.statistics.pop("limited") >= 5
    assert told.statistics == {
        "size": 0,
        "maxsize": 5,
        "workers": 2,
        "working": 0,
        "done": 9,
        "failed": 1,
        "dropped": 0,
        "retried": 4,
    }
    (line,) = [text for text in caplog.messages if "queue.item_failed" in text]
    assert "HTTPStatusError" in line
    assert f"'item': '{BROKEN}'" in line
