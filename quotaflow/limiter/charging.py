"""Charging: prepaid units, in turns. A request id makes every call repeatable, so a lost reply costs nobody."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.ids import Ids
from quotaflow.ledger import Charge
from quotaflow.limiter import keys
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.orders import ChargeLayout, Order, lay_out_charges, parts_text
from quotaflow.limiter.turns import Ask, Turns, fail
from quotaflow.timing import Clock


class Charging(Turns[Order, Charge]):
    """Charges for this process."""

    most = 32  # a charge takes Redis as long as three decisions: with shorter calls both sides work at once (+14 %)

    def __init__(
        self, fence: Fence, clock: Clock, ids: Ids, *, deadline_s: float, backlog_max: int, requests_max: int
    ) -> None:
        self._ids = ids
        self._limits = str(backlog_max), str(requests_max)
        super().__init__(fence, clock, deadline_s=deadline_s)

    async def charge(self, order: Order) -> Charge:
        """Charge one request, all or none.

        A caller who is cancelled, or told that nobody knows, has not been charged in the end, unless the request id was
        given by him: then asking again with it tells, and charges at most once.

        :raises Unavailable: no answer within the deadline. :raises Backlog: SQL is too far behind.
        :raises IdempotencyConflict: the request id was used before for something else.
        """
        answer = self.ask(order)
        try:
            return await answer
        except asyncio.CancelledError:
            was_asked = not answer.cancelled() and answer.exception() is None
            if was_asked and order.is_ours:
                self._later(self._undo([order]))
            raise

    def _send(self, lane: str, batch: list[Ask[Order, Charge]]) -> Coroutine[Any, Any, None]:
        layout = lay_out_charges([order for order, _, _ in batch])
        left_s = max(0.001, batch[0][1] - self._clock.mono_s())  # of the first to come
        reply = self._fence.run(
            "consume", layout.script_keys(), layout.args(*self._limits), deadline_s=left_s
        )
        return self._answer(lane, batch, layout, reply)

    async def _answer(
        self,
        lane: str,
        batch: list[Ask[Order, Charge]],
        layout: ChargeLayout,
        reply: Coroutine[Any, Any, Any],
    ) -> None:
        try:
            text = str(await reply)
        except (Exception, asyncio.CancelledError) as error:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            if isinstance(error, Unavailable):
                self._later(self._undo([order for order in layout.orders if order.is_ours]))
            elif is_cancelled:
                self.unreturned += sum(order.is_ours for order in layout.orders)
            fail(batch, error if isinstance(error, Exception) else Unavailable("stopping"))
            if is_cancelled:
                raise
            return
        finally:
            self._landed(lane)
        gone: list[Order] = []
        for (order, _, answer), charge in zip(batch, layout.charges(text), strict=True):
            if answer.done():
                gone.append(order)  # cancelled while it was on its way
            elif isinstance(charge, QuotaflowError):
                answer.set_exception(charge)
            else:
                answer.set_result(charge)
        if ours := [order for order in gone if order.is_ours]:
            self._later(self._undo(ours))

    async def _undo(self, orders: list[Order]) -> None:
        """Cancel requests that nobody can ask for again: what was charged goes back, what was not never will be."""
        for order in orders:
            script_keys, args = cancel_call(order, self._ids.next())
            if await self._insist("refund", script_keys, args, 1) is not None:
                self.returned += 1


def cancel_call(order: Order, event_id: str) -> tuple[list[str], list[str]]:
    """Lay out refund.lua so that it cancels an order."""
    allowances = [part for part in order.parts if not part.is_bucket]
    script_keys = [
        keys.MARKER,
        keys.JOURNAL,
        keys.REQUESTS,
        keys.RESERVED,
        keys.request(order.subject, order.request_id),
    ]
    script_keys += [keys.allowance(part.id) for part in allowances]
    rest = f" request={order.request_id}"
    args = ["cancel", str(order.lifetime_ms), event_id, rest, parts_text(order.parts), "0"]
    return script_keys, args + [str(part.cost_micro) for part in allowances]
