"""What a store does when SQL is locked, slow, full or gone, when it is cancelled, and with bad values."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import PendingRollbackError, ProgrammingError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import InvalidInput, Unavailable
from quotaflow.model import Status, make_quota
from quotaflow.records import Batch
from quotaflow.store import Store, sqlite
from quotaflow.store import metrics as metrics_room
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock
from quotaflow.store.postgres import allow, stir
from tests.servers import PATIENCE_S
from tests.store.rows import claim, cut_off_all_others, dump, ended, metrics
from tests.stores import sqlite_url

QUOTA = make_quota(id="q", capacity=10, refill_rate=1)


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Hold what every write needs, from outside."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(str(make_url(url).database), isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.close()
        return
    other = await Database.open(url, deadline_s=5)
    async with other.write() as held:
        await held.execute(text("LOCK TABLE quotas IN ACCESS EXCLUSIVE MODE"))
        yield
    await other.close()


async def test_a_locked_database_is_unavailable_at_the_deadline_and_works_afterwards(url: str) -> None:
    store = await impatient(url)
    async with locked(url):
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"locked|did not answer|canceling statement"):
            await store.insert_quota(QUOTA)
        assert time.monotonic() - start < 4
    assert await store.insert_quota(QUOTA) == QUOTA
    await store.close()


@pytest.mark.parametrize("beats", [False, True])
async def test_who_is_frozen_in_the_middle_of_a_statement_holds_nobody_up_for_long(
    postgres: str, *, beats: bool
) -> None:
    """Neither a writer, nor the holder of the fence, who may take long in all, but not from beat to beat."""
    store = await Store.open(postgres, deadline_s=PATIENCE_S)
    frozen = await Database.open(postgres, deadline_s=0.5)
    async with frozen._writer.connect() as connection:
        if beats:
            await allow(connection, PATIENCE_S * 10)
            for _ in range(2):
                await stir(connection, 0.5)
        await lock(connection, Lock.JOURNAL)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.prepare("SELECT $1::int")  # and now the server waits to be told the value
        await store.wait_for_writers()
        await connection.invalidate()
    await frozen.close()
    await store.close()


async def impatient(url: str) -> Store:
    """Open a store with a short deadline, once its tables are there: making them takes longer on a busy machine."""
    await (await Store.open(url, deadline_s=PATIENCE_S)).close()
    return await Store.open(url, deadline_s=0.4)


async def test_waiting_writers_all_hear_at_their_deadline(url: str) -> None:
    """On SQLite they also wait for each other: there is one connection that writes."""
    store = await impatient(url)
    async with locked(url):
        start = time.monotonic()
        heard = await asyncio.gather(*[store.insert_quota(QUOTA) for _ in range(20)], return_exceptions=True)
        assert time.monotonic() - start < 4
    assert {type(answer) for answer in heard} == {Unavailable}
    assert await store.insert_quota(QUOTA) == QUOTA
    await store.close()


async def test_a_slow_read_is_stopped_at_the_deadline(url: str) -> None:
    store = await impatient(url)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    start = time.monotonic()
    with pytest.raises(Unavailable):
        async with store._database.read() as connection:
            await connection.execute(text(endless))
    assert time.monotonic() - start < 4
    assert (await store.counts()).dead_letters == 0
    await store.close()


async def test_a_write_that_is_cancelled_in_the_middle_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def hang(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    before = await dump(store)
    batch = Batch(opened=[claim("r1")], closed=[ended(claim("r2"))])
    with monkeypatch.context() as patched:
        patched.setattr(metrics_room, "grow", hang)
        writing = asyncio.create_task(store.write_batch(batch))
        await reached.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await dump(store) == before
    await store.write_batch(batch)
    assert (await store.counts()).traces == {Status.RUNNING: 1, Status.OK: 1}


async def test_a_write_that_is_cancelled_at_any_moment_is_whole_or_absent_and_blocks_nobody(
    store: Store,
) -> None:
    for number in range(25):
        rows = [
            ended(claim(f"{number}-{part}", task_id=f"t{part}", scheduled_for_us=number)) for part in range(3)
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(number / 1500):
                await store.write_batch(Batch(closed=rows))
        stored = (await store.counts()).traces.get(Status.OK, 0)
        assert stored in (3 * number, 3 * number + 3)
        assert sum(row["ok"] for row in (await metrics(store)).values()) == stored
        await store.write_batch(Batch(closed=rows))
    assert sum(row["ok"] for row in (await metrics(store)).values()) == 75


@pytest.mark.parametrize(
    "bad",
    [
        {"claimed_us": None},
        {"claimed_us": 10**18},
        {"attempt": 10**30},
        {"task_id": "lone surrogate \ud800"},
    ],
)
async def test_a_row_that_sql_cannot_hold_is_named_bad_and_nothing_of_its_batch_is_written(
    store: Store, bad: dict[str, Any]
) -> None:
    before = await dump(store)
    with pytest.raises(InvalidInput):
        await store.write_batch(Batch(opened=[claim("good"), claim("bad", **bad)]))
    assert await dump(store) == before


@pytest.mark.parametrize("bad", [{"task_id": "x" * 129}, {"task_id": "NUL \0"}])
async def test_postgresql_is_stricter_and_says_so_too(postgres: str, bad: dict[str, Any]) -> None:
    store = await Store.open(postgres, deadline_s=PATIENCE_S)
    with pytest.raises(InvalidInput):
        await store.write_batch(Batch(opened=[claim("bad", **bad)]))
    await store.close()


async def test_a_mistake_of_ours_is_seen_as_it_is(store: Store) -> None:
    with pytest.raises(StatementError):
        async with store._database.read() as connection:
            await connection.execute(text("SELECT :forgotten"))


async def test_a_wrong_statement_is_not_mistaken_for_an_absent_server(store: Store) -> None:
    with pytest.raises(ProgrammingError):
        async with store._database.read() as connection:
            await connection.exec_driver_sql(
                "SELECT $1 FROM no_such" if store._database.is_postgres else "SELECT ?"
            )


async def test_a_deadline_that_is_late_for_a_closed_connection_has_nothing_to_complain_of(
    tmp_path: Path,
) -> None:
    database = await Database.open(sqlite_url(tmp_path), deadline_s=PATIENCE_S)
    loop, complaints, fired = asyncio.get_running_loop(), [], asyncio.Event()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with suppress(PendingRollbackError):
        async with database.read() as connection:
            with sqlite.interrupted_after(connection, 0.05):
                await connection.invalidate()
                loop.call_later(0.05, fired.set)
                await fired.wait()
    await database.close()
    assert complaints == []


async def test_a_full_disk_loses_the_batch_and_nothing_else(tmp_path: Path) -> None:
    store = await Store.open(sqlite_url(tmp_path), deadline_s=PATIENCE_S)
    await store.write_batch(Batch(opened=[claim("before")]))
    async with store._database.write() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1"))  # SQLite raises it to the present size
    many = [claim(f"r{number}", scheduled_for_us=number) for number in range(5_000)]
    with pytest.raises(Unavailable, match="disk is full"):
        await store.write_batch(Batch(opened=many))
    assert (await store.counts()).traces == {Status.RUNNING: 1}
    async with store._database.write() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    await store.write_batch(Batch(opened=many))
    assert (await store.counts()).traces == {Status.RUNNING: 5_001}
    await store.close()


async def test_a_server_that_goes_away_in_the_middle_loses_the_batch_and_is_found_again(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def vanish(connection: AsyncConnection, _: object) -> None:
        await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    store = await Store.open(postgres, deadline_s=PATIENCE_S)
    batch = Batch(opened=[claim()])
    with monkeypatch.context() as patched:
        patched.setattr(metrics_room, "grow", vanish)
        with pytest.raises(Unavailable):
            await store.write_batch(batch)
    assert (await store.counts()).traces == {}
    await store.write_batch(batch)
    assert (await store.counts()).traces == {Status.RUNNING: 1}
    await store.close()


async def test_a_connection_that_breaks_while_it_is_made_is_unavailable(postgres: str) -> None:
    store = await Store.open(postgres, deadline_s=PATIENCE_S)
    engine = store._database._writer
    await engine.dispose()
    event.listen(engine.sync_engine, "connect", _cut, insert=True)  # before it is told what its limits are
    with pytest.raises(Unavailable, match="closed"):
        await store.insert_quota(QUOTA)
    event.remove(engine.sync_engine, "connect", _cut)
    assert await store.insert_quota(QUOTA) == QUOTA
    await store.close()


def _cut(connection: Any, _record: object) -> None:
    connection.driver_connection.terminate()


async def test_connections_that_died_while_idle_are_replaced_unnoticed(postgres: str) -> None:
    store, other = (
        await Store.open(postgres, deadline_s=PATIENCE_S),
        await Store.open(postgres, deadline_s=PATIENCE_S),
    )
    await asyncio.gather(*[store.counts() for _ in range(4)])
    await cut_off_all_others(other)
    assert (await store.counts()).dead_letters == 0
    await store.close()
    await other.close()
