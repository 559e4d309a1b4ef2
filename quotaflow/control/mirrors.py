"""Quotas that have what the upstream keys of a provider have left: so tasks under them know the real balance.

What is drawn from such a quota is taken at once; a refresh corrects it by what the service says, less what was drawn
while it was asked. Keys are reserved beside it, when they are used: no key is ever overdrawn by what a quota says.
"""

from collections.abc import Iterable, Mapping

from quotaflow.balances import KeyStatus, UpstreamKey
from quotaflow.limiter.allowances import MIRROR, Allowances
from quotaflow.limiter.quotas import QuotaState


class Mirrors:
    """Corrects the quotas of all providers."""

    def __init__(self, quotas: QuotaState, allowances: Allowances) -> None:
        self._quotas = quotas
        self._allowances = allowances

    async def before(self, providers: Iterable[str]) -> dict[str, int]:
        """Note what the quotas have, by their id, before the services are asked about all keys.

        :raises Unavailable: Redis does not answer.
        """
        ids = [quota_id for provider in providers for quota_id in self._quotas.mirrors_of(provider)]
        holdings = await self._allowances.holdings(ids)
        return {quota_id: held.remaining_micro or 0 for quota_id, held in holdings.items()}

    async def take_over(self, provider: str, keys: Iterable[UpstreamKey], had: Mapping[str, int]) -> None:
        """Take over what all keys of a provider have left; `had` is what `before` noted."""
        usable = [key for key in keys if is_counted(key)]
        now = sum(key.remaining_micro or 0 for key in usable)
        total = sum(key.plan_limit_micro or key.remaining_micro or 0 for key in usable)
        for quota_id in self._quotas.mirrors_of(provider):
            if quota_id in had:
                await self._change(quota_id, had[quota_id], now, total)

    async def correct(self, before: UpstreamKey, after: UpstreamKey) -> None:
        """Take over what changed with one key."""
        had, has = (key.remaining_micro or 0 if is_counted(key) else 0 for key in (before, after))
        for quota_id in self._quotas.mirrors_of(after.provider):
            if had != has:
                await self._change(quota_id, had, has, None)

    async def _change(self, quota_id: str, had: int, has: int, total: int | None) -> None:
        await self._allowances.change(
            quota_id, MIRROR, has, moment_us=had, total_micro=total, actor="upstream"
        )


def is_counted(key: UpstreamKey) -> bool:
    """Say whether what a key has left can be used."""
    return key.enabled and key.status is not KeyStatus.INVALID
