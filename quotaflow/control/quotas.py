"""Quotas for people: the definition in SQL, put into force in Redis, shown with what it holds."""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from quotaflow.amounts import amount_micro, check_id, prepaid_micro, slot_count
from quotaflow.control.acts import note_act, operation_of, units
from quotaflow.control.enforcing import Enforcer, Left
from quotaflow.control.token_terms import change_micro
from quotaflow.errors import ConfigError, InvalidCron, InvalidInput, NotFound, Unavailable
from quotaflow.ledger import Change
from quotaflow.limiter.quotas import QuotaState
from quotaflow.log import Event, get_logger
from quotaflow.model import Level, Override, Quota, QuotaKind, check_mirror, foreign_fields
from quotaflow.operators import Act, Actor, Subject, by_of
from quotaflow.schedule.cron import load_zone, parse
from quotaflow.store import UNKNOWN, Fields, Store

log = get_logger(room="quotas")


@dataclass(frozen=True, slots=True)
class QuotaView:
    """A quota and what it holds; `level` is None while Redis cannot be asked."""

    quota: Quota
    level: Level | None


def check_period(reset_cron: str | None = None, timezone: str | None = None) -> None:
    """Check when a prepaid quota begins again.

    :raises InvalidInput: naming the field.
    """
    try:
        if reset_cron is not None:
            parse(reset_cron)
    except InvalidCron as error:
        raise InvalidCron(f"reset_{error}", field="reset_cron") from None
    if timezone is not None:
        load_zone(timezone)


