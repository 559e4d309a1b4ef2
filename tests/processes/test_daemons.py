"""Several daemons, killed at will: every due tick is in SQL exactly once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from quotaflow import Quotaflow
from quotaflow.model import Status
from quotaflow.store import TraceFilter
from tests.flow.conftest import MakeSettings, make_settings, registry
from tests.processes.support import kill, python, stop
from tests.servers import ValkeyProcess

__all__ = ["make_settings", "registry"]

TASKS = 50


@pytest.mark.timeout(300)
async def test_three_daemons_one_killed_half_way_run_every_tick_once(
    valkey: ValkeyProcess, postgres: str, tmp_path: Path
) -> None:
    """
    50 tasks due every second. The counting is SQL's: between the first and the last second that every task has, each
    (task, second) is there exactly once, and nothing claimed twice was parked as a double.
    """
    async with AsyncExitStack() as stack:
        daemons = []
        for name in ("one", "two", "three"):
            arguments = (valkey.url, postgres, str(tmp_path / name), str(TASKS))
            daemons.append(await stack.enter_async_context(python("tests.processes.ticking", *arguments)))
        await asyncio.sleep(3)  # real seconds: three real daemons have to live through them
        await kill(daemons[0])
        await asyncio.sleep(3)
        for daemon in daemons[1:]:
            await stop(daemon)
    async with sql(postgres) as connection:
        rows = await connection.fetch(
            """
            WITH bounds AS (
                SELECT max(first) AS low, min(last) AS high FROM (
                    SELECT min(scheduled_for) AS first, max(scheduled_for) AS last
                    FROM traces WHERE scheduled_for IS NOT NULL GROUP BY task_id
                ) AS each_task
            )
            SELECT task_id, count(*) AS ticks, count(DISTINCT scheduled_for) AS moments,
                   (extract(epoch FROM high - low) + 1)::int AS due
            FROM traces, bounds WHERE scheduled_for BETWEEN low AND high GROUP BY task_id, low, high
            """
        )
        doubles = await connection.fetchval("SELECT count(*) FROM dead_letters")
    assert len(rows) == TASKS
    assert {(row["ticks"], row["moments"]) for row in rows} == {(rows[0]["due"], rows[0]["due"])}
    assert rows[0]["due"] >= 4, "two of the six seconds may pass before all have begun"
    assert doubles == 0


@asynccontextmanager
async def sql(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect as a stranger would."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.timeout(300)
async def test_a_killed_daemon_loses_no_trace_of_a_claimed_tick(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    """
    kill -9 at three arbitrary moments; the next start finds every claim in the journal, and what was running is lost.
    """
    settings = make_settings(valkey.url)
    arguments = ("tests.processes.ticking", valkey.url, "", str(settings.data_dir), "20")
    for pause_s in (1.3, 1.15, 1.7):
        async with python(*arguments) as daemon:
            await asyncio.sleep(pause_s)
            await kill(daemon)
    client: Any = valkey.client()
    running = client.zrange("qf:{p0}:running", 0, -1)
    cursor = int(client.hget("qf:{p0}:task:t1", "last_tick") or 0)
    for run_id in running:
        client.zadd("qf:{p0}:running", {run_id: 1})  # let their leases run out now rather than in 8 s
    client.close()
    async with Quotaflow.open(settings) as qf:
        await qf._base.working.leases.sweep()
        await qf._storing.flusher.drain()  # type: ignore[union-attr]
        traces = (await qf.store.list_traces(TraceFilter(task_id="t1"), limit=100)).items
        moments = sorted(trace.scheduled_for_us or 0 for trace in traces)
        assert moments == list(range(moments[0], cursor + 1, 1_000_000)), (
            "every second up to the cursor, once"
        )
        assert {trace.status for trace in traces} <= {Status.OK, Status.LOST, Status.MISSED}
        assert await qf.store.open_runs() == []
        assert (await qf.store.counts()).double_claims == 0
