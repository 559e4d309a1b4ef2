"""Quotas put into force in Redis as SQL has them: at once, or when Redis is back."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from quotaflow.control.pending import Pending
from quotaflow.errors import Unavailable
from quotaflow.ledger import Change
from quotaflow.limiter.quotas import QuotaState
from quotaflow.log import Event, get_logger
from quotaflow.model import Override, Quota
from quotaflow.operators import By
from quotaflow.store import Store

log = get_logger(room="quotas")


class Left(NamedTuple):
    """What a prepaid quota that comes back has left, in micro-units; `act_id` lets it be set once."""

    micro: int
    act_id: str
    actor: str


class Enforcer:
    """Puts quotas and overrides into force and takes them out; what Redis cannot take now it takes later."""

    def __init__(self, store: Store, state: QuotaState) -> None:
        self._store = store
        self._state = state
        self._pending = Pending()
        self._removed: list[Quota] = []
        self._left: dict[str, Left] = {}
        self._forgetting = asyncio.Lock()

    async def define(self, quota: Quota, keys: Sequence[Override] = (), left: Left | None = None) -> None:
        """Put a quota into force, and what keys of it have of their own."""
        if left is not None:
            self._left[quota.id] = left
        with self._pending.later(quota.id):
            await self._forget_removed()  # or what is left of an earlier one with this id would stay
            await self._put(quota, keys)

    async def override(self, override: Override) -> None:
        """Put what a key has of its own into force."""
        with self._pending.later(override.quota_id):
            await self._state.override(override)

    async def drop_override(self, quota_id: str, key: str, *, by: By | None) -> None:
        """Take it out of force and out of SQL.

        :raises NotFound: SQL has none. :raises Unavailable: Redis or SQL is away; nothing has changed.
        """
        await self._state.drop_override(quota_id, key)  # first: while Redis is away nothing changes
        with self._pending.unless_done(quota_id):  # SQL may not take it: then it comes into force again
            await self._store.remove_override(quota_id, key, by=by)

    async def forget(self, quota: Quota) -> None:
        """Take a removed quota out of force."""
        self._left.pop(quota.id, None)
        self._removed.append(quota)
        try:
            await self._forget_removed()
        except Unavailable as error:
            log.warning(Event.REDIS_AWAY, error=str(error), quota_id=quota.id)

    async def settle(self) -> None:
        """Put into force what Redis could not take when it was changed.

        :raises Unavailable: Redis or SQL is away; the rest is left for the next time.
        """
        await self._forget_removed()
        await self._pending.settle(self._put_stored)

    async def _forget_removed(self) -> None:
        async with self._forgetting:  # who removes and who settles would both forget the same one
            while self._removed:
                quota = self._removed[0]
                await self._state.forget(quota)
                # Another process may have made a quota with this id or name meanwhile.
                self._pending.leave(*(await self._store.quota_ids([quota.id, quota.name])).values())
                del self._removed[0]

    async def _put_stored(self, quota_id: str) -> None:
        await self._put(await self._store.get_quota(quota_id), await self._store.overrides(quota_id))

    async def _put(self, quota: Quota, keys: Sequence[Override]) -> None:
        await self._state.define(quota)
        for override in keys:
            await self._state.override(override)
        if (left := self._left.get(quota.id)) is not None:
            await self._state.recharge(quota.id, Change.SET, left.micro, act_id=left.act_id, actor=left.actor)
            self._left.pop(quota.id, None)
