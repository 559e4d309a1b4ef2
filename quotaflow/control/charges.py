"""Prepaid units for people and code: charge, give back, reserve, and say what became of a request id."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from quotaflow import facts
from quotaflow.amounts import MICRO, cost_micro
from quotaflow.control.lookups import Lookups
from quotaflow.control.requests import again, refusal_of, request_of
from quotaflow.errors import (
    Backlog,
    Conflict,
    InvalidInput,
    NotFound,
    Unavailable,
)
from quotaflow.ids import Ids
from quotaflow.ledger import (
    HOLD_PREFIX,
    Charge,
    LedgerRow,
    Part,
    Request,
    RequestState,
    check_request_id,
)
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.allowances import Allowances, Back, FindRows, full_parts
from quotaflow.limiter.charging import Charging
from quotaflow.limiter.orders import Order
from quotaflow.log import Event, get_logger
from quotaflow.model import Decision

log = get_logger(room="charges")

OURS_S = 120.0  # how long a request id of our own is remembered: only a lost reply asks for it again
LOOK_S = 1.0  # how long SQL may take to say that it knows a request id
HOLD_S = 300.0  # how long a reservation lasts unless told otherwise
LONGEST_HOLD_S = 86_400.0
ENDED = (RequestState.SETTLED, RequestState.RELEASED, RequestState.REFUNDED, RequestState.CANCELLED)
TRIES = 5  # to give back to a request that changes at the same moment


@dataclass(frozen=True, slots=True)
class Refund:
    """What giving back came to. `amount` in units of the request's subject; `repeated`: it had been done before."""

    request: Request
    amount: float
    repeated: bool


class Held:
    """A reservation that is being used. `settle` says what was really needed; the rest goes back."""

    def __init__(self, charge: Charge, cost: int) -> None:
        self.request_id = charge.request_id
        self._cost = cost
        self.used_micro: int | None = None

    def settle(self, used: float) -> None:
        """Say how many units were used.

        :raises InvalidInput: more than was reserved.
        """
        micro = cost_micro(used, field="used")
        if micro > self._cost:
            raise InvalidInput("used must be at most what was reserved", field="used")
        self.used_micro = micro


