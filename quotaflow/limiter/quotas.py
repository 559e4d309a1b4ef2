"""Quotas as Redis knows them: definitions put into force, levels, counters, and which name has which id."""

import asyncio
from collections.abc import Sequence
from urllib.parse import unquote

from quotaflow.errors import NotFound
from quotaflow.limiter import keys
from quotaflow.limiter.batcher import Batcher
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Fence
from quotaflow.model import Level, Override, Quota, Reason

OVERRIDE = "override:"  # and the key, percent-encoded: a field of the quota's hash

_FIELDS = ("allowed", "limited", "clock_jumps", "version")


class QuotaState:
    """Writes definitions to Redis and reads what became of them."""

    def __init__(self, fence: Fence, batcher: Batcher, client: Client) -> None:
        self._fence = fence
        self._batcher = batcher
        self._client = client
        self._ids: dict[str, str] = {}

    async def define(self, quota: Quota) -> None:
        """Put a definition into force, unless a newer version is."""
        script_keys = [keys.MARKER, keys.QUOTAS, keys.quota(quota.id), keys.level(quota.id)]
        await self._fence.run("define", script_keys, definition_args(quota))

    async def forget(self, quota: Quota) -> None:
        """Take a quota out of force; its tasks are skipped from now on."""
        async with reaching(self._client):
            await self._client.hdel(keys.QUOTAS, keys.encode_id(quota.name))
            await self._client.delete(*keys.bucket(quota.id))
        self._ids.pop(quota.name, None)

    async def refill(self, quota_id: str) -> None:
        """Fill to capacity at once.

        :raises NotFound: no such quota.
        """
        script_keys = [keys.MARKER, keys.quota(quota_id), keys.level(quota_id)]
        if not int(await self._fence.run("refill", script_keys, [])):
            raise NotFound(f'no quota "{quota_id}"')

    async def override(self, override: Override) -> None:
        """Give one key of a quota a capacity and rate of its own."""
        async with reaching(self._client):
            await self._client.hset(keys.quota(override.quota_id), mapping=override_fields(override))

    async def drop_override(self, quota_id: str, key: str) -> None:
        """Give the key the quota's own again; its level is cut at the next decision."""
        async with reaching(self._client):
            await self._client.hdel(keys.quota(quota_id), OVERRIDE + keys.encode_id(key))

    async def levels(self, quota_ids: Sequence[str]) -> dict[str, Level]:
        """Look at quotas without taking; those not in force are left out."""
        if not quota_ids:
            return {}
        looks = await asyncio.gather(*[self._batcher.acquire(((quota_id, "", 0),)) for quota_id in quota_ids])
        async with reaching(self._client), self._client.pipeline(transaction=False) as pipe:
            for quota_id in quota_ids:
                pipe.hmget(keys.quota(quota_id), _FIELDS)
            counters = await pipe.execute()
        return {
            look.quota_id: Level(look.quota_id, look.remaining, *[int(count or 0) for count in counts])
            for look, counts in zip(looks, counters, strict=True)
            if look.reason is not Reason.MISSING
        }

    def id_of(self, name: str) -> str | None:
        """Return the id of the quota with this name, as of the last `refresh_names`."""
        return self._ids.get(name)

    def id_or(self, name: str) -> str:
        """Do the same; a name that nobody knows is taken for an id."""
        return self._ids.get(name, name)

    async def refresh_names(self) -> None:
        """Read again which name has which id."""
        async with reaching(self._client):
            names = await self._client.hgetall(keys.QUOTAS)
        self._ids = {unquote(name): unquote(quota_id) for name, quota_id in names.items()}


def definition_args(quota: Quota) -> list[str]:
    """Lay out ARGV of define.lua."""
    return [
        keys.encode_id(quota.id),
        keys.encode_id(quota.name),
        str(quota.capacity_micro),
        str(quota.refill_micro_s),
        "1" if quota.enabled else "0",
        str(quota.version),
    ]


def override_fields(override: Override) -> dict[str, str]:
    """Lay out an override as fields of its quota's hash; `overrides` tells scripts that there are some."""
    text = f"{override.capacity_micro} {override.refill_micro_s}"
    return {OVERRIDE + keys.encode_id(override.key): text, "overrides": "1"}
