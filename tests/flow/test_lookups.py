"""Many callers share a query, and its failure."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from quotaflow.control.lookups import Lookups
from quotaflow.errors import Unavailable


class Query:
    """Answers when it is let, once for each `let`; a value is its key in capitals."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.let = asyncio.Semaphore(0)
        self.broken: Exception | None = None

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(list(keys))
        await self.let.acquire()
        if self.broken:
            raise self.broken
        return {key: key.upper() for key in keys if key != "nothing"}


async def waiting(lookups: Lookups[str], *keys: str) -> list[asyncio.Task[str | None]]:
    """Ask for keys and let the callers come as far as they can."""
    callers = [asyncio.create_task(lookups.get(key)) for key in keys]
    for _ in range(5):
        await asyncio.sleep(0)
    return callers


async def test_what_is_asked_during_a_query_goes_together_into_the_next() -> None:
    query = Query()
    lookups = Lookups(query)
    callers = await waiting(lookups, "a")
    callers += await waiting(lookups, "b", "nothing", "b")
    query.let.release()
    query.let.release()
    assert await asyncio.gather(*callers) == ["A", "B", None, "B"]
    assert query.asked == [["a"], ["b", "nothing"]]


async def test_whatever_the_query_raises_reaches_its_callers_and_the_next_query_is_made() -> None:
    query = Query()
    lookups = Lookups(query)
    first = await waiting(lookups, "a", "b")
    second = await waiting(lookups, "c")
    query.broken = ValueError("a bug")
    query.let.release()
    assert await asyncio.gather(*first, return_exceptions=True) == [query.broken, query.broken]
    query.broken = None
    query.let.release()
    assert await second[0] == "C"


async def test_a_caller_who_went_takes_no_answer_from_the_others() -> None:
    query = Query()
    lookups = Lookups(query)
    gone, stays = await waiting(lookups, "a", "a")
    gone.cancel()
    query.let.release()
    assert await stays == "A"


@pytest.mark.parametrize("rounds", [0, 5])
async def test_a_query_that_is_cancelled_leaves_nobody_waiting(rounds: int) -> None:
    """Rounds of the loop before that: none is before it began."""
    query = Query()
    lookups = Lookups(query)
    callers = [asyncio.create_task(lookups.get("a"))]
    await asyncio.sleep(0)
    assert lookups._looking is not None
    if rounds:
        callers += await waiting(lookups, "a", "b")
    lookups._looking.cancel()
    for failed in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(failed, Unavailable)
    query.let.release()
    assert await lookups.get("a") == "A"
