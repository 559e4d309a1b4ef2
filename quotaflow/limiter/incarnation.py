"""Which life of Redis the scripts belong to, and where that is kept."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from quotaflow.errors import Unavailable
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Which life of Redis the scripts belong to: a number, and the server process it was given to."""

    number: int
    run_id: str | None


class Incarnations(Protocol):
    """Where the number is kept. The store in SQL; a process without it reads the marker and never recovers."""

    may_recover: bool

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep every other process from recovering."""
        ...

    async def read(self) -> Incarnation:
        """Return the current one; number 0 before the first start."""
        ...

    async def write(self, incarnation: Incarnation) -> None:
        """Make it the current one; durable when this returns."""
        ...


class MarkerIncarnations:
    """Reads the number from Redis: for a process without the store, which never loads scripts nor recovers."""

    may_recover = False

    def __init__(self, plain: Client) -> None:
        self._plain = plain

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Never asked for."""
        raise Unavailable("this process has no store")

    async def read(self) -> Incarnation:
        """Return what the last recovery left in the marker."""
        async with reaching(self._plain):
            number, run_id = await self._plain.hmget(keys.MARKER, "incarnation", "run_id")
        return Incarnation(int(number or 0), run_id)

    async def write(self, incarnation: Incarnation) -> None:
        """Never asked for."""
        raise Unavailable(f"this process has no store to write incarnation {incarnation.number} to")
