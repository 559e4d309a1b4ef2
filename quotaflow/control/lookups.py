"""Many callers, one query: what is asked while a query runs goes together into the next."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from quotaflow.errors import Unavailable

T = TypeVar("T")

MOST_TOGETHER = 500
CUT_SHORT = "the query was cut short; try again"


class Lookups(Generic[T]):
    """Looks up values by text; one query at a time."""

    def __init__(self, find: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]]) -> None:
        self._find = find
        self._wanted: dict[str, asyncio.Future[T | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def get(self, key: str) -> T | None:
        """Return what is found, None when there is nothing; fails as the query fails."""
        answer = self._wanted.get(key)
        if answer is None:
            answer = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._stopped)
        return await asyncio.shield(answer)  # others may wait for the same

    async def _look(self) -> None:
        while self._wanted:
            some = dict(list(self._wanted.items())[:MOST_TOGETHER])
            for key in some:
                del self._wanted[key]
            await self._answer(some)
        self._looking = None

    def _stopped(self, looking: asyncio.Task[None]) -> None:
        if looking.cancelled():  # perhaps before it began
            self._looking = None
            _fail(self._wanted.values(), Unavailable(CUT_SHORT))
            self._wanted.clear()

    async def _answer(self, some: Mapping[str, "asyncio.Future[T | None]"]) -> None:
        try:
            found = await self._find(list(some))
        except asyncio.CancelledError:
            _fail(some.values(), Unavailable(CUT_SHORT))
            raise
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked
            _fail(some.values(), error)
            return
        for key, answer in some.items():
            answer.set_result(found.get(key))


def _fail(answers: Iterable["asyncio.Future[T | None]"], error: Exception) -> None:
    for answer in answers:
        answer.set_exception(error)
        answer.exception()  # whoever asked may have gone: it is not for the loop to complain
