"""The stand-in for a service, as a process of its own: it is told how to fail, and asked what was really spent."""

import sys
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.processes.support import kill, line


class StandIn:
    """The far end of the process. Keys are those of quotaflow.examples.upstream_service.key_of."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self._client = client

    async def behave(self, keys: Iterable[str], **behaviour: Any) -> None:
        """Let it treat requests with these keys so from now on; the words are those of its `Behaviour`."""
        for key in keys:
            answer = await self._client.post("/_control", json={"key": key, **behaviour})
            answer.raise_for_status()

    async def books(self) -> dict[str, Any]:
        """Return what was really spent."""
        books: dict[str, Any] = (await self._client.get("/_books")).json()
        return books

    async def requests(self, keys: Iterable[str]) -> int:
        """Return how often it was asked with these keys, whatever it answered."""
        books = await self.books()
        return sum(books["keys"][key]["requests"] for key in keys)


@asynccontextmanager
async def stand_in(*arguments: str) -> AsyncIterator[StandIn]:
    """Run it until the block ends; the arguments are those of its command line."""
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "quotaflow.examples.upstream_service", *arguments), stdin=DEVNULL, stdout=PIPE
    )
    try:
        url = await line(process)
        async with httpx.AsyncClient(base_url=url, timeout=10) as client:
            yield StandIn(url, client)
        assert process.returncode is None, f"the stand-in has ended: {process.returncode}"
    finally:
        if process.returncode is None:
            await kill(process)
