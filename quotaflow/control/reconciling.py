"""The pools and the quotas that mirror them, brought up to what SQL knows."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from quotaflow.balances import KeyStatus, LiveKey, UpstreamKey
from quotaflow.control.mirrors import Mirrors
from quotaflow.limiter.pools import Pools
from quotaflow.store import Store


class Reconciler:
    """Brings Redis up to SQL, for the keys of these providers."""

    def __init__(self, store: Store, pools: Pools, mirrors: Mirrors, providers: Collection[str]) -> None:
        self._store = store
        self._pools = pools
        self._mirrors = mirrors
        self._providers = providers
        self._correcting = asyncio.Lock()

    async def correct(self, provider: str) -> None:
        """Take over into the quotas that mirror a provider what SQL knows of its keys; nobody is asked."""
        if provider in self._mirrors.providers():
            async with self._correcting:
                await self._mirrors.take_over(provider, await self._store.all_upstream_keys(provider))

    async def reconcile(self, provider: str | None = None) -> list[UpstreamKey]:
        """Bring the pools up to SQL, of one provider or of all; returns the keys there are.

        What Redis has and SQL has not was removed, as SQL hears of a key first: so Redis is read before SQL.

        :raises Unavailable: SQL or Redis is away.
        """
        names = self._providers if provider is None else (provider,)
        before = {name: await self._pools.ids(name) for name in names}
        keys = await self._store.all_upstream_keys(provider)
        for name, some in by_provider(keys).items():
            await self._pools.put(name, some)
        known = {key.id for key in keys}
        for name, ids in before.items():
            await self._pools.drop(name, [key_id for key_id in ids if key_id not in known])
        return keys

    async def unknown(self) -> list[UpstreamKey]:
        """Bring the pools up to SQL; returns the keys that cannot be used as nobody knows their balance."""
        found: list[UpstreamKey] = []
        for name, keys in by_provider(await self.reconcile()).items():
            live = await self._pools.live(name) if name in self._providers else {}
            found += [key for key in keys if key.id in live and not _is_known(live[key.id])]
        return found

    def mirrored(self, provider: str | None) -> set[str]:
        """Return the providers that are mirrored: all, or this one."""
        names = self._mirrors.providers()
        return names if provider is None else names & {provider}

    async def drawn(self, providers: Iterable[str]) -> dict[str, str]:
        """Note what was drawn from the quotas that mirror providers, before their services are asked."""
        return await self._mirrors.before(providers)

    async def take_over(
        self, providers: Iterable[str], keys: Sequence[UpstreamKey], drawn: Mapping[str, str]
    ) -> None:
        """Take over into these quotas what the services said of all keys."""
        async with self._correcting:
            for name in providers:
                await self._mirrors.take_over(name, [key for key in keys if key.provider == name], drawn)


def _is_known(live: LiveKey) -> bool:
    return live.available_micro is not None or live.status is KeyStatus.INVALID


def by_provider(keys: Iterable[UpstreamKey]) -> dict[str, list[UpstreamKey]]:
    """Sort keys into their pools."""
    pools: dict[str, list[UpstreamKey]] = {}
    for key in keys:
        pools.setdefault(key.provider, []).append(key)
    return pools
