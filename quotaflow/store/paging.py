"""Pages by cursor: each begins after the last item of the one before, so nothing shifts as rows arrive."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from quotaflow.errors import InvalidInput

T = TypeVar("T")

MOMENT_DIGITS = 17  # of microseconds: to the year 5138


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items in order, and the cursor of the next page, None at the end. Cursors are opaque text."""

    items: list[T]
    next_cursor: str | None


def place_of(cursor: str, *, of: str) -> tuple[int, str]:
    """Read a cursor `moment.id`: the moment in microseconds, and the id. `of` is what the list is of.

    :raises InvalidInput: it is none of ours.
    """
    moment, dot, item_id = cursor.partition(".")
    if not (dot and item_id and moment.isascii() and moment.isdigit() and len(moment) <= MOMENT_DIGITS):
        raise InvalidInput(f"cursor is not one that a list of {of} gave", field="cursor")
    return int(moment), item_id
