"""Redis loses something about prepaid units: nothing is minted again, nothing is charged twice, the ledger says why."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quotaflow import Quotaflow
from quotaflow.amounts import MICRO
from quotaflow.control.life import START_S
from quotaflow.errors import Recovering
from quotaflow.ledger import Action, LedgerEntry, LedgerRow, Part, QuotaType, RequestState, Validity
from quotaflow.limiter import keys
from quotaflow.model import QuotaKind, make_quota
from quotaflow.records import Batch
from quotaflow.store import LogFilter
from tests.flow.conftest import MakeSettings
from tests.servers import ValkeyProcess


@asynccontextmanager
async def opened(
    make_settings: MakeSettings, server: ValkeyProcess
) -> AsyncIterator[tuple[Quotaflow, str, str]]:
    """Open a Quotaflow with one token of 100 units; gives its id and its secret too."""
    async with Quotaflow.open(make_settings(server.url)) as qf:
        view, secret = await qf.tokens.create(
            ws_id="w",
            email="a@example.com",
            validity=Validity("unlimited"),
            quota_type=QuotaType.COUNT,
            total_quota=100,
        )
        yield qf, view.token.id, secret


async def written(qf: Quotaflow) -> None:
    """Return when SQL has everything."""
    await qf._storing.flusher.drain()  # type: ignore[union-attr]


async def rows(qf: Quotaflow, subject: str) -> list[LedgerRow]:
    """Return a chain, oldest first."""
    return (await qf.tokens.logs(LogFilter(subject), None, 100)).items[::-1]


async def left(qf: Quotaflow, token_id: str) -> float:
    """Return what Redis says is left."""
    holding = (await qf.tokens.get(token_id)).holding
    assert holding is not None
    return (holding.remaining_micro or 0) / MICRO


async def recovered(qf: Quotaflow) -> None:
    """Notice the loss, and wait until it is made good."""
    qf._base.fence.lose("the test says so")
    qf._base.fence._doubted = qf._base.fence.number
    await qf._base.fence.wait_ready(START_S)


def cut(server: ValkeyProcess, size: int) -> None:
    """Let the server come back as it was when its file had this size."""
    server.kill()
    os.truncate(server.aof_files()[-1], size)
    server.start()


def size_of(server: ValkeyProcess) -> int:
    return server.aof_files()[-1].stat().st_size


@pytest.fixture
def own_server() -> Any:
    """Give a server that may be hurt; it syncs always, so that its file is what it answered."""
    with ValkeyProcess(appendfsync="always") as server:
        yield server


async def test_a_redis_behind_sql_is_brought_up_and_a_new_epoch_says_so(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.tokens.consume(secret, 10)
        await written(qf)
        size = size_of(own_server)
        await qf.tokens.consume(secret, 5, request_id="five")
        await written(qf)
        cut(own_server, size)
        await recovered(qf)
        assert await left(qf, token_id) == 85
        last = (await rows(qf, token_id))[-1]
        assert (last.action, last.epoch, last.seq, last.change_micro) == (Action.ADJUST, 2, 1, 0)
        again = await qf.tokens.consume(secret, 5, request_id="five")
        assert (again.repeated, again.remaining) == (True, 85)
        assert (await qf.tokens.consume(secret, 1)).remaining == 84
        assert (await qf.audit()).differences == []


async def test_a_flushed_redis_has_everything_again(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.quotas.create(make_quota(id="budget", capacity=50, refill_rate=0, kind=QuotaKind.ALLOWANCE))
        await qf.acquire("budget", 20)
        await qf.tokens.consume(secret, 10)
        await written(qf)
        own_server.clear()
        await recovered(qf)
        assert await left(qf, token_id) == 90
        assert (await qf.acquire("budget", 0)).remaining == 30
        await written(qf)
        assert (await qf.audit()).differences == []


async def test_what_sql_lost_becomes_a_gap_of_exactly_that_amount(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """Somebody restores an older backup of SQL: Redis has done more than it knows, and not a unit is minted."""
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        for _ in range(4):
            await qf.tokens.consume(secret, 5)
        await written(qf)
        store = qf._storing.store  # type: ignore[union-attr]
        async with store._database.write() as connection:
            await connection.exec_driver_sql("DELETE FROM token_quota_logs WHERE seq > 2")
            await connection.exec_driver_sql("UPDATE access_tokens SET seq = 2, remaining_quota = 95")
        await recovered(qf)
        assert await left(qf, token_id) == 80
        last = (await rows(qf, token_id))[-1]
        assert (last.action, last.epoch, last.seq) == (Action.GAP, 2, 1)
        assert (last.before_micro, last.change_micro, last.after_micro) == (
            95 * MICRO,
            -15 * MICRO,
            80 * MICRO,
        )
        assert (await qf.audit()).differences == []


async def test_a_number_changed_by_hand_in_redis_mints_nothing(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.tokens.consume(secret, 10)
        await written(qf)
        await qf._base.plain.hset(keys.allowance(token_id), "remaining", 1000 * MICRO)
        assert [each.what for each in (await qf.audit()).differences] == ["redis"]
        await recovered(qf)
        assert await left(qf, token_id) == 90
        assert (await rows(qf, token_id))[-1].action is Action.GAP
        assert (await qf.audit()).differences == []


async def test_recovering_twice_changes_nothing_more(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.tokens.consume(secret, 10)
        await written(qf)
        own_server.clear()
        await recovered(qf)
        before = await rows(qf, token_id)
        await recovered(qf)
        assert await rows(qf, token_id) == before


async def test_what_was_given_back_in_the_lost_tail_is_not_given_back_again(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.tokens.consume(secret, 10, request_id="ten")
        # Were it due at once, the sweep of every second might come before it is settled.
        async with qf.charges.reserve([Part(token_id, 20 * MICRO)], hold_s=60) as held:
            await written(qf)
            size = size_of(own_server)
            held.settle(5)
        await qf.charges.refund(token_id, "ten")
        await written(qf)
        cut(own_server, size)
        await recovered(qf)
        overdue = {keys.request(token_id, held.request_id): 1}
        await qf._base.plain.zadd(keys.RESERVED, overdue, xx=True)
        assert await qf.charges.sweep() == 0
        assert (await qf.charges.refund(token_id, "ten")).repeated
        assert await left(qf, token_id) == 95
        await written(qf)
        assert (await qf.audit()).differences == []


async def test_a_reservation_that_redis_forgot_is_held_again_and_goes_back(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with opened(make_settings, own_server) as (qf, token_id, _):
        async with qf.charges.reserve([Part(token_id, 20 * MICRO)], hold_s=60) as held:
            await written(qf)
            own_server.clear()
            await recovered(qf)
            assert (await qf.charges.request(token_id, held.request_id)).state is RequestState.HELD
            assert await qf._base.plain.zcard(keys.RESERVED) == 1
            held.settle(3)
        assert await left(qf, token_id) == 97


async def test_facts_of_another_life_of_redis_are_refused(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """A flusher that was frozen with facts in its hands wakes up after somebody else has recovered."""
    async with opened(make_settings, own_server) as (qf, token_id, _):
        await written(qf)
        late = LedgerEntry(
            "0-late", token_id, Action.CONSUME, 100 * MICRO, -MICRO, 99 * MICRO, 1, 2, "late", None, 1
        )
        store = qf._storing.store  # type: ignore[union-attr]
        with pytest.raises(Recovering, match="another life"):
            await store.write_batch(Batch(ledger=[late]), incarnation=qf._base.fence.number - 1)
        assert len(await rows(qf, token_id)) == 1


async def test_an_orphan_is_kept_and_what_it_took_is_taken_again_once(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """A charge of an epoch that is over comes out of the journal: it happened, so it counts."""
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.tokens.consume(secret, 10)
        await written(qf)
        amounts = "before=7000000 change=-4000000 after=3000000"
        fact = f"ledger subject={token_id} action=consume {amounts} epoch=1 seq=1 at=5 request=old"
        for _ in range(2):
            await qf._base.plain.xadd(keys.JOURNAL, {"0-old": fact})
            await written(qf)
        assert await left(qf, token_id) == 86
        found = await rows(qf, token_id)
        assert sum(row.action is Action.ORPHAN for row in found) == 1
        assert [row.change_micro for row in found if row.action is Action.ADJUST] == [-4 * MICRO]
        assert (await qf.audit()).differences == []


async def test_a_restored_backup_of_sql_is_taken_up_where_redis_is(
    own_server: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """The backup knows fewer lives of Redis and fewer charges than Redis does."""
    async with opened(make_settings, own_server) as (qf, token_id, secret):
        await qf.tokens.consume(secret, 10)
        await written(qf)
        path = qf.settings.data_dir / "quotaflow.db"
        backup = path.with_name("backup.db")
        async with qf.store._database.write() as connection:
            await connection.exec_driver_sql("COMMIT")
            await connection.exec_driver_sql(f"VACUUM INTO '{backup}'")
            await connection.exec_driver_sql("BEGIN")
        for _ in range(2):
            await recovered(qf)
        await qf.tokens.consume(secret, 5)
        await written(qf)
    for name in ("quotaflow.db-wal", "quotaflow.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    backup.replace(path)
    async with Quotaflow.open(make_settings(own_server.url)) as qf:
        assert await left(qf, token_id) == 85
        last = (await rows(qf, token_id))[-1]
        assert (last.action, last.change_micro) == (Action.GAP, -5 * MICRO)
        assert (await qf.audit()).differences == []
