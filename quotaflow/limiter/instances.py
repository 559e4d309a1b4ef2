"""Who is alive: every open Quotaflow writes a heartbeat into qf:instances."""

import json
import os
import socket
from dataclasses import asdict, dataclass

from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching

ALIVE_S = 10.0  # without a beat for this long an instance counts as gone
FORGET_S = 3600.0


@dataclass(frozen=True, slots=True)
class Instance:
    """One process. Moments in microseconds."""

    id: str
    role: str  # daemon | library
    host: str
    pid: int
    started_us: int
    beat_us: int
    ticks: str = ""  # fingerprint of the tasks whose ticks it claims

    def is_alive(self, now_us: int) -> bool:
        """Say whether it has beaten within the last 10 s."""
        return now_us - self.beat_us < ALIVE_S * 1e6


class Instances:
    """The list of processes, and our own entry in it."""

    def __init__(self, client: Client, instance_id: str, role: str, started_us: int) -> None:
        self._client = client
        self._id = instance_id
        self._role = role
        self._started_us = started_us

    async def beat(self, ticks: str) -> list[Instance]:
        """Say that we are alive and what we tick; return who else is, and we. Forget who was silent for an hour."""
        now_us = await self._now_us()
        host, pid = socket.gethostname(), os.getpid()
        entry = Instance(self._id, self._role, host, pid, self._started_us, now_us, ticks)
        text = json.dumps({key: value for key, value in asdict(entry).items() if key != "id"})
        async with reaching(self._client):
            await self._client.hset(keys.INSTANCES, self._id, text)
            everybody = await self.all()
            for other in everybody:
                if now_us - other.beat_us > FORGET_S * 1e6:
                    await self._client.hdel(keys.INSTANCES, other.id)
        return [other for other in everybody if other.is_alive(now_us)]

    async def leave(self) -> list[Instance]:
        """Take our entry away; returns who else is alive."""
        now_us = await self._now_us()
        async with reaching(self._client):
            await self._client.hdel(keys.INSTANCES, self._id)
        return [other for other in await self.all() if other.is_alive(now_us)]

    async def all(self) -> list[Instance]:
        """Return every entry, ours included."""
        async with reaching(self._client):
            entries = await self._client.hgetall(keys.INSTANCES)
        return [Instance(id=instance_id, **json.loads(text)) for instance_id, text in entries.items()]

    async def _now_us(self) -> int:
        async with reaching(self._client):
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1_000_000 + int(microseconds)
