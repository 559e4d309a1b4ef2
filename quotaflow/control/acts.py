"""What people do in Redis, written down beside what they change in SQL."""

from quotaflow.amounts import MICRO
from quotaflow.control.charges import Refund
from quotaflow.errors import Unavailable
from quotaflow.ledger import TOKEN_PREFIX, Change
from quotaflow.log import Event, get_logger
from quotaflow.operators import Act, Subject, by_of
from quotaflow.store import Fields, Store

log = get_logger(room="changes")

_WORDS = {Change.RECHARGE: "add"}  # where the API has another


async def note_act(
    store: Store,
    actor: str | None,
    act: Act,
    of: tuple[Subject, str],
    held: tuple[Fields, Fields],
    **details: object,
) -> None:
    """Write down what a person did in Redis, where it is done already; while SQL is away only the log says it.

    :param of: the kind and the id of the subject.
    :param held: what it had before, and has now; nothing while Redis could not tell.
    """
    by, (before, after) = by_of(actor), held
    if by is None:
        return
    try:
        await store.note_act(by, act, *of, before, {**after, **details})
    except Unavailable as error:
        log.warning(Event.STORE_AWAY, error=str(error), act=act, kind=of[0], subject_id=of[1], actor=actor)


async def note_back(store: Store, actor: str | None, act: Act, given: Refund) -> None:
    """Write down that a person gave units of a request back, unless that had been done before."""
    if given.repeated:
        return
    of = given.request.subject
    kind = Subject.TOKEN if of.startswith(TOKEN_PREFIX) else Subject.QUOTA
    details = {"request_id": given.request.request_id, "amount": given.amount}
    await note_act(store, actor, act, (kind, of), ({}, {}), **details)


def operation_of(change: Change) -> str:
    """Return what the API calls a change of prepaid units."""
    return _WORDS.get(change, str(change))


def units(micro: int | None) -> float | None:
    """Return an amount in units; None is none."""
    return None if micro is None else micro / MICRO
