"""Questions to the Redis server itself."""

from typing import Any

from quotaflow.errors import Unavailable
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching

# What a crash of Redis, or of its machine, can take back of acknowledged decisions (measured; see README).
RPO = {
    "always": "nothing (if the disk honours fsync)",
    "everysec": "a crash of Redis normally nothing, at most 2 s; a power loss about 1 s",
    "no": "a crash of the machine about 30 s",
    "off": "everything since the start of the server",
}


class Server:
    """The server behind a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

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
        """Return how the server keeps its data, and what a crash can cost."""
        async with reaching(self._client):
            info = await self._client.info("persistence")
            server = await self._client.info("server")
        mode = "off"
        if info.get("aof_enabled"):
            mode = await self._appendfsync()
        version = server.get("valkey_version") or server.get("redis_version")
        return {"version": str(version), "appendfsync": mode, "a_crash_can_lose": RPO.get(mode, "unknown")}

    async def _appendfsync(self) -> str:
        try:
            async with reaching(self._client):
                return str((await self._client.config_get("appendfsync"))["appendfsync"])
        except Unavailable:
            return "unknown"  # managed servers forbid CONFIG
