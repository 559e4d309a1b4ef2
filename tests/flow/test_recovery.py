"""Redis loses something; nobody is admitted on what it lost."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quotaflow import LimitTask, Quotaflow, QuotaflowError, SchedulerTask, Unavailable
from quotaflow.errors import StoreMismatch
from quotaflow.limiter import keys
from quotaflow.limiter.scripts import assemble_all
from quotaflow.model import Reason, Status
from quotaflow.runner.registry import Registry
from tests.flow.conftest import MakeSettings
from tests.servers import ValkeyProcess

QUOTAS = {"api": (10.0, 0.0)}


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = 60.0) -> None:
    """Wait for what other tasks or processes do."""
    async with asyncio.timeout(deadline_s):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_a_script_flush_costs_nothing(valkey: ValkeyProcess, make_settings: MakeSettings) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        await qf.acquire("api", cost=4)
        valkey.client().script_flush()
        assert (await qf.acquire("api", cost=6)).remaining == 0
        assert not (await qf.acquire("api")).allowed


async def test_after_flushall_quotas_come_back_with_their_counters(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """
    A bucket that was lost starts full, at most one extra capacity; definitions and counters come from SQL.
    """
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        for _ in range(7):
            await qf.acquire("api")
        await until(lambda: counters_in_sql(qf, allowed=7))
        valkey.client().flushall()
        decision = await qf.acquire("api")
        assert decision.allowed
        assert decision.remaining == 9
        level = (await qf.quotas.get("api")).level
        assert level is not None
        assert level.allowed == 8


async def test_keys_with_a_capacity_of_their_own_come_back_and_dropped_ones_do_not(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        await qf.quotas.override("api", "vip/1", capacity=50, refill_rate=0)
        await qf.quotas.override("api", "gone", capacity=60, refill_rate=0)
        await qf.store.remove_override("api", "gone")  # Redis did not hear of it
        valkey.client().script_flush()
        assert (await qf.acquire("api", cost=50, key="vip/1")).allowed
        assert (await qf.acquire("api", cost=50, key="gone")).reason is Reason.IMPOSSIBLE
        valkey.client().flushall()
        assert (await qf.acquire("api", cost=50, key="vip/1")).allowed
        await qf.quotas.remove("api")
        assert await qf.store.overrides() == []


async def counters_in_sql(qf: Quotaflow, *, allowed: int) -> bool:
    return [snapshot.allowed for snapshot in await qf.store.snapshots()] == [allowed]


async def test_a_quota_deleted_in_sql_does_not_rise_again(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    settings = make_settings(valkey.url)
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        await qf.store.delete_quota("api")
        valkey.client().script_flush()
        with pytest.raises(QuotaflowError, match="api"):
            await qf.acquire("api")
    assert settings.redis.url == valkey.url
    assert valkey.client().exists(keys.quota("api")) == 0


async def test_somebody_loading_the_same_text_does_not_open_the_gate(
    make_settings: MakeSettings, registry: Registry
) -> None:
    """
    After a restart a stranger loads exactly our scripts before we are back: no NOSCRIPT would tell, the server does.
    """
    with ValkeyProcess(appendfsync="always") as server:
        async with Quotaflow.open(make_settings(server.url, QUOTAS)) as qf:
            await qf.acquire("api")
            before = qf._base.fence.number
            server.kill()
            server.start()
            for script in assemble_all(before).values():
                server.client().script_load(script.text)
            await until(lambda: served(qf))
            assert (await qf.acquire("api")).remaining == 8
            assert qf._base.fence.number == before + 1


async def served(qf: Quotaflow) -> bool:
    """The first call may meet a connection that died: what became of it is unknown, and it says so."""
    try:
        return (await qf.acquire("api", cost=0)).allowed
    except Unavailable:
        return False


async def test_a_cut_append_only_file_fires_no_tick_twice(
    make_settings: MakeSettings, registry: Registry
) -> None:
    """
    SQL knows more ticks than the rolled-back Redis: its cursor is moved up before anybody may claim.
    """
    started: list[int] = []

    @SchedulerTask(id="each_second", name="Each second", cron="* * * * * *")
    async def each_second() -> None:
        started.append(1)

    with ValkeyProcess(appendfsync="always") as server:
        settings = make_settings(server.url, {"api": (100.0, 0.0)})
        async with Quotaflow.open(settings, role="daemon") as qf:
            size = size_of_aof(server)
            async with qf.working():
                await until(lambda: traces_in_sql(qf, at_least=2))
            await qf.acquire("api", cost=5)
            await until(lambda: counters_in_sql(qf, allowed=1))
        server.kill()
        cut(server, size)
        server.start()
        assert server.client().hget(keys.task("each_second"), "last_tick") is None, (
            "the cut took the cursor back"
        )
        async with Quotaflow.open(settings, role="daemon") as qf:
            async with qf.working():
                await until(lambda: traces_in_sql(qf, at_least=4))
            traces = (await qf.store.list_traces(limit=100)).items
            moments = [trace.scheduled_for_us for trace in traces]
            assert len(moments) == len(set(moments))
            assert (await qf.store.counts()).double_claims == 0
            level = (await qf.quotas.get("api")).level
            assert level is not None
            assert level.allowed == 1, "the counter did not go back"


async def traces_in_sql(qf: Quotaflow, *, at_least: int) -> bool:
    return len((await qf.store.list_traces(limit=100)).items) >= at_least


def size_of_aof(server: ValkeyProcess) -> int:
    return server.aof_files()[-1].stat().st_size


def cut(server: ValkeyProcess, size: int) -> None:
    file: Path = server.aof_files()[-1]
    with file.open("r+b") as handle:
        handle.truncate(size)


async def test_a_run_that_redis_forgot_is_closed_as_lost(
    make_settings: MakeSettings, registry: Registry
) -> None:
    """
    SQL says running, Redis knows nothing of it: recovery gives it a lease, and nobody renews that.
    """

    @LimitTask(id="long", name="Long", quota_name="api")
    async def long() -> None:
        await asyncio.sleep(3600)

    with ValkeyProcess(appendfsync="always") as server:
        settings = make_settings(server.url, QUOTAS, runner__shutdown_grace_s=0)
        async with Quotaflow.open(settings, role="daemon") as qf, qf.working():
            run_id = (await qf.trigger("long")).run_id
            await until(lambda: status_in_sql(qf, run_id, Status.RUNNING))
            # The daemon dies here as far as Redis and SQL can see: its outcome is never written.
            qf._base.working.leases._held = list
            server.client().flushall()
            assert (await qf.acquire("api")).allowed
            server.client().zadd(keys.RUNNING, {run_id: 1})
            await until(lambda: status_in_sql(qf, run_id, Status.LOST))


async def status_in_sql(qf: Quotaflow, run_id: str, status: Status) -> bool:
    return [
        trace.status for trace in (await qf.store.list_traces(limit=10)).items if trace.run_id == run_id
    ] == [status]


async def test_a_redis_of_another_store_is_refused(
    valkey: ValkeyProcess, make_settings: MakeSettings, tmp_path: Path
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)):
        pass
    stranger = make_settings(valkey.url, data_dir=str(tmp_path / "other"))
    with pytest.raises(StoreMismatch, match="another quotaflow store"):
        async with Quotaflow.open(stranger):
            pass


async def test_recovering_twice_changes_nothing(valkey: ValkeyProcess, make_settings: MakeSettings) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        await qf.acquire("api", cost=3)
        client = valkey.client()
        client.script_flush()
        await qf.acquire("api", cost=0)
        once = {key: client.dump(key) for key in client.keys("qf:{p0}:quota:*")}
        client.script_flush()
        await qf.acquire("api", cost=0)
        assert {key: client.dump(key) for key in client.keys("qf:{p0}:quota:*")} == once
        assert (await qf.acquire("api", cost=0)).remaining == 7
