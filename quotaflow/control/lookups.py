"""Many callers, one query: what is asked while a query runs goes together into the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from quotaflow.errors import QuotaflowError

T = TypeVar("T")

MOST_TOGETHER = 500


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
        return await asyncio.shield(answer)  # others may wait for the same

    async def _look(self) -> None:
        try:
            while self._wanted:
                some = dict(list(self._wanted.items())[:MOST_TOGETHER])
                for key in some:
                    del self._wanted[key]
                await self._answer(some)
        finally:
            self._looking = None

    async def _answer(self, some: Mapping[str, "asyncio.Future[T | None]"]) -> None:
        try:
            found = await self._find(list(some))
        except QuotaflowError as error:
            for answer in some.values():
                answer.set_exception(error)
                answer.exception()  # whoever asked may have gone: it is not for the loop to complain
            return
        for key, answer in some.items():
            answer.set_result(found.get(key))
