"""The inbox is bounded by those who ask it first; closed, it gives out what is left."""

import asyncio

from quotaflow.runner.pool import Inbox
from tests.runner.runs import a_run, loop_turns


async def test_an_inbox_knows_how_many_more_it_takes() -> None:
    inbox = Inbox(2)
    assert (inbox.free(), len(inbox)) == (2, 0)
    inbox.put(a_run("a"))
    inbox.put(a_run("b"))
    assert (inbox.free(), len(inbox)) == (0, 2)
    inbox.put(a_run("c"))
    assert (inbox.free(), len(inbox)) == (0, 3), "a run was charged already and is never turned away"
    assert [(await inbox.get() or a_run("?")).run_id for _ in range(3)] == ["a", "b", "c"]
    assert inbox.free() == 2


async def test_waiting_for_room_ends_when_a_run_is_taken() -> None:
    inbox = Inbox(1)
    async with asyncio.timeout(30):
        await inbox.wait_free()
        inbox.put(a_run("a"))
        waiting = asyncio.create_task(inbox.wait_free())
        await loop_turns()
        assert not waiting.done()
        await inbox.get()
        await waiting


async def test_a_closed_inbox_takes_nothing_and_gives_what_is_left() -> None:
    inbox = Inbox(2)
    inbox.put(a_run("a"))
    inbox.close()
    waiting = asyncio.create_task(inbox.wait_free())
    await loop_turns()
    assert inbox.free() == 0
    left = await inbox.get()
    assert left is not None
    assert left.run_id == "a"
    assert await inbox.get() is None
    await loop_turns()
    assert not waiting.done(), "nobody may claim for a closed inbox"
    waiting.cancel()


async def test_closing_wakes_all_who_wait_for_a_run() -> None:
    inbox = Inbox(2)
    waiting = [asyncio.create_task(inbox.get()) for _ in range(3)]
    await loop_turns()
    inbox.close()
    async with asyncio.timeout(30):
        assert await asyncio.gather(*waiting) == [None, None, None]


async def test_a_cancelled_wait_takes_no_run_with_it() -> None:
    inbox = Inbox(2)
    first, second = (asyncio.create_task(inbox.get()) for _ in range(2))
    await loop_turns()
    inbox.put(a_run("a"))
    first.cancel()
    async with asyncio.timeout(30):
        run = await second
    assert run is not None
    assert run.run_id == "a"
