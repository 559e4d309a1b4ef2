"""What people do in Redis, written down beside what they change in SQL."""

from quotaflow.amounts import MICRO
from quotaflow.errors import Unavailable
from quotaflow.ledger import Change
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
    :param held: what it had before, and has now; the same: nothing happened.
    """
    by, (before, after) = by_of(actor), held
    if by is None or before == after:
        return
    try:
        await store.note_act(by, act, *of, before, {**after, **details})
    except Unavailable as error:
        log.warning(Event.STORE_AWAY, error=str(error), act=act, kind=of[0], subject_id=of[1], actor=actor)


def operation_of(change: Change) -> str:
    """Return what the API calls a change of prepaid units."""
    return _WORDS.get(change, str(change))


def units(micro: int | None) -> float | None:
    """Return an amount in units; None is none."""
    return None if micro is None else micro / MICRO
