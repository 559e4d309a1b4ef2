"""The rooms of upstream keys, wired: what every process has to use them, and what one with the store adds."""

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from quotaflow.control.closing import LEASE_S
from quotaflow.control.lending import Lending
from quotaflow.control.mirrors import Mirrors
from quotaflow.control.reconciling import Reconciler
from quotaflow.control.refreshing import Refresher
from quotaflow.control.sealing import Sealer
from quotaflow.control.upkeep import Upkeep
from quotaflow.control.upstream import UpstreamDesk
from quotaflow.ids import Ids
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.board import RefreshBoard
from quotaflow.limiter.client import Client
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.pools import Pools
from quotaflow.limiter.quotas import QuotaState
from quotaflow.settings import Settings
from quotaflow.store import Store
from quotaflow.timing import Clock
from quotaflow.upstream.vault import Vault

if TYPE_CHECKING:
    from quotaflow.upstream.services import Services


class Pooling:
    """What every process has: the pools, and a desk at which their keys can be used."""

    def __init__(self, settings: Settings, fence: Fence, plain: Client, clock: Clock, ids: Ids) -> None:
        self.settings, self.clock, self.ids, self.plain = settings, clock, ids, plain
        self.providers = settings.upstream.all_providers
        self.vault = Vault(settings.upstream.secret_keys, os.environ)
        delays_s = {name: one.usage_delay_s for name, one in self.providers.items()}
        self.pools = Pools(fence, plain, clock, ids, lease_s=LEASE_S, delays_s=delays_s)
        self.desk = self.desk_with(None)

    def desk_with(self, kept: tuple[Store, Refresher, Reconciler] | None) -> UpstreamDesk:
        """Make a desk; without a store keys can only be used."""
        zone = self.settings.scheduler.timezone
        lending = Lending(self.pools, self.vault, self.settings.upstream, self.clock, zone)
        return UpstreamDesk(
            lending, self.pools, Sealer(self.vault, self.providers, self.clock, self.ids.next), kept
        )


class Refreshing:
    """What a process with the store adds: keys are stored, refreshed, and looked after."""

    def __init__(
        self,
        pooling: Pooling,
        store: Store,
        admission: Admission,
        quotas: QuotaState,
        mirrors: Mirrors,
        life: Callable[[], int],
    ) -> None:
        """`life`: which life of Redis this is, 0 while none is known."""
        self._pooling = pooling
        clock, zone = pooling.clock, pooling.settings.scheduler.timezone
        self.reconciler = Reconciler(store, pooling.pools, mirrors, pooling.providers)
        self.refresher = Refresher(
            store,
            pooling.pools,
            self.reconciler,
            cache(self._services),
            RefreshBoard(pooling.plain),
            admission,
            clock,
            pooling.ids.next,
        )
        self.desk = pooling.desk_with((store, self.refresher, self.reconciler))
        self.upkeep = Upkeep(
            self.desk,
            self.refresher,
            self.reconciler,
            life,
            lambda: quotas.mirroring,
            pooling.settings.upstream,
            zone,
            clock,
        )

    def _services(self) -> "Services":
        from quotaflow.upstream.services import Services  # noqa: PLC0415  0.3 s that most processes do without

        pooling = self._pooling
        return Services(pooling.settings.upstream, pooling.vault, pooling.clock)

    async def close(self) -> None:
        """End what goes on."""
        await self.refresher.close()
