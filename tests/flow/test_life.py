"""Opening, serving, failing and closing, on real servers."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quotaflow import LimitCallTask, LimitTask, NotOpen, QuotaExceeded, Quotaflow, SchedulerTask, Unavailable
from quotaflow.errors import ConfigError, InvalidInput, NotFound, StoreLocked
from quotaflow.model import Decision, Reason, Status, Trigger, make_quota
from quotaflow.redis_server.locks import FileLock
from quotaflow.runner.registry import Registry
from quotaflow.store import TraceFilter
from tests.flow.conftest import MakeSettings
from tests.flow.test_recovery import QUOTAS, served, until
from tests.servers import ValkeyProcess


async def test_a_library_alone_starts_the_embedded_server_and_stops_it_at_the_end(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(quotas={"api": (2.0, 0.0)})
    lock = FileLock(settings.data_dir / "redis.lock")
    async with Quotaflow.open(settings) as qf:
        assert [(await qf.acquire("api")).allowed for _ in range(3)] == [True, True, False]
        assert not lock.try_acquire()
    assert lock.try_acquire(), "the last one out stopped the server"
    lock.release()
    async with Quotaflow.open(settings) as qf:
        assert not (await qf.acquire("api")).allowed, "what was taken stays taken"


async def test_a_library_joins_a_daemon_and_leaves_its_server_alone(make_settings: MakeSettings) -> None:
    settings = make_settings(quotas={"api": (5.0, 0.0)})
    async with Quotaflow.open(settings, role="daemon") as daemon:
        async with Quotaflow.open(settings) as library:
            assert (await library.acquire("api", cost=2)).remaining == 3
            with pytest.raises(NotOpen, match="no store"):
                _ = library.quotas
        assert (await daemon.acquire("api")).remaining == 2


async def test_who_stays_longest_stops_the_server(make_settings: MakeSettings) -> None:
    settings = make_settings(quotas={"api": (5.0, 0.0)})
    lock = FileLock(settings.data_dir / "redis.lock")
    daemon = Quotaflow.open(settings, role="daemon")
    await daemon.__aenter__()
    async with Quotaflow.open(settings) as library:
        await daemon.__aexit__(None, None, None)
        assert not lock.try_acquire()
        assert (await library.acquire("api")).allowed
    assert lock.try_acquire()
    lock.release()


async def test_a_second_daemon_on_one_directory_is_refused_with_the_reason(
    make_settings: MakeSettings,
) -> None:
    async with Quotaflow.open(make_settings(), role="daemon"):
        with pytest.raises(StoreLocked, match="another daemon"):
            async with Quotaflow.open(make_settings(), role="daemon"):
                pass


async def test_a_second_daemon_on_one_sqlite_store_is_refused_with_the_way_out(
    valkey: ValkeyProcess, make_settings: MakeSettings, tmp_path: Path
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/shared.db"
    async with Quotaflow.open(make_settings(valkey.url, store__url=url), role="daemon"):
        other = make_settings(valkey.url, store__url=url, data_dir=str(tmp_path / "other"))
        with pytest.raises(StoreLocked, match="PostgreSQL"):
            async with Quotaflow.open(other, role="daemon"):
                pass


async def test_what_the_block_raises_leaves_it_as_itself(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Quotaflow.open(make_settings(valkey.url), role="daemon") as qf, qf.working():
            raise ZeroDivisionError


async def test_no_redis_is_one_line(make_settings: MakeSettings, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Redis cannot be reached") as caught:
        async with Quotaflow.open(make_settings(f"unix://{tmp_path}/nobody.sock")):
            pass
    assert "\n" not in str(caught.value)


async def test_an_unfit_redis_is_refused_with_the_command_that_mends_it(make_settings: MakeSettings) -> None:
    with ValkeyProcess(appendonly=False) as server:
        with pytest.raises(ConfigError, match="CONFIG SET appendonly yes"):
            async with Quotaflow.open(make_settings(server.url)):
                pass
        async with Quotaflow.open(
            make_settings(server.url, {"api": (1.0, 0.0)}, redis__persistence="warn")
        ) as qf:
            assert (await qf.acquire("api")).allowed


async def test_a_dead_embedded_server_is_started_again_with_its_data(make_settings: MakeSettings) -> None:
    async with Quotaflow.open(make_settings(quotas={"api": (5.0, 0.0)}), role="daemon") as qf:
        await qf.acquire("api", cost=2)
        info = await qf._base.plain.info("server")
        await asyncio.sleep(1.1)  # appendfsync everysec: what is older than a second is on disk
        import os  # noqa: PLC0415

        os.kill(info["process_id"], 9)
        await until(lambda: served(qf))
        assert (await qf.acquire("api", cost=3)).remaining == 0


async def test_redis_gone_and_back_keeps_the_ticks_and_says_so_meanwhile(
    make_settings: MakeSettings, registry: Registry
) -> None:
    """
    While Redis is away the process is not ready; within 2 s of its return it is, and no moment is missing.
    """

    @SchedulerTask(id="t", name="T", cron="* * * * * *", misfire="catchup(100)")
    async def tick() -> None:
        pass

    with ValkeyProcess(appendfsync="always") as server:
        async with (
            Quotaflow.open(make_settings(server.url, redis__deadline_s=2.0), role="daemon") as qf,
            qf.working(),
        ):
            await until(lambda: ready(qf))
            server.kill()
            await until(lambda: unready(qf))
            await asyncio.sleep(2)  # two real moments pass while nobody can claim them
            server.start()
            began = asyncio.get_running_loop().time()
            await until(lambda: ready(qf))
            assert asyncio.get_running_loop().time() - began < 5
            traces = TraceFilter(task_id="t", status=Status.OK)
            await until(lambda: enough(qf, traces, 4))
            moments = sorted(
                trace.scheduled_for_us or 0 for trace in (await qf.store.list_traces(traces)).items
            )
            assert moments == list(range(moments[0], moments[-1] + 1, 1_000_000))


async def ready(qf: Quotaflow) -> bool:
    return (await qf.statistics.readiness()).is_ready


async def unready(qf: Quotaflow) -> bool:
    return not await ready(qf)


async def enough(qf: Quotaflow, wanted: TraceFilter, count: int) -> bool:
    return len((await qf.store.list_traces(wanted)).items) >= count


async def test_several_quotas_at_once_all_or_none(valkey: ValkeyProcess, make_settings: MakeSettings) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"a": (5.0, 0.0), "b": (1.0, 0.0)})) as qf:
        assert (await qf.acquire({"a": 2, "b": 1})).allowed
        refused = await qf.acquire({"a": 2, "b": 1})
        assert (refused.allowed, refused.quota_id, refused.reason) == (False, "b", Reason.LIMITED)
        assert (await qf.acquire("a", cost=3)).allowed


@pytest.mark.parametrize(
    "cost",
    [
        float("nan"),
        float("inf"),
        -1,
        1e308,
        9e9 + 1,
        True,
        "1",
        None,
        1e-7,
        0.0000015,
        10**400,
        Decimal("sNaN"),
    ],
)
async def test_a_cost_that_is_none_is_refused_and_nothing_taken(
    valkey: ValkeyProcess, make_settings: MakeSettings, cost: object
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"a": (5.0, 0.0)})) as qf:
        with pytest.raises(InvalidInput) as caught:
            await qf.acquire("a", cost=cost)  # type: ignore[arg-type]
        assert caught.value.field == "cost"
        assert (await qf.acquire("a", cost=0)).remaining == 5


async def test_a_quota_changed_at_run_time_acts_at_once(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"a": (5.0, 0.0)})) as qf:
        assert (await qf.quotas.change("a", capacity=2)).level.remaining == 2  # type: ignore[union-attr]
        assert (await qf.quotas.change("a", capacity=9)).level.remaining == 2  # type: ignore[union-attr]
        assert (await qf.quotas.refill("a")).level.remaining == 9  # type: ignore[union-attr]
        await qf.quotas.change("a", enabled=False)
        assert (await qf.acquire("a")).reason is Reason.DISABLED
        await qf.quotas.remove("a")
        with pytest.raises(NotFound):
            await qf.acquire("a")


async def test_a_value_set_at_run_time_outlives_a_restart_until_its_declaration_changes(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, {"a": (5.0, 0.0)})) as qf:
        await qf.quotas.change("a", capacity=7)
    async with Quotaflow.open(make_settings(valkey.url, {"a": (5.0, 0.0)})) as qf:
        assert (await qf.quotas.get("a")).quota.capacity == 7
    async with Quotaflow.open(make_settings(valkey.url, {"a": (6.0, 0.0)})) as qf:
        assert (await qf.quotas.get("a")).quota.capacity == 6


async def test_a_name_that_differs_from_the_id_finds_the_quota(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @LimitTask(id="t", name="T", quota_name="获取:{股票}*")
    async def work() -> None:
        pass

    async with Quotaflow.open(make_settings(valkey.url), role="daemon") as qf, qf.working():
        await qf.quotas.create(make_quota(id="q-1", name="获取:{股票}*", capacity=1, refill_rate=0))
        assert (await qf.trigger("t")).answer.word == "granted"
        assert (await qf.trigger("t")).answer.word == "limited"
        assert (await qf.acquire("获取:{股票}*")).quota_id == "q-1"


async def test_calls_wait_in_line_then_are_refused_and_all_are_traced(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @LimitCallTask(id="quote", name="Quote", quota_name="api", max_wait=3)
    async def quote(symbol: str) -> str:
        return symbol.upper()

    @LimitCallTask(id="rare", name="Rare", quota_name="slow", max_wait=3)
    async def rare() -> None:
        pass

    with pytest.raises(NotOpen, match="open Quotaflow"):
        await quote("x")
    async with Quotaflow.open(make_settings(valkey.url, {"api": (1.0, 1.0), "slow": (1.0, 0.001)})) as qf:
        assert list(await asyncio.gather(quote("a"), quote("b"))) == ["A", "B"]
        await rare()
        with pytest.raises(QuotaExceeded) as caught:
            await rare()
        assert caught.value.retry_after is not None
        await until(lambda: enough(qf, TraceFilter(), 4))
        quotes = (await qf.store.list_traces(TraceFilter(task_id="quote"))).items
        assert [(trace.status, trace.trigger) for trace in quotes] == [(Status.OK, Trigger.CALL)] * 2
        assert max(trace.wait_ms or 0 for trace in quotes) > 500
        refused = (await qf.store.list_traces(TraceFilter(status=Status.LIMITED))).items
        assert [trace.task_id for trace in refused] == ["rare"]


async def test_the_first_calls_on_a_new_quota_all_find_it(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @LimitCallTask(id="call", name="Call", quota_name="a name of its own")
    async def call() -> bool:
        return True

    async with Quotaflow.open(make_settings(valkey.url)) as qf:
        await qf.quotas.create(make_quota(id="q-2", name="a name of its own", capacity=10, refill_rate=0))
        assert all(await asyncio.gather(*[call() for _ in range(5)]))


async def test_pausing_and_another_expression_act_at_once_and_survive_a_restart(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @SchedulerTask(id="t", name="T", cron="* * * * * *")
    async def tick() -> None:
        pass

    settings = make_settings(valkey.url)
    async with Quotaflow.open(settings, role="daemon") as qf, qf.working():
        await qf.tasks.pause("t", paused=True)
        await until(lambda: enough(qf, TraceFilter(status=Status.SKIPPED), 1))
        view = await qf.tasks.set_cron("t", "0 0 1 1 *")
        assert view.row.cron_override == "0 0 1 1 *"
        with pytest.raises(InvalidInput, match="cron"):
            await qf.tasks.set_cron("t", "61 * * * *")
    async with Quotaflow.open(settings, role="daemon") as qf, qf.working():
        view = await qf.tasks.get("t")
        assert (view.row.paused, view.row.cron_override) == (True, "0 0 1 1 *")
        view = await qf.tasks.set_cron("t", None)
        await qf.tasks.pause("t", paused=False)
        await until(lambda: enough(qf, TraceFilter(status=Status.OK), 1))


async def test_a_bad_schedule_stops_the_start_and_names_the_place(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @SchedulerTask(id="bad", name="Bad", cron="61 * * * *")
    async def bad() -> None:
        pass

    @SchedulerTask(id="worse", name="Worse", cron="0 0 * * *", timezone="Asia/Shangai")
    async def worse() -> None:
        pass

    async with Quotaflow.open(make_settings(valkey.url), role="daemon") as qf:
        with pytest.raises(ConfigError) as caught:
            async with qf.working():
                pass
    lines = str(caught.value).split("\n")
    assert len(lines) == 2
    assert "test_life.py" in lines[0]
    assert "Asia/Shanghai" in lines[1]


async def test_stopping_finishes_what_runs_and_interrupts_what_takes_too_long(
    valkey: ValkeyProcess, make_settings: MakeSettings, registry: Registry
) -> None:
    @LimitTask(id="quick", name="Quick", quota_name="api")
    async def quick() -> None:
        await asyncio.sleep(0.1)

    @LimitTask(id="endless", name="Endless", quota_name="api")
    async def endless() -> None:
        await asyncio.sleep(3600)

    settings = make_settings(valkey.url, {"api": (9.0, 0.0)}, runner__shutdown_grace_s=0.5)
    async with Quotaflow.open(settings, role="daemon") as qf:
        async with qf.working():
            for task_id in ("quick", "endless"):
                await qf.trigger(task_id)
            await asyncio.sleep(0)
        left = await qf.trigger("quick")  # for whoever works next
    async with Quotaflow.open(settings) as qf:
        ends = {trace.run_id: (trace.task_id, trace.status) for trace in (await qf.store.list_traces()).items}
        assert ends.pop(left.run_id) == ("quick", Status.WAITING)
        assert sorted(ends.values()) == [("endless", Status.INTERRUPTED), ("quick", Status.OK)]
        assert valkey.client().zcard("qf:{p0}:running") == 0


@pytest.mark.parametrize("wait", ["1", True, False, float("nan"), float("inf"), -1, None, 10**400])
async def test_a_wait_that_is_none_is_refused_also_when_there_is_nothing_to_wait_for(
    valkey: ValkeyProcess, make_settings: MakeSettings, wait: Any
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        with pytest.raises(InvalidInput, match="wait"):
            await qf.acquire("api", wait=wait)
        with pytest.raises(InvalidInput, match="wait"):
            await qf.acquire({"api": 1}, wait=wait)


async def test_costs_of_several_quotas_are_in_the_mapping_alone(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        for refused in ({"cost": 3}, {"wait": 1}):
            with pytest.raises(InvalidInput, match="mapping"):
                await qf.acquire({"api": 1}, **refused)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="at least one"):
            await qf.acquire({})
        with pytest.raises(InvalidInput, match="at most 64"):
            await qf.acquire({f"quota-{number}": 1 for number in range(65)})


@pytest.mark.parametrize("name", [None, 1, True, b"api", ("api",)])
async def test_a_name_that_is_no_text_is_refused_and_harms_nobody_beside_it(
    valkey: ValkeyProcess, make_settings: MakeSettings, name: Any
) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        asked = [qf.acquire("api", 0), qf.acquire({name: 1}), qf.acquire("api", 0)]
        first, wrong, last = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(wrong, InvalidInput)
        assert isinstance(first, Decision)
        assert first == last
        with pytest.raises(InvalidInput, match="quota must be"):
            await qf.acquire(name)
        with pytest.raises(InvalidInput, match="quota must be"):
            qf.slot(name)
        with pytest.raises(InvalidInput, match="quota must be"):
            qf.reserve(name, 1)


async def test_after_its_block_nothing_is_decided(valkey: ValkeyProcess, make_settings: MakeSettings) -> None:
    async with Quotaflow.open(make_settings(valkey.url, QUOTAS)) as qf:
        pass
    with pytest.raises(NotOpen, match="closed"):
        await qf.acquire("api")
