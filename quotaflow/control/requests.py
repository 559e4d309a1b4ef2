"""Requests for prepaid units, read and answered. Pure."""

from collections.abc import Sequence

from quotaflow.amounts import MICRO
from quotaflow.errors import IdempotencyConflict, NotFound, QuotaExceeded
from quotaflow.ledger import HOLD_PREFIX, Action, Charge, LedgerRow, Part, Request, RequestState
from quotaflow.limiter.orders import Order
from quotaflow.model import Reason

_STATES = {Action.CONSUME: RequestState.CHARGED, Action.REFUND: RequestState.REFUNDED}


def request_of(subject: str, request_id: str, rows: Sequence[LedgerRow]) -> Request | None:
    """Make a request of what the ledger says about its id. Pure."""
    own = [row for row in rows if row.subject == subject and row.action in _STATES]
    others = [
        row
        for row in rows
        if row.action is Action.CONSUME and row.actor == subject and row.subject != subject
    ]
    if not own:  # the caller's own cost was nothing, or is not counted
        return _of_others(subject, request_id, others, rows) if others else None
    own.sort(key=lambda row: (row.epoch, row.seq))  # event ids of several hosts do not tell what came first
    parts = [Part(subject, -own[0].change_micro), *[Part(row.subject, -row.change_micro) for row in others]]
    state = _STATES[own[-1].action]
    if state is RequestState.CHARGED and request_id.startswith(HOLD_PREFIX):
        state = RequestState.HELD
    return Request(subject, request_id, state, tuple(parts), own[0].after_micro / MICRO)


def _of_others(
    subject: str, request_id: str, others: Sequence[LedgerRow], rows: Sequence[LedgerRow]
) -> Request:
    back = {row.subject for row in rows if row.action is Action.REFUND}
    is_back = any(row.subject in back for row in others)
    parts = [Part(subject, 0), *[Part(row.subject, -row.change_micro) for row in others]]
    return Request(
        subject, request_id, RequestState.REFUNDED if is_back else RequestState.CHARGED, tuple(parts)
    )


def again(order: Order, known: Request) -> Charge:
    """Answer a request that the ledger remembers.

    :raises IdempotencyConflict: it was another one.
    """
    own, *others = [part for part in order.parts if not part.is_bucket]
    known_own, *known_others = known.parts
    # What is not counted, such as the cost of a token of type time, has no row.
    is_same_own = own == known_own or not known_own.cost_micro
    if not is_same_own or _counted(others) != _counted(known_others):
        raise IdempotencyConflict(f'the request id "{order.request_id}" was used before with other arguments')
    subject = order.subject
    return Charge(
        True, subject, subject, known.remaining, 0.0, Reason.GRANTED, order.request_id, repeated=True
    )


def _counted(parts: Sequence[Part]) -> set[Part]:
    return {part for part in parts if part.cost_micro}


def refusal_of(charge: Charge) -> Exception:
    """Return the error of a refused charge, for callers who want one."""
    if charge.reason is Reason.MISSING:
        return NotFound(f'no quota or token "{charge.decided_by}"')
    text = f'"{charge.decided_by}" refuses: {charge.reason}'
    if charge.retry_after is not None:
        text += f"; it has units again in {charge.retry_after:.3g} s"
    return QuotaExceeded(text, quota_id=charge.decided_by, retry_after=charge.retry_after)
