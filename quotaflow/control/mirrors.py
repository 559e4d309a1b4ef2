"""Quotas that have what the upstream keys of a provider have left: so tasks under them know the real balance.

What is drawn from such a quota is taken at once; a refresh corrects it by what the service says, less what was drawn
while it was asked. Keys are reserved beside it, when they are used: no key is ever overdrawn by what a quota says.
"""

from collections.abc import Iterable, Mapping

from quotaflow.amounts import MAX_PREPAID_UNITS, MICRO
from quotaflow.balances import KeyStatus, UpstreamKey
from quotaflow.limiter.allowances import Allowances
from quotaflow.limiter.quotas import QuotaState

MOST = MAX_PREPAID_UNITS * MICRO  # keys without a limit have more


class Mirrors:
    """Corrects the quotas of all providers."""

    def __init__(self, quotas: QuotaState, allowances: Allowances) -> None:
        self._quotas = quotas
        self._allowances = allowances

    def providers(self) -> set[str]:
        """Return the providers that are mirrored."""
        return {provider for provider, _ in self._quotas.mirroring}

    async def before(self, providers: Iterable[str]) -> dict[str, str]:
        """Note what was drawn from the quotas, by their id, before the services are asked about all keys.

        :raises Unavailable: Redis does not answer.
        """
        ids = [quota_id for provider in providers for quota_id in self._quotas.mirrors_of(provider)]
        return await self._allowances.drawn(ids)

    async def take_over(
        self, provider: str, keys: Iterable[UpstreamKey], drawn: Mapping[str, str] | None = None
    ) -> None:
        """Take over what all keys of a provider have left.

        :param drawn: what `before` noted; without it, nobody was asked since, and what was drawn stays drawn.
        """
        usable = [key for key in keys if is_counted(key)]
        has = sum(key.remaining_micro or 0 for key in usable)
        total = sum(key.plan_limit_micro or key.remaining_micro or 0 for key in usable)
        for quota_id in self._quotas.mirrors_of(provider):
            await self._allowances.mirror(
                quota_id,
                min(has, MOST),
                total_micro=min(total, MOST),
                drawn="-" if drawn is None else drawn.get(quota_id, "-"),
            )


def is_counted(key: UpstreamKey) -> bool:
    """Say whether what a key has left can be used."""
    return key.enabled and key.status is not KeyStatus.INVALID
