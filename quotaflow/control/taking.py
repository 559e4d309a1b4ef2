"""Taking units of quotas by name, of whatever kind they are."""

from collections.abc import Awaitable, Callable, Mapping

from quotaflow.amounts import cost_micro
from quotaflow.control.charges import Charges
from quotaflow.errors import InvalidInput, NotFound
from quotaflow.ledger import Part
from quotaflow.limiter.batcher import Batcher
from quotaflow.limiter.quotas import QuotaState
from quotaflow.limiter.waiting import Lines
from quotaflow.model import Decision, Reason


class Taking:
    """Asks buckets and allowances; a name that nobody knows yet is looked up once more."""

    def __init__(self, quotas: QuotaState, lines: Lines, batcher: Batcher, charges: Charges) -> None:
        self._quotas = quotas
        self._lines = lines
        self._batcher = batcher
        self._charges = charges

    def one(self, quota: str, key: str, cost: int, wait: float) -> Awaitable[Decision]:
        """Take units of one quota, waiting at most `wait` seconds for a bucket.

        Who finds it missing asks `one_known`. Not a coroutine: every decision passes through here.

        :raises InvalidInput: a key of a prepaid quota.
        """
        quota_id = self._quotas.bucket_id(quota)
        if quota_id is not None:
            return self._lines.acquire(quota_id, key, cost, max_wait=wait)
        return self._charges.acquire(_without_key([Part(self._quotas.id_or(quota), cost)], key))

    async def one_known(self, quota: str, key: str, cost: int, wait: float) -> Decision:
        """Do the same after reading again which quotas there are.

        :raises NotFound: no such quota.
        """
        return await self._once_more(lambda: self.one(quota, key, cost, wait))

    async def several(self, costs: Mapping[str, float], key: str) -> Decision:
        """Take units of several quotas, all or none; fails as `one` and `one_known` do."""
        if not costs:
            raise InvalidInput("name at least one quota", field="quota")
        units = {name: cost_micro(cost) for name, cost in costs.items()}
        decision = await self._several(units, key)
        if decision.reason is Reason.MISSING:
            return await self._once_more(lambda: self._several(units, key))
        return decision

    async def _once_more(self, ask: Callable[[], Awaitable[Decision]]) -> Decision:
        await self._quotas.refresh_names()
        decision = await ask()
        if decision.reason is Reason.MISSING:
            raise NotFound(f'no quota "{decision.quota_id}"')
        return decision

    def _several(self, costs: Mapping[str, int], key: str) -> Awaitable[Decision]:
        parts = self._quotas.parts(costs)
        if parts[0].is_bucket:
            return self._batcher.acquire(tuple([(part.id, key, part.cost_micro) for part in parts]))
        return self._charges.acquire(_without_key(parts, key))


def _without_key(parts: list[Part], key: str) -> list[Part]:
    if key:
        raise InvalidInput(f'"{parts[0].id}" is prepaid: it has no keys', field="key")
    return parts
