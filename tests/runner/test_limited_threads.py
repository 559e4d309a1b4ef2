"""Who serves a call: a plain def is served in a worker thread, an async def on the loop where Quotaflow is open."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from quotaflow import NotOpen, QuotaExceeded
from quotaflow.model import Status
from quotaflow.runner import calls
from quotaflow.timing import ManualClock
from tests.runner.desk import Desk, level, limited, plain_price, price, serving
from tests.runner.runs import loop_turns


async def test_a_plain_def_works_in_a_worker_thread(desk: Desk) -> None:
    threads: list[int] = []

    def get_price(symbol: str, *, days: int) -> float:
        threads.append(threading.get_ident())
        return plain_price(symbol, days=days)

    assert await asyncio.to_thread(limited()(get_price), "xyz", days=2) == 6
    assert threads != [threading.get_ident()]
    await loop_turns()
    assert (desk.endings(), await level(desk)) == ([(Status.OK, None, None)], 999)


async def test_a_plain_def_that_fails_is_traced_and_raises(desk: Desk) -> None:
    def failing() -> None:
        raise SystemExit("enough")

    with pytest.raises(SystemExit):
        await _in_a_thread(limited()(failing))
    await loop_turns()
    assert desk.endings() == [(Status.FAILED, None, "enough")]


async def _in_a_thread(function: Callable[[], Any]) -> Any:
    """Call it where SystemExit does not end the loop."""
    result: list[Any] = []

    def main() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001
            result.append(error)

    await asyncio.to_thread(main)
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


async def test_a_plain_def_that_is_refused_raises_in_its_thread(desk: Desk) -> None:
    with pytest.raises(QuotaExceeded):
        await asyncio.to_thread(limited("scarce", cost=2)(plain_price), "x")


async def test_a_plain_def_on_the_loops_thread_is_told_the_async_form(desk: Desk) -> None:
    with pytest.raises(NotOpen) as caught:
        limited()(plain_price)("x")
    assert '"get_price" is a plain def and would block the event loop' in str(caught.value)
    assert "make it `async def`" in str(caught.value)
    assert "`await asyncio.to_thread(plain_price, ...)`" in str(caught.value)
    assert await level(desk) == 1000


@pytest.mark.parametrize("function", [price, plain_price])
async def test_a_call_where_nothing_is_open_says_what_to_open(function: Callable[..., Any]) -> None:
    call = limited()(function)
    with pytest.raises(NotOpen, match=r'"get_price" needs an open Quotaflow: .*Quotaflow\.open'):
        await call("x") if inspect.iscoroutinefunction(call) else call("x")


def test_a_plain_def_where_nothing_is_open_says_so_without_a_loop() -> None:
    with pytest.raises(NotOpen, match="needs an open Quotaflow"):
        limited()(plain_price)("x")


async def test_an_async_def_on_another_loop_is_not_served_by_this_one(desk: Desk) -> None:
    """The connections of an open Quotaflow belong to its loop."""
    get_price = limited()(price)

    def elsewhere() -> Any:
        return asyncio.run(get_price("x"))

    with pytest.raises(NotOpen):
        await asyncio.to_thread(elsewhere)
    assert await get_price("x") == 1


async def test_the_one_opened_last_serves_and_the_earlier_one_after_it(desk: Desk) -> None:
    get_price = limited()(price)
    async with serving(Desk(desk.bench, ManualClock())) as other:
        await get_price("x")
        assert (len(other.traces), len(desk.traces)) == (1, 0)
    await get_price("x")
    assert (len(other.traces), len(desk.traces)) == (1, 1)


async def test_a_result_is_not_lost_when_the_loop_closes_meanwhile() -> None:
    """A thread that is still working when its Quotaflow has closed gets its result, untraced."""
    admitted = threading.Event()
    may_end = threading.Event()
    result: list[float] = []

    class Free:
        """Admits at once."""

        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()

        async def admit(self, _: object) -> "Free":
            return self

        def done(self, _: BaseException | None) -> None:
            raise AssertionError

    def slow() -> float:
        admitted.set()
        may_end.wait(5)
        return 7.0

    thread = threading.Thread(target=lambda: result.append(limited()(slow)()))

    async def short_life() -> None:
        free = Free()
        calls.opened(free)
        thread.start()
        await asyncio.to_thread(admitted.wait, 5)
        calls.closed(free)

    await asyncio.to_thread(asyncio.run, short_life())
    may_end.set()
    await asyncio.to_thread(thread.join, 5)
    assert result == [7.0]
