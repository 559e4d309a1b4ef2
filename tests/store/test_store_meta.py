"""Facts about the installation, and the lock under which Redis is recovered."""

import asyncio
from pathlib import Path

import pytest

from quotaflow.errors import Conflict, Recovering, Unavailable
from quotaflow.store import Store, fence
from tests.servers import PATIENCE_S
from tests.store.rows import cut_off_all_others
from tests.stores import sqlite_url


async def test_the_store_id_is_made_once_and_differs_between_stores(
    store: Store, url: str, tmp_path: Path
) -> None:
    other = await Store.open(url, deadline_s=PATIENCE_S)
    ids = await asyncio.gather(*[each.store_id() for each in (store, other) for _ in range(3)])
    await other.close()
    (tmp_path / "stranger").mkdir()
    stranger = await Store.open(sqlite_url(tmp_path / "stranger"), deadline_s=PATIENCE_S)
    assert len({*ids}) == 1
    assert await stranger.store_id() not in ids
    await stranger.close()


async def test_the_first_admin_token_hash_is_kept_and_told_to_who_comes_second(store: Store) -> None:
    assert await store.admin_token_hash() is None
    assert await store.keep_admin_token_hash("one") == "one"
    assert await store.keep_admin_token_hash("two") == "one"
    assert await store.admin_token_hash() == "one"


async def test_incarnations_only_rise(store: Store) -> None:
    assert await store.read_incarnation() == (0, None)
    await store.write_incarnation(1, "server-a")
    await store.write_incarnation(12, "server-b")
    for number in (12, 2):
        with pytest.raises(Conflict, match="not above 12"):
            await store.write_incarnation(number, "server-c")
    assert await store.read_incarnation() == (12, "server-b")


async def test_the_fence_keeps_everybody_else_out_until_the_deadline(url: str) -> None:
    holder, waiter = await Store.open(url, deadline_s=PATIENCE_S), await Store.open(url, deadline_s=0.4)
    store = waiter if url.startswith("postgresql") else holder  # on SQLite one process has one store
    if store is holder:
        holder._database.deadline_s = 0.2
    async with holder.fence_lock():
        with pytest.raises(Recovering):
            async with store.fence_lock():
                pytest.fail("two hold the fence")
    async with store.fence_lock():
        pass
    await holder.close()
    await waiter.close()


async def test_the_fence_may_be_let_go_while_a_beat_is_under_way(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "BEATS", 1_000_000)  # a beat is always under way
    store = await Store.open(postgres, deadline_s=PATIENCE_S)
    for milliseconds in range(10):
        async with store.fence_lock():
            await asyncio.sleep(milliseconds / 1000)
    await store.close()


async def test_the_fence_outlasts_the_deadline_of_a_call_and_leaves_the_store_usable(url: str) -> None:
    store = await Store.open(url, deadline_s=1)
    async with store.fence_lock():
        await store.write_incarnation(1, "server-a")
        await asyncio.sleep(1.5)  # a recovery takes longer than a call may
        assert await store.read_incarnation() == (1, "server-a")
    await store.close()


async def test_the_fence_is_let_go_when_its_holder_fails_or_is_cancelled(store: Store) -> None:
    with pytest.raises(RuntimeError):
        async with store.fence_lock():
            raise RuntimeError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), store.fence_lock():
            await asyncio.Event().wait()
    async with store.fence_lock():
        pass


async def test_giving_up_on_the_fence_at_any_moment_leaves_it_free(store: Store, url: str) -> None:
    other = await Store.open(url, deadline_s=PATIENCE_S)
    for milliseconds in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(milliseconds / 1000), store.fence_lock():
                await asyncio.Event().wait()
        async with other.fence_lock():
            pass
    await other.close()


async def test_a_holder_that_lost_its_connection_cannot_begin_a_life_after_another_did(postgres: str) -> None:
    """The lock goes with the connection; the number is the second guard, and the holder hears of both."""
    store, other = (
        await Store.open(postgres, deadline_s=PATIENCE_S),
        await Store.open(postgres, deadline_s=PATIENCE_S),
    )

    async def recover_too_late() -> None:
        async with store.fence_lock():
            await cut_off_all_others(other)
            async with other.fence_lock():
                await other.write_incarnation(1, "server-b")
            with pytest.raises(Conflict):
                await store.write_incarnation(1, "server-a")

    with pytest.raises(Unavailable):
        await recover_too_late()
    assert await store.read_incarnation() == (1, "server-b")
    await store.close()
    await other.close()