class Charges:
    """Charges this process' callers. What SQL knows of old request ids is asked for while there is a store."""

    def __init__(
        self,
        charging: Charging,
        allowances: Allowances,
        admission: Admission,
        ids: Ids,
        *,
        request_ttl_s: float,
    ) -> None:
        self._charging = charging
        self._allowances = allowances
        self._admission = admission
        self._ids = ids
        self._ttl_ms = round(request_ttl_s * 1000)
        self._lookups: Lookups[list[LedgerRow]] | None = None
        self.unchecked = 0  # request ids that SQL could not be asked about

    def look_in(self, rows_of_requests: FindRows) -> None:
        """Ask the ledger about request ids that Redis has forgotten."""

        async def find(request_ids: Sequence[str]) -> Mapping[str, list[LedgerRow]]:
            found: dict[str, list[LedgerRow]] = {}
            for row in await rows_of_requests(request_ids):
                found.setdefault(row.request_id or "", []).append(row)
            return found

        self._lookups = Lookups(find)

    async def charge(
        self, parts: Sequence[Part], *, request_id: str | None = None, hold_s: float = 0.0
    ) -> Charge:
        """Charge several allowances and buckets, all or none; the first, an allowance, is who asks.

        :param request_id: the caller's own, 1 to 128 printable ASCII characters: the same one charges once and gets the
            same answer. Without one each call is new. A refusal is not remembered: the same id may be tried again.
        :raises IdempotencyConflict: the request id was used before for something else.
        :raises Unavailable: nobody knows whether it was charged; with an id of one's own, ask again.
        """
        event_id = self._ids.next()
        if request_id is None:
            lifetime_ms = round((OURS_S + hold_s) * 1000)
            own_id = f"{HOLD_PREFIX}{event_id}" if hold_s else event_id
            order = Order(tuple(parts), own_id, event_id, lifetime_ms, round(hold_s * 1e6))
            return await self._charging.charge(order)
        check_request_id(request_id)
        order = Order(tuple(parts), request_id, event_id, self._ttl_ms, is_ours=False)
        known = await self._in_ledger(order.subject, request_id)
        if known is not None and await self._is_forgotten(order):
            return again(order, known)
        return await self._charging.charge(order)

    async def _is_forgotten(self, order: Order) -> bool:
        record = await self._allowances.request(order.subject, order.request_id)
        return record.state is RequestState.UNKNOWN

    async def acquire(self, parts: Sequence[Part], *, own_id: str | None = None) -> Decision:
        """Charge as `charge` does and answer as quotas do. `own_id` is a request id that was made here."""
        event_id = self._ids.next()
        order = Order(tuple(parts), own_id or event_id, event_id, round(OURS_S * 1000))
        charge = await self._charging.charge(order)
        remaining = charge.remaining or 0.0
        return Decision(charge.allowed, charge.decided_by, remaining, charge.retry_after, None, charge.reason)

    async def request(self, subject: str, request_id: str) -> Request:
        """Say what became of a request id."""
        check_request_id(request_id)
        request = await self._allowances.request(subject, request_id)
        if request.state is RequestState.UNKNOWN:
            request = await self._in_ledger(subject, request_id) or request
        return request

    async def refund(
        self, subject: str, request_id: str, amount: float | None = None, *, actor: str | None = None
    ) -> Refund:
        """Give back what a request was charged, or part of it, once.

        :raises NotFound: nobody has heard of it. :raises InvalidInput: more than it was charged.
        :raises Conflict: it was a reservation that has been settled.
        """

        def amounts(request: Request) -> list[int]:
            if amount is None:
                return full_parts(request)
            wanted = cost_micro(amount, field="amount")
            if request.parts and wanted > request.parts[0].cost_micro:
                raise InvalidInput(
                    f"amount must be at most the {request.cost:g} units charged", field="amount"
                )
            return [min(wanted, cost) for cost in full_parts(request)]

        refund = await self._give_back(subject, request_id, Back.REFUND, amounts, actor)
        if refund.request.state is RequestState.UNKNOWN:
            raise NotFound(f'no charge has the request id "{request_id}"')
        if refund.request.state in (RequestState.SETTLED, RequestState.RELEASED):
            raise Conflict(f'the reservation "{request_id}" is {refund.request.state} already')
        return refund

    async def cancel(
        self, subject: str, request_id: str, *, actor: str | None = None, only_unseen: bool = False
    ) -> Refund:
        """Make sure that a request charges nothing: what it was charged goes back, and a late command is refused.

        :param only_unseen: stop a late command and nothing else: who presents a token must not refund himself.
        :raises Conflict: with `only_unseen`, it was charged already.
        """
        check_request_id(request_id)

        def amounts(request: Request) -> list[int]:
            if only_unseen and request.state in (RequestState.CHARGED, RequestState.HELD):
                raise Conflict(f'the request "{request_id}" was charged already; its operator can refund it')
            return full_parts(request)

        return await self._give_back(subject, request_id, Back.CANCEL, amounts, actor)

    async def sweep(self) -> int:
        """Give back the reservations whose time is up; returns how many."""
        swept = 0
        for request in await self._allowances.overdue():
            word, _ = await self._allowances.give_back(request, Back.SWEEP, full_parts(request))
            swept += word == "done"
        return swept

    @contextlib.asynccontextmanager
    async def reserve(self, parts: Sequence[Part], *, hold_s: float = HOLD_S) -> AsyncIterator[Held]:
        """Take units before it is known how many are needed.

        `held.settle(used)` inside the block says how many were; the rest goes back. A block that ends without it used
        all of them; one that fails without it used none. Who dies in it gives everything back after `hold_s` seconds.

        :raises QuotaExceeded: there are not enough. :raises InvalidInput: a hold that is none.
        """
        if isinstance(hold_s, bool) or not 0 < hold_s <= LONGEST_HOLD_S:
            raise InvalidInput(
                f"hold_s must be more than 0 and at most {LONGEST_HOLD_S:g} seconds", field="hold_s"
            )
        charge = await self.charge(parts, hold_s=hold_s)
        if not charge.allowed:
            raise refusal_of(charge)
        held = Held(charge, parts[0].cost_micro)
        try:
            yield held
        except BaseException:
            await asyncio.shield(self._end(parts[0].id, held, none_used=True))
            raise
        await asyncio.shield(self._end(parts[0].id, held, none_used=False))

    async def _end(self, subject: str, held: Held, *, none_used: bool) -> None:
        def unused(request: Request) -> list[int]:
            used = 0 if none_used else request.parts[0].cost_micro
            used = held.used_micro if held.used_micro is not None else used
            return [max(0, cost - used) for cost in full_parts(request)]

        back = Back.RELEASE if none_used and held.used_micro is None else Back.SETTLE
        refund = await self._give_back(subject, held.request_id, back, unused, None)
        if refund.repeated and back is Back.SETTLE:
            log.warning(Event.RESERVATION_LATE, subject=subject, request_id=held.request_id)

    async def record(
        self,
        subject: str,
        request_id: str,
        *,
        success: bool,
        error_type: str | None = None,
        message: str | None = None,
    ) -> None:
        """Write how the work ended that a request paid for.

        :raises Backlog: SQL is too far behind. :raises Unavailable: Redis does not answer.
        """
        check_request_id(request_id)
        fields: dict[str, facts.Value] = {
            "subject": subject,
            "request": request_id,
            "success": int(success),
            "error_type": error_type and error_type[:ERROR_CHARS],
            "error": message and message[:ERROR_CHARS],
        }
        if not await self._admission.record([(self._ids.next() + ".work", facts.encode(facts.WORK, fields))]):
            raise Backlog("SQL is too far behind; the outcome was not recorded")

    async def _give_back(
        self,
        subject: str,
        request_id: str,
        back: Back,
        amounts: Callable[[Request], list[int]],
        actor: str | None,
    ) -> Refund:
        for _ in range(TRIES):
            request = await self.request(subject, request_id)
            if request.state in ENDED:  # SQL may be the only one who knows
                return Refund(request, 0.0, repeated=True)
            some = amounts(request)
            word, state = await self._allowances.give_back(request, back, some, actor=actor)
            if word == "changed":
                continue
            done = word == "done"
            now = Request(subject, request_id, state, request.parts, request.remaining)
            return Refund(now, some[0] / MICRO if done and some else 0.0, repeated=word == "again")
        raise Unavailable(f'the request "{request_id}" changes all the time; try again')

    async def _in_ledger(self, subject: str, request_id: str) -> Request | None:
        """Return a request that SQL remembers. When SQL cannot be asked Redis alone decides, and that is counted."""
        if self._lookups is None:
            return None
        try:
            async with asyncio.timeout(LOOK_S):
                rows = await self._lookups.get(request_id)
        except (Unavailable, TimeoutError):
            self.unchecked += 1
            return None
        return request_of(subject, request_id, rows or [])


ERROR_CHARS = 500
