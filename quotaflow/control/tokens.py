"""Access tokens for people: made, looked at, changed, recharged, ended; and presented by customers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quotaflow import secret
from quotaflow.amounts import check_id, cost_micro
from quotaflow.control.acts import note_act, note_back, operation_of, units
from quotaflow.control.charges import Charges, Refund
from quotaflow.control.token_terms import (
    Costs,
    change_micro,
    check_kind,
    definition_of,
    email_of,
    per_minute_of,
    shared_costs,
    total_of,
)
from quotaflow.errors import InvalidInput, NotFound, NotOpen, TokenRefused, Unavailable
from quotaflow.ledger import AccessToken, Change, Charge, Holding, LedgerRow, Part, QuotaType, Validity
from quotaflow.limiter.allowances import Allowances
from quotaflow.log import Event, get_logger
from quotaflow.model import Reason
from quotaflow.operators import Act, Subject, by_of
from quotaflow.store import Fields, LogFilter, Page, Store, TokenFilter
from quotaflow.timing import Clock, iso_or_none

log = get_logger(room="tokens")


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token and what it has at this moment; `holding` is None while Redis cannot be asked."""

    token: AccessToken
    holding: Holding | None


class TokenDesk:
    """Everything about access tokens. Without a store only what customers do with them."""

    def __init__(
        self,
        charges: Charges,
        allowances: Allowances,
        store: Store | None,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        name_quotas: Callable[[Mapping[str, int]], list[Part]],
    ) -> None:
        self._charges = charges
        self._allowances = allowances
        self._with = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._name_quotas = name_quotas
        self._pending: set[str] = set()

    # What customers do

    async def consume(
        self,
        token: str,
        cost: float = 1,
        *,
        request_id: str | None = None,
        quotas: Costs = (),
    ) -> Charge:
        """Charge the token with this secret, and shared quotas with it, all or none. Type time is not charged.

        :param cost: units, a multiple of 0.000001; 0 looks without charging.
        :param request_id: the caller's own; the same one charges once and gets the same answer.
        :param quotas: names of shared quotas, each asked for the same cost, or a mapping of names to costs.
        :raises TokenRefused: no token has this secret. :raises IdempotencyConflict: the id was used for something else.
        :raises Unavailable: nobody knows whether it was charged; with a request id of one's own, ask again.
        """
        return await self.consume_id(self.id_of(token), cost, request_id=request_id, quotas=quotas)

    async def consume_id(
        self,
        token_id: str,
        cost: object = 1,
        *,
        request_id: str | None = None,
        quotas: Costs = (),
    ) -> Charge:
        """Do the same for a token by its id; whoever calls this has seen the secret."""
        parts = [Part(token_id, cost_micro(cost))]
        if quotas:
            parts += self._name_quotas(shared_costs(quotas, cost))
        charge = await self._charges.charge(parts, request_id=request_id)
        if charge.reason is Reason.MISSING and charge.decided_by == token_id:
            raise TokenRefused("no access token has this secret")
        return charge

    def id_of(self, token: str) -> str:
        """Return the id of the token with this secret, if there is one; nothing is looked up.

        :raises TokenRefused: the text is not a secret: its form or its checksum is wrong.
        """
        known = secret.known_of(token)
        if known is None:
            raise TokenRefused("this is not an access token; one begins with qf_ and has 54 characters")
        return known.id

    # What people do

    async def create(
        self,
        *,
        ws_id: object,
        email: object,
        validity: Validity,
        quota_type: QuotaType = QuotaType.TIME,
        total_quota: object = None,
        rate_limit_per_minute: int | None = None,
        rate_limit_burst: int | None = None,
        actor: str | None = None,
    ) -> tuple[TokenView, str]:
        """Make a token; the second value is its secret, which is shown this once.

        :raises InvalidInput: naming the field.
        """
        now_us = self._clock.wall_us()
        made, known = secret.make(self._random_bytes)
        total = total_of(quota_type, total_quota)
        token = AccessToken(
            *known,
            ws_id=check_id(ws_id, field="ws_id"),
            email=email_of(email),
            quota_type=quota_type,
            expires_us=validity.end_us(now_us),
            rate_limit_per_minute=per_minute_of(rate_limit_per_minute, "rate_limit_per_minute"),
            rate_limit_burst=per_minute_of(rate_limit_burst, "rate_limit_burst"),
            active=True,
            version=1,
            created_us=now_us,
            updated_us=now_us,
            total_micro=total,
            remaining_micro=total,
        )
        check_kind(token)
        await self._store.insert_token(token, by=by_of(actor))
        return await self._in_force(token, actor), made

    async def get(self, token_id: str) -> TokenView:
        """Return one token.

        :raises NotFound: no such token.
        """
        token = await self._store.get_token(token_id)
        return TokenView(token, (await self._holdings([token_id])).get(token_id))

    async def page(self, wanted: TokenFilter, cursor: str | None, limit: int) -> Page[TokenView]:
        """Return a page of tokens, newest first."""
        page = await self._store.list_tokens(wanted, cursor, limit=limit)
        holdings = await self._holdings([token.id for token in page.items])
        return Page([TokenView(token, holdings.get(token.id)) for token in page.items], page.next_cursor)

    async def change(
        self,
        token_id: str,
        *,
        validity: Validity | None = None,
        total_quota: object = None,
        actor: str | None = None,
        **changes: Any,
    ) -> TokenView:
        """Change what is given of ws_id, email, quota_type, active, rate_limit_per_minute, rate_limit_burst, validity.

        :raises NotFound: no such token. :raises InvalidInput: naming the field.
        """
        token = await self._store.get_token(token_id)
        checks: dict[str, Callable[[Any], Any]] = {
            "ws_id": lambda value: check_id(value, field="ws_id"),
            "email": email_of,
            "rate_limit_per_minute": lambda value: per_minute_of(value, "rate_limit_per_minute"),
            "rate_limit_burst": lambda value: per_minute_of(value, "rate_limit_burst"),
        }
        fields = {key: checks[key](value) if key in checks else value for key, value in changes.items()}
        if validity is not None:
            fields["expires_us"] = validity.end_us(self._clock.wall_us(), token.expires_us)
        if total_quota is not None or (
            token.total_micro is None and fields.get("quota_type", "time") != "time"
        ):
            if token.total_micro is not None:
                raise InvalidInput("total_quota is changed by recharging", field="total_quota")
            kind = QuotaType(str(fields.get("quota_type", token.quota_type)))
            fields["total_micro"] = total_of(kind, total_quota)
        check_kind(replace(token, **fields))
        changed = await self._store.update_token(token_id, by=by_of(actor), **fields)
        return await self._in_force(changed, actor)

    async def remove(self, token_id: str, *, actor: str | None = None) -> None:
        """Delete a token softly: it is refused from now on, its ledger stays.

        :raises NotFound: no such token.
        """
        await self._store.get_token(token_id)
        end = {"active": False, "deleted_us": self._clock.wall_us()}
        token = await self._store.update_token(token_id, by=by_of(actor), **end)
        await self._in_force(token, actor)

    async def recharge(
        self,
        token_id: str,
        change: Change,
        amount: object,
        *,
        request_id: str | None = None,
        actor: str | None = None,
    ) -> TokenView:
        """Change what a token has left. With a request id of one's own it happens once, however often it is asked for.

        :raises NotFound: no such token. :raises InvalidInput: a token of type time, or an amount that is none.
        """
        view = await self.get(token_id)
        if view.token.deleted_us is not None:
            raise NotFound(f"the token {token_id!r} was deleted")
        if not view.token.quota_type.is_metered and change is not Change.EXPIRE:
            raise InvalidInput("a token of type time counts no units", field="token_id")
        micro = change_micro(change, amount)
        is_new = await self._allowances.change(token_id, change, micro, act_id=request_id, actor=actor)
        ends: dict[str, Any] = {"expires_us": self._clock.wall_us()} if change is Change.EXPIRE else {}
        if is_new:  # noted first: it has happened, whatever becomes of the definition
            after = TokenView(replace(view.token, **ends), (await self._holdings([token_id])).get(token_id))
            of, held = (Subject.TOKEN, token_id), (_held(view), _held(after))
            details = {"operation": operation_of(change), "amount": units(micro)}
            await note_act(self._store, actor, Act.RECHARGE, of, held, **details)
        if ends:
            await self._store.update_token(token_id, **ends)
        return await self.get(token_id)

    async def refund(
        self, subject: str, request_id: str, amount: float | None = None, *, actor: str | None = None
    ) -> Refund:
        """Give back what a request was charged to a token or a prepaid quota; see `Charges.refund`."""
        store = self._store
        given = await self._charges.refund(subject, request_id, amount, actor=actor)
        await note_back(store, actor, Act.REFUND, given)
        return given

    async def cancel(self, token_id: str, request_id: str, *, actor: str | None = None) -> Refund:
        """Make sure that a request charges nothing to a token; see `Charges.cancel`.

        :raises NotFound: no such token.
        """
        store = self._store
        await store.get_token(token_id)
        given = await self._charges.cancel(token_id, request_id, actor=actor)
        await note_back(store, actor, Act.CANCEL, given)
        return given

    async def logs(self, wanted: LogFilter, cursor: str | None, limit: int) -> Page[LedgerRow]:
        """Return a page of the ledger of a token or prepaid quota, newest first."""
        return await self._store.list_logs(wanted, cursor, limit=limit)

    async def settle(self) -> None:
        """Put into force what Redis could not take when it was changed."""
        for token_id in list(self._pending):
            await self._allowances.allow(definition_of(await self._store.get_token(token_id)))
            self._pending.discard(token_id)

    @property
    def _store(self) -> Store:
        if self._with is None:
            raise NotOpen("this process has no store: a daemon on this SQLite file has it; ask that daemon")
        return self._with

    async def _in_force(self, token: AccessToken, actor: str | None) -> TokenView:
        self._pending.add(token.id)
        try:
            await self._allowances.allow(definition_of(token), actor=actor)
            self._pending.discard(token.id)
        except Unavailable as error:  # SQL has it: it comes into force when Redis is back
            log.warning(Event.REDIS_AWAY, error=str(error), token_id=token.id)
        log.info(Event.TOKEN_CHANGED, token_id=token.id, version=token.version, actor=actor)
        return TokenView(token, (await self._holdings([token.id])).get(token.id))

    async def _holdings(self, token_ids: Sequence[str]) -> dict[str, Holding]:
        try:
            return await self._allowances.holdings(token_ids)
        except Unavailable:
            return {}


def _held(view: TokenView) -> Fields:
    """Return what a token has, for the record of changes."""
    held = view.holding
    ends = {"expires_at": iso_or_none(view.token.expires_us)}
    if held is None or held.remaining_micro is None:
        return ends
    return {"remaining": units(held.remaining_micro), "total": units(held.total_micro), **ends}
