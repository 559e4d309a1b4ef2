"""Taking units of quotas by name, of whatever kind they are."""

from collections.abc import Awaitable, Mapping

from quotaflow.amounts import MICRO, check_key, cost_micro, wait_s
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

    def acquire(
        self, quota: str | Mapping[str, float], cost: float, key: str | None, wait: float
    ) -> Awaitable[Decision]:
        """Check what is asked and ask it; who finds the quota missing asks `acquire_known`.

        Not a coroutine: every decision passes through here.

        :raises InvalidInput: as `Quotaflow.acquire` says, or a key of a prepaid quota.
        """
        bucket = "" if key is None else check_key(key)
        if not isinstance(quota, str):
            return self._several(_costs(quota, cost, wait), bucket)
        units = MICRO if type(cost) is int and cost == 1 else cost_micro(cost)
        max_wait = 0 if type(wait) is int and wait == 0 else wait_s(wait)
        quota_id = self._quotas.buckets.get(quota)
        if quota_id is None:
            quota_id = self._quotas.id_or(quota)
            if self._quotas.is_prepaid(quota_id):
                return self._charges.acquire(_without_key([Part(quota_id, units)], bucket))
        if max_wait or self._lines.waiting:
            return self._lines.acquire(quota_id, bucket, units, max_wait)
        return self._batcher.acquire(((quota_id, bucket, units),))

    async def acquire_known(
        self, quota: str | Mapping[str, float], cost: float, key: str | None, wait: float
    ) -> Decision:
        """Do the same after reading again which quotas there are.

        :raises NotFound: no such quota.
        """
        await self._quotas.refresh_names()
        decision = await self.acquire(quota, cost, key, wait)
        if decision.reason is Reason.MISSING:
            raise NotFound(f'no quota "{decision.quota_id}"')
        return decision

    def _several(self, costs: Mapping[str, int], key: str) -> Awaitable[Decision]:
        parts = self._quotas.parts(costs)
        if parts[0].is_bucket:
            return self._batcher.acquire(tuple([(part.id, key, part.cost_micro) for part in parts]))
        return self._charges.acquire(_without_key(parts, key))


def _costs(costs: object, cost: float, wait: float) -> dict[str, int]:
    if not isinstance(costs, Mapping):
        raise InvalidInput("quota must be a name, or a mapping of names to costs", field="quota")
    if wait_s(wait) or cost is True or cost != 1:
        what = "wait" if wait else "cost"
        raise InvalidInput(f"{what} is for one quota; costs of several are in the mapping", field=what)
    if not costs:
        raise InvalidInput("name at least one quota", field="quota")
    return {name: cost_micro(units) for name, units in costs.items()}


def _without_key(parts: list[Part], key: str) -> list[Part]:
    if key:
        raise InvalidInput(f'"{parts[0].id}" is prepaid: it has no keys', field="key")
    return parts