class QuotaDesk:
    """Changes quotas and shows them. A change acts at once, everywhere, without a restart."""

    def __init__(self, store: Store, state: QuotaState, providers: Collection[str]) -> None:
        """`providers`: whose upstream keys a quota may mirror."""
        self._store = store
        self._state = state
        self._providers = providers
        self._enforcer = Enforcer(store, state)

    async def declare(self, quotas: Sequence[Quota]) -> None:
        """Apply the configuration's quotas where their text changed, and put all of SQL's into force."""
        for quota in quotas:
            text = f"{quota.name} {quota.capacity_micro} {quota.refill_micro_s} {quota.enabled}"
            if quota.kind is not QuotaKind.BUCKET:
                text += f" {quota.kind} {quota.reset_cron} {quota.timezone}"
            if quota.max_concurrent is not None:
                text += f" max_concurrent={quota.max_concurrent}"
            if quota.mirrors is not None:
                text += f" mirrors={quota.mirrors}"
            try:
                self._check(quota)
            except InvalidInput as error:
                raise ConfigError(f'quota "{quota.id}": {error}') from error
            await self._store.apply_declared(quota, text)
        for quota in await self._store.all_quotas():
            await self._state.define(quota)

    async def create(
        self,
        quota: Quota,
        keys: Sequence[Override] = (),
        *,
        remaining: float | str | None = None,
        actor: Actor | None = None,
    ) -> QuotaView:
        """Add a quota, and what keys of it have of their own.

        :param remaining: what a prepaid one that comes back had left; UNKNOWN or None: it begins with its total.
        :param actor: the person who does this, for the record of changes; None when it is not a person.
        :raises Conflict: its id or name is taken. :raises InvalidInput: naming the field.
        """
        self._check(quota)
        by = by_of(actor)
        left = None
        if by is not None and isinstance(remaining, float):
            left = Left(prepaid_micro(remaining, field="remaining"), f"undo-{by.undoes}", by.actor)
        made = await self._store.insert_quota(quota, keys, remaining=remaining, by=by)
        await self._enforcer.define(made, keys, left)
        return await self._told(made)

    async def change(
        self,
        quota_id: str,
        *,
        capacity: object = None,
        refill_rate: object = None,
        total: object = None,
        enabled: bool | None = None,
        actor: Actor | None = None,
        **removable: Any,
    ) -> QuotaView:
        """Change what is given; a smaller capacity cuts the level. A total counts from the next period or reset on.

        :param removable: reset_cron and timezone of a prepaid quota, max_concurrent of a bucket; None removes them.
        :raises NotFound: no such quota.
        :raises InvalidInput: naming the field.
        """
        amounts = {"capacity": capacity, "refill_rate": refill_rate, "total": total}
        given = {field: value for field, value in amounts.items() if value is not None} | removable
        quota = await self._store.get_quota(quota_id)
        if foreign := sorted(foreign_fields(quota.kind) & given.keys()):
            raise InvalidInput(f"{foreign[0]} is not for a quota of kind {quota.kind}", field=foreign[0])
        if "mirrors" in removable:
            raise InvalidInput("mirrors cannot be changed; make another quota", field="mirrors")
        if quota.mirrors is not None:
            check_mirror(quota.kind, total, removable.get("reset_cron"))
        check_period(removable.get("reset_cron"), removable.get("timezone"))
        if removable.get("max_concurrent") is not None:
            slot_count(removable["max_concurrent"])
        holds, read = ("capacity", amount_micro) if total is None else ("total", prepaid_micro)
        changed = await self._store.update_quota(
            quota_id,
            capacity_micro=read(given[holds], field=holds, minimum=1) if holds in given else None,
            refill_micro_s=None if refill_rate is None else amount_micro(refill_rate, field="refill_rate"),
            enabled=enabled,
            by=by_of(actor),
            **removable,
        )
        if changed.version == quota.version:  # nothing differs
            return await self._view(quota)
        await self._enforcer.define(changed)
        return await self._told(changed)

    async def remove(self, quota_id: str, *, actor: Actor | None = None) -> None:
        """Delete a quota; its history stays. What a prepaid one had left is written down, to be given back by an undo.

        While Redis is away nobody knows that: the entry says UNKNOWN, and an undo begins with the total. Of a mirror
        the provider says it.

        :raises NotFound: no such quota.
        """
        view = await self.get(quota_id)
        remaining: float | str | None = None
        if view.quota.kind is QuotaKind.ALLOWANCE and view.quota.mirrors is None:
            remaining = UNKNOWN if view.level is None else view.level.remaining
        await self._store.delete_quota(quota_id, remaining=remaining, by=by_of(actor))
        await self._enforcer.forget(view.quota)
        log.info(Event.QUOTA_CHANGED, quota_id=quota_id, change="removed")

    async def refill(self, quota_id: str, *, actor: str | None = None) -> QuotaView:
        """Fill a quota to its capacity at once, a prepaid one to its total."""
        quota = await self._store.get_quota(quota_id)
        if quota.kind is QuotaKind.ALLOWANCE:
            return await self.recharge(quota_id, Change.RESET, quota.capacity, actor=actor)
        before = await self._view(quota)
        await self._state.refill(quota_id)
        view = await self._view(quota)
        of, held = (Subject.QUOTA, quota_id), (_held(before), _held(view))
        await note_act(self._store, actor, Act.REFILL, of, held, operation="refill")
        return view

    async def recharge(
        self,
        quota_id: str,
        change: Change,
        amount: object,
        *,
        request_id: str | None = None,
        actor: str | None = None,
    ) -> QuotaView:
        """Change what a prepaid quota has left. With a request id of one's own repeating it is harmless.

        :raises NotFound: no such quota. :raises InvalidInput: a bucket, or an amount that is none.
        """
        quota = await self._store.get_quota(quota_id)
        if quota.kind is not QuotaKind.ALLOWANCE:
            raise InvalidInput(f'quota "{quota_id}" is not prepaid: it refills by itself', field="quota_id")
        if quota.mirrors is not None:
            raise InvalidInput(
                f'quota "{quota_id}" has what the keys of "{quota.mirrors}" have: refresh them instead',
                field="quota_id",
            )
        micro = change_micro(change, amount)
        before = await self._view(quota)
        is_new = await self._state.recharge(quota_id, change, micro, act_id=request_id, actor=actor)
        view = await self._view(quota)
        if is_new:
            of, held = (Subject.QUOTA, quota_id), (_held(before), _held(view))
            details = {"operation": operation_of(change), "amount": units(micro)}
            await note_act(self._store, actor, Act.RECHARGE, of, held, **details)
        return view

    async def override(
        self,
        quota_id: str,
        key: str,
        *,
        capacity: object,
        refill_rate: object,
        actor: Actor | None = None,
    ) -> Override:
        """Give one key a capacity and rate of its own, at once. Its bucket keeps what it holds.

        :raises NotFound: no such quota.
        :raises InvalidInput: naming the field.
        """
        override = Override(
            check_id(quota_id),
            check_id(key, field="key"),
            amount_micro(capacity, field="capacity", minimum=1),
            amount_micro(refill_rate, field="refill_rate"),
        )
        await self._store.put_override(override, by=by_of(actor))
        await self._enforcer.override(override)
        log.info(Event.QUOTA_CHANGED, quota_id=quota_id, key=key)
        return override

    async def drop_override(self, quota_id: str, key: str, *, actor: Actor | None = None) -> None:
        """Give a key the quota's own capacity and rate again.

        :raises NotFound: it has no other.
        """
        key = check_id(key, field="key")
        if not any(override.key == key for override in await self._store.overrides(quota_id)):
            raise NotFound(f'quota "{quota_id}" has no override for the key "{key}"')
        await self._enforcer.drop_override(quota_id, key, by=by_of(actor))
        log.info(Event.QUOTA_CHANGED, quota_id=quota_id, key=key)

    async def overrides(self, quota_id: str) -> list[Override]:
        """Return the keys with a capacity and rate of their own.

        :raises NotFound: no such quota.
        """
        await self._store.get_quota(quota_id)
        return await self._store.overrides(quota_id)

    async def get(self, quota_id: str) -> QuotaView:
        """Return one quota.

        :raises NotFound: no such quota.
        """
        return await self._view(await self._store.get_quota(quota_id))

    async def page(
        self, cursor: str | None, limit: int, *, text: str | None = None
    ) -> tuple[list[QuotaView], str | None]:
        """Return a page of quotas, ordered by id, and the cursor of the next; with `text` those that are called so."""
        page = await self._store.list_quotas(cursor, limit=limit, text=text)
        return await self.views(page.items), page.next_cursor

    async def views(self, quotas: Sequence[Quota]) -> list[QuotaView]:
        """Return quotas with what they hold."""
        levels: dict[str, Level] = {}
        with contextlib.suppress(Unavailable):
            levels = await self._state.levels(quotas)
        return [QuotaView(quota, levels.get(quota.id)) for quota in quotas]

    @property
    def mirroring(self) -> frozenset[tuple[str, str]]:
        """Which provider's upstream keys are mirrored by which quota, by its id."""
        return self._state.mirroring

    async def levels(self) -> dict[str, Level]:
        """Look at every quota.

        :raises Unavailable: Redis cannot be asked.
        """
        return await self._state.levels(await self._store.all_quotas())

    async def settle(self) -> None:
        """Put into force what Redis could not take when it was changed."""
        await self._enforcer.settle()

    def _check(self, quota: Quota) -> None:
        check_period(quota.reset_cron, quota.timezone)
        if quota.mirrors is not None and quota.mirrors not in self._providers:
            known = ", ".join(self._providers)
            raise InvalidInput(
                f"mirrors: no provider {quota.mirrors!r} is configured; known are {known}", field="mirrors"
            )

    async def _told(self, quota: Quota) -> QuotaView:
        log.info(Event.QUOTA_CHANGED, quota_id=quota.id, version=quota.version)
        return await self._view(quota)

    async def _view(self, quota: Quota) -> QuotaView:
        return (await self.views([quota]))[0]


def _held(view: QuotaView) -> Fields:
    """Return what a quota holds, for the record of changes; nothing while Redis cannot be asked."""
    if (level := view.level) is None:
        return {}
    return {"remaining": level.remaining} | ({} if level.total is None else {"total": level.total})
