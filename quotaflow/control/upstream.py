"""Upstream keys for people and for code: stored, checked, looked at, changed, removed; and handed out to be used."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

from quotaflow.amounts import check_id, cost_micro
from quotaflow.balances import ImportReport, KeyView, LiveKey, Progress, RefreshReport, UpstreamKey
from quotaflow.control.lending import Lending, LentKey
from quotaflow.control.reconciling import Reconciler, by_provider
from quotaflow.control.refreshing import Refresher
from quotaflow.control.rotating import rotate
from quotaflow.control.sealing import UNCHECKED, Sealer
from quotaflow.errors import NotFound, NotOpen, QuotaflowError, Unavailable
from quotaflow.limiter.pools import Pools
from quotaflow.log import Event, get_logger
from quotaflow.operators import by_of
from quotaflow.store import Page, Store, UpstreamFilter
from quotaflow.upstream.importing import rows_of

log = get_logger(room="upstream")

T = TypeVar("T")

FIRST_CHECK_S = (
    5.0  # how long whoever adds a key waits for its balance; a slower answer comes into force all the same
)


class UpstreamDesk:
    """Everything about upstream keys. Without a store they can only be used."""

    def __init__(
        self,
        lending: Lending,
        pools: Pools,
        sealer: Sealer,
        kept: tuple[Store, Refresher, Reconciler] | None,
    ) -> None:
        self._lending = lending
        self._pools = pools
        self._sealer = sealer
        self._kept = kept
        self._is_pending = False

    # What code does

    def key(self, provider: str, *, cost: float = 1) -> AbstractAsyncContextManager[LentKey]:
        """Reserve units of the key of this provider that has the most left, and hand it out for the block.

        What the block raises is judged by its HTTP status (as httpx, requests, aiohttp and most SDKs carry it): after a
        429 the key rests by its Retry-After, after a 401 it is invalid, after a 402 exhausted; the next call gets
        another key. Answers of this kind, and 403, cost nothing; any other end of the block is counted as spent.

        :param cost: units, a multiple of 0.000001; `key.settle` corrects it by what it really cost.
        :raises NoUpstreamKey: none has the units and may be used now. :raises NotFound: there is no such provider.
        :raises SecretUnavailable: this process cannot get at the secret. :raises Unavailable: Redis does not answer.
        """
        return self._lending.key(provider, cost_micro(cost))

    async def call(self, provider: str, work: Callable[[LentKey], Awaitable[T]], *, cost: float = 1) -> T:
        """Await `work(key)`, with another key whenever the service refuses one (429, 401, 402), each at most once.

        :raises NoUpstreamKey: the service refused all that could be used. What else `work` raises is raised.
        """
        return await self._lending.call(provider, work, cost_micro(cost))

    # What people do

    async def add(
        self,
        provider: str,
        secret: str,
        *,
        name: str | None = None,
        enabled: bool = True,
        actor: str | None = None,
    ) -> KeyView:
        """Store a key and ask for its balance, for at most 5 s.

        :param secret: the API key itself, `env:NAME` or `file:/absolute/path`.
        :param name: what people call it; without one, what is shown of the secret.
        :raises InvalidInput: naming the field. :raises Conflict: the secret or the name is stored already.
        :raises SecretUnavailable: the reference leads nowhere.
        """
        key = self._sealer.made(provider, secret, name, enabled=enabled)
        await self._store.insert_upstream_key(key, by=by_of(actor))
        await self._in_force([key])
        self._tell(key, "added", actor)
        await self._first_check([key])
        return await self.get(key.id)

    async def add_many(self, text: str, *, actor: str | None = None) -> ImportReport:
        """Store the keys of a CSV or JSON text, all rows but those that cannot be; then ask for their balances.

        :raises InvalidInput: the text as a whole cannot be read.
        """
        rows = await asyncio.to_thread(rows_of, text)
        made: dict[int, UpstreamKey] = {}
        wrong: dict[int, str] = {}
        for row in rows:
            key = self._sealer.made_of(row)
            if isinstance(key, str):
                wrong[row.number] = key
            else:
                made[row.number] = key
            if row.number % 100 == 0:  # sealing takes some 50 µs each
                await asyncio.sleep(0)
        refused = await self._store.insert_upstream_keys(list(made.values()), by=by_of(actor))
        wrong |= {number: refused[key.id] for number, key in made.items() if key.id in refused}
        stored = [key for key in made.values() if key.id not in refused]
        await self._in_force(stored)
        for key in stored:
            self._tell(key, "imported", actor)
        self._refresher.check([key for key in stored if key.enabled])
        return ImportReport(len(stored), len(wrong), tuple(sorted(wrong.items())))

    async def get(self, key_id: str) -> KeyView:
        """Return one key.

        :raises NotFound: no such key.
        """
        key = await self._store.get_upstream_key(key_id)
        return KeyView(key, (await self._live([key])).get(key_id))

    async def page(self, wanted: UpstreamFilter, cursor: str | None, limit: int) -> Page[KeyView]:
        """Return a page of keys, newest first."""
        page = await self._store.list_upstream_keys(wanted, cursor, limit=limit)
        live = await self._live(page.items)
        return Page([KeyView(key, live.get(key.id)) for key in page.items], page.next_cursor)

    async def change(
        self,
        key_id: str,
        *,
        name: str | None = None,
        secret: str | None = None,
        enabled: bool | None = None,
        actor: str | None = None,
    ) -> KeyView:
        """Change what is given. With another secret everything that was known of the key begins anew.

        :raises NotFound: no such key. :raises InvalidInput: naming the field.
        :raises Conflict: the secret or the name is stored already.
        """
        before = await self._store.get_upstream_key(key_id)
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = check_id(name, field="name")
        if enabled is not None:
            changes["enabled"] = enabled
        if secret is not None:
            changes |= self._sealer.sealed(before.provider, secret) | UNCHECKED
        key = await self._store.update_upstream_key(key_id, by=by_of(actor), **changes)
        await self._in_force([key])
        self._tell(key, ", ".join(sorted(changes.keys() & {"name", "enabled", "sealed"})), actor)
        if secret is not None or (enabled and not before.enabled):
            await self._first_check([key])
        return await self.get(key_id)

    async def remove(self, key_id: str, *, actor: str | None = None) -> None:
        """Forget a key and its secret; what is under way with it may end.

        :raises NotFound: no such key.
        """
        key = await self._store.get_upstream_key(key_id)
        await self._store.delete_upstream_key(key_id, by=by_of(actor))
        await self._in_force([replace(key, enabled=False, updated_us=key.updated_us + 1)])
        self._tell(key, "removed", actor)

    async def refresh(self, provider: str | None = None) -> RefreshReport:
        """Ask for the balances of all enabled keys, or of one provider's; of two at once one does it for both.

        :raises NotFound: there is no such provider. :raises Unavailable: SQL or Redis is away.
        """
        await self.expect(provider)
        return await self._refresher.refresh(provider)

    async def expect(self, provider: str | None) -> None:
        """Return if there may be something to refresh.

        :raises NotFound: no provider and no key is called so.
        """
        known = self._sealer.providers
        if provider not in (None, *known) and not await self._store.all_upstream_keys(provider):
            raise NotFound(f"there is no such provider; known are {', '.join(known)}")

    async def refreshing(self, provider: str | None = None) -> AsyncIterator[Progress]:
        """Refresh and tell how far it is; the last one carries the report. Leaving early does not end it."""
        async for progress in self._refresher.watched(provider):
            yield progress

    async def progress(self) -> Progress | None:
        """Return the refresh that goes on in some process, or the last one of the day with its report."""
        return await self._refresher.progress()

    async def rotate(self, *, actor: str | None = None) -> int:
        """Encrypt every stored secret under the newest key; returns how many were. Then the older keys may go.

        :raises SecretUnavailable: one cannot be decrypted; nothing was changed.
        """
        try:
            count = await rotate(self._store, self._pools, self._sealer, by_of(actor))
        except BaseException:  # what it leaves undone is done by the next look
            self._is_pending = True
            raise
        log.info(Event.UPSTREAM_CHANGED, change="rotated", count=count, actor=actor)
        return count

    # What the daemon does

    async def settle(self) -> None:
        """Put into force what Redis could not take when it was changed."""
        if self._is_pending:
            self._is_pending = False
            try:
                for name in by_provider(await self._reconciler.reconcile()):
                    await self._reconciler.correct(name)
            except BaseException:
                self._is_pending = True
                raise

    async def _in_force(self, keys: Sequence[UpstreamKey]) -> None:
        try:
            for name, some in by_provider(keys).items():
                await self._pools.put(name, some)
                await self._reconciler.correct(name)
        except QuotaflowError as error:  # SQL has it: it comes into force when Redis is back
            self._is_pending = True
            log.warning(Event.REDIS_AWAY, error=str(error))

    async def _first_check(self, keys: Sequence[UpstreamKey]) -> None:
        if enabled := [key for key in keys if key.enabled]:
            await asyncio.wait([self._refresher.check(enabled)], timeout=FIRST_CHECK_S)

    async def _live(self, keys: Sequence[UpstreamKey]) -> dict[str, LiveKey]:
        found: dict[str, LiveKey] = {}
        try:
            for provider, some in by_provider(keys).items():
                found |= await self._pools.live(provider, [key.id for key in some])
        except Unavailable:
            return {}
        return found

    def _tell(self, key: UpstreamKey, change: str, actor: str | None) -> None:
        log.info(Event.UPSTREAM_CHANGED, key_id=key.id, provider=key.provider, change=change, actor=actor)

    @property
    def _store(self) -> Store:
        return self._with_store()[0]

    @property
    def _refresher(self) -> Refresher:
        return self._with_store()[1]

    @property
    def _reconciler(self) -> Reconciler:
        return self._with_store()[2]

    def _with_store(self) -> tuple[Store, Refresher, Reconciler]:
        if self._kept is None:
            raise NotOpen("this process has no store: a daemon on this SQLite file has it; ask that daemon")
        return self._kept
