"""Questions to the Redis server itself."""

import contextlib
from typing import Any

from quotaflow.errors import Unavailable
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.rpo import rpo
from quotaflow.timing import Clock

OFF = "off"  # where others have their appendfsync: the append-only file is off
KEEP_S = 5.0  # how long an answer about persistence may serve those who ask all the time


class Server:
    """The server behind a client."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.last_rpo: str | None = None  # what a crash can cost, as Redis last told
        self._rpo_until_s = 0.0

    async def ping(self) -> None:
        """Ask for a sign of life.

        :raises Unavailable: there is none.
        """
        async with reaching(self._client):
            await self._client.ping()

    async def backlog(self) -> int:
        """Return how many journalled facts are not in SQL yet."""
        async with reaching(self._client):
            return int(await self._client.hget(keys.MARKER, "backlog") or 0)

    async def persistence(self) -> dict[str, Any]:
        """Return how the server keeps its data, and what a crash can cost (`rpo`).

        `appendfsync` is "off" without an append-only file, None when the server does not tell.

        :raises Unavailable: Redis cannot be asked.
        """
        async with reaching(self._client):
            info = await self._client.info("persistence")
            server = await self._client.info("server")
        is_on = bool(info.get("aof_enabled"))
        mode = await self._appendfsync() if is_on else OFF
        version = server.get("valkey_version") or server.get("redis_version")
        self.last_rpo = rpo(appendonly=is_on, appendfsync=mode)
        self._rpo_until_s = self._clock.mono_s() + KEEP_S
        return {"version": str(version), "appendfsync": mode, "rpo": self.last_rpo}

    async def rpo(self) -> str | None:
        """Return what a crash can cost, at most 5 s old, or older when Redis cannot be asked."""
        if self._clock.mono_s() >= self._rpo_until_s:
            with contextlib.suppress(Unavailable):
                await self.persistence()
        return self.last_rpo

    async def _appendfsync(self) -> str | None:
        """Return the setting; None when it is refused: managed servers forbid CONFIG."""
        try:
            async with reaching(self._client):
                found = (await self._client.config_get("appendfsync")).get("appendfsync")
        except Unavailable:
            return None
        return None if found is None else str(found)
