"""Pages by cursor: each begins after the last item of the one before, so nothing shifts as rows arrive."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MOMENT_DIGITS = 17  # of microseconds: to the year 5138


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items in order, and the cursor of the next page, None at the end. Cursors are opaque text."""

    items: list[T]
    next_cursor: str | None
