"""Quotas as Redis knows them: definitions put into force, levels, counters, and which name has which id."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote

from quotaflow.amounts import MICRO
from quotaflow.errors import InvalidInput, NotFound
from quotaflow.ledger import Change, Part
from quotaflow.limiter import keys
from quotaflow.limiter.allowances import Allowances, Definition
from quotaflow.limiter.batcher import Batcher
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Fence
from quotaflow.model import Level, Override, Quota, QuotaKind, Reason

OVERRIDE = "override:"  # and the key, percent-encoded: a field of the quota's hash

SLOTS = "slots"  # stands beside the name of a bucket that has some

LINE_US = 4_000_000_000_000_000  # as QUEUE in lib/slots.lua: who stands there waits for a slot
MOST_QUOTAS = 64  # of one request; a call for 64 callers stays below the 8,000 values that Lua can unpack
_FIELDS = ("allowed", "limited", "clock_jumps", "version", "waiting")


class QuotaState:
    """Writes definitions to Redis and reads what became of them."""

    def __init__(self, fence: Fence, batcher: Batcher, client: Client, allowances: Allowances) -> None:
        self._fence = fence
        self._batcher = batcher
        self._client = client
        self._allowances = allowances
        self._ids: dict[str, str] = {}
        self.buckets: dict[str, str] = {}  # the same without the prepaid ones; every decision looks here
        self._prepaid: set[str] = set()
        self._slotted: set[str] = set()
        self._mirrors: dict[str, set[str]] = {}

    async def define(self, quota: Quota) -> None:
        """Put a definition into force, unless a newer version is. This process knows its name at once."""
        await self._define(quota)
        self._ids[quota.name] = quota.id
        if quota.kind is QuotaKind.ALLOWANCE:
            self._prepaid.add(quota.id)
            self.buckets.pop(quota.name, None)
        else:
            self._prepaid.discard(quota.id)
            self.buckets[quota.name] = quota.id
        if quota.mirrors is not None:
            self._mirrors.setdefault(quota.mirrors, set()).add(quota.id)
        (self._slotted.add if quota.max_concurrent else self._slotted.discard)(quota.id)

    async def _define(self, quota: Quota) -> None:
        if quota.kind is QuotaKind.ALLOWANCE:
            await self._allowances.allow(allowance_of(quota))
            async with reaching(self._client):
                await self._client.hset(keys.QUOTAS, keys.encode_id(quota.name), name_entry(quota))
            return
        script_keys = [keys.MARKER, keys.QUOTAS, keys.quota(quota.id), keys.level(quota.id)]
        await self._fence.run("define", script_keys, definition_args(quota))

    async def forget(self, quota: Quota) -> None:
        """Take a quota out of force; its tasks are skipped from now on."""
        async with reaching(self._client):
            await self._client.hdel(keys.QUOTAS, keys.encode_id(quota.name))
            await self._client.delete(*keys.bucket(quota.id), keys.allowance(quota.id))
        self._ids.pop(quota.name, None)
        self.buckets.pop(quota.name, None)
        self._prepaid.discard(quota.id)
        self._slotted.discard(quota.id)
        for mirroring in self._mirrors.values():
            mirroring.discard(quota.id)

    async def refill(self, quota_id: str) -> None:
        """Fill to capacity at once.

        :raises NotFound: no such quota.
        """
        script_keys = [keys.MARKER, keys.quota(quota_id), keys.level(quota_id)]
        if not int(await self._fence.run("refill", script_keys, [])):
            raise NotFound(f'no quota "{quota_id}"')

    async def recharge(
        self,
        quota_id: str,
        change: Change,
        amount_micro: int | None,
        *,
        act_id: str | None,
        actor: str | None,
    ) -> bool:
        """Change what a prepaid quota has; see `Allowances.change`."""
        return await self._allowances.change(quota_id, change, amount_micro, act_id=act_id, actor=actor)

    async def override(self, override: Override) -> None:
        """Give one key of a quota a capacity and rate of its own."""
        async with reaching(self._client):
            await self._client.hset(keys.quota(override.quota_id), mapping=override_fields(override))

    async def drop_override(self, quota_id: str, key: str) -> None:
        """Give the key the quota's own again; its level is cut at the next decision."""
        async with reaching(self._client):
            await self._client.hdel(keys.quota(quota_id), OVERRIDE + keys.encode_id(key))

    async def levels(self, quotas: Sequence[Quota]) -> dict[str, Level]:
        """Look at quotas without taking; those not in force are left out."""
        prepaid = [quota.id for quota in quotas if quota.kind is QuotaKind.ALLOWANCE]
        holdings = await self._allowances.holdings(prepaid)
        found = await self._bucket_levels([quota for quota in quotas if quota.kind is QuotaKind.BUCKET])
        versions = {quota.id: quota.version for quota in quotas}
        return found | {
            subject: Level(
                subject,
                (held.remaining_micro or 0) / MICRO,
                held.allowed,
                held.limited,
                0,
                versions[subject],
                total=held.total_micro / MICRO,
            )
            for subject, held in holdings.items()
        }

    async def _bucket_levels(self, quotas: Sequence[Quota]) -> dict[str, Level]:
        if not quotas:
            return {}
        looks = await asyncio.gather(*[self._batcher.acquire(((quota.id, "", 0),)) for quota in quotas])
        async with reaching(self._client), self._client.pipeline(transaction=False) as pipe:
            for quota in quotas:
                pipe.hmget(keys.quota(quota.id), _FIELDS)
            counters = await pipe.execute()
        running = await self._running([quota.id for quota in quotas if quota.max_concurrent])
        levels = {}
        for look, counts in zip(looks, counters, strict=True):
            if look.reason is Reason.MISSING:
                continue
            *decided, waiting = [int(count or 0) for count in counts]
            level = Level(look.quota_id, look.remaining, *decided)
            levels[level.quota_id] = replace(level, running=running.get(level.quota_id), waiting=waiting)
        return levels

    async def _running(self, quota_ids: Sequence[str]) -> dict[str, int]:
        """Count who holds a slot; those whose lease has run out do not."""
        if not quota_ids:
            return {}
        async with reaching(self._client), self._client.pipeline(transaction=False) as pipe:
            seconds, micros = await self._client.time()
            for quota_id in quota_ids:
                pipe.zcount(keys.quota_slots(quota_id), f"({seconds * 1_000_000 + micros}", f"({LINE_US}")
            return dict(zip(quota_ids, await pipe.execute(), strict=True))

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
        entries = {unquote(name): entry.split(" ") for name, entry in names.items()}
        self._ids = {name: unquote(quota_id) for name, (quota_id, *_) in entries.items()}
        self._prepaid = _ids_marked(entries.values(), QuotaKind.ALLOWANCE)
        self.buckets = {
            name: quota_id for name, quota_id in self._ids.items() if quota_id not in self._prepaid
        }
        self._slotted = _ids_marked(entries.values(), SLOTS)
        self._mirrors = _ids_mirroring(entries.values())

    def is_prepaid(self, quota_id: str) -> bool:
        """Say whether this quota is an allowance, as of the last `refresh_names`."""
        return quota_id in self._prepaid

    @property
    def mirroring(self) -> frozenset[tuple[str, str]]:
        """Which provider's keys are mirrored by which quota, by its id, as of the last `refresh_names`."""
        return frozenset((provider, quota_id) for provider, ids in self._mirrors.items() for quota_id in ids)

    def mirrors_of(self, provider: str) -> list[str]:
        """Return the ids of the quotas that have what this provider's keys have, as of the last `refresh_names`."""
        return sorted(self._mirrors.get(provider, ()))

    def has_slots(self, quota_id: str) -> bool:
        """Say whether only so many may be under way under this quota, as of the last `refresh_names`."""
        return quota_id in self._slotted

    def parts(self, costs: Mapping[str, int]) -> list[Part]:
        """Return what a charge takes of these quotas, by name: the allowances among them first.

        :raises InvalidInput: a name that is no text, two names of one quota, or more than 64.
        """
        if len(costs) > MOST_QUOTAS:
            raise InvalidInput(f"quotas must name at most {MOST_QUOTAS}", field="quotas")
        for name in costs:
            if not isinstance(name, str):
                raise InvalidInput(f"quota must be text, not {type(name).__name__}", field="quota")
        asked = [(self.id_or(name), cost) for name, cost in costs.items()]
        if len(dict(asked)) < len(asked):  # each would be judged as if the other took nothing
            raise InvalidInput("quotas names one quota twice", field="quotas")
        parts = [Part(quota_id, cost, not self.is_prepaid(quota_id)) for quota_id, cost in asked]
        return sorted(parts, key=lambda part: part.is_bucket)


def allowance_of(quota: Quota) -> Definition:
    """Return what Redis must know of a prepaid quota."""
    return Definition(quota.id, quota.kind, quota.version, quota.capacity_micro, active=quota.enabled)


def name_entry(quota: Quota) -> str:
    """Write what stands beside a quota's name: its id, and its kind unless it is a bucket, or that it has slots.

    Of a mirror also the provider.
    """
    quota_id = keys.encode_id(quota.id)
    if quota.kind is not QuotaKind.BUCKET:
        mirrors = "" if quota.mirrors is None else f" {keys.encode_id(quota.mirrors)}"
        return f"{quota_id} {quota.kind}{mirrors}"
    return f"{quota_id} {SLOTS}" if quota.max_concurrent else quota_id


def _ids_marked(entries: Iterable[list[str]], mark: str) -> set[str]:
    return {unquote(quota_id) for quota_id, *rest in entries if rest[:1] == [mark]}


def _ids_mirroring(entries: Iterable[list[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for quota_id, *rest in entries:
        for provider in rest[1:]:
            found.setdefault(unquote(provider), set()).add(unquote(quota_id))
    return found


def definition_args(quota: Quota) -> list[str]:
    """Lay out ARGV of define.lua."""
    return [
        keys.encode_id(quota.id),
        keys.encode_id(quota.name),
        str(quota.capacity_micro),
        str(quota.refill_micro_s),
        "1" if quota.enabled else "0",
        str(quota.version),
        str(quota.max_concurrent or 0),
    ]


def override_fields(override: Override) -> dict[str, str]:
    """Lay out an override as fields of its quota's hash; `overrides` tells scripts that there are some."""
    text = f"{override.capacity_micro} {override.refill_micro_s}"
    return {OVERRIDE + keys.encode_id(override.key): text, "overrides": "1"}
