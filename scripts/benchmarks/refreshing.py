"""The process that `scripts/bench refresh` measures: refreshes when it is told to, ours or one key after the other."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import event

from benchmarks.children import Answer, params, say
from quotaflow import Quotaflow
from quotaflow.settings import load
from quotaflow.store import Store
from quotaflow.store.tables import upstream_keys

IS_OURS = ContextVar("IS_OURS", default=False)
STAGES = ("select", "secrets", "ask", "write", "pools", "rest", "all", "CPU of all")


async def refresh(qf: Quotaflow, stages: defaultdict[str, float]) -> Answer:
    """Do what is measured, once; the stages are those of this call alone."""
    stages.clear()
    began, cpu = time.perf_counter(), time.process_time()
    with watched(qf.store) as seen:
        report = await qf.upstream.refresh()
    took = time.perf_counter() - began
    stages["all"], stages["CPU of all"] = took, time.process_time() - cpu
    stages["ask"] -= stages["secrets"]  # they are opened while it is asked
    stages["rest"] = took - sum(stages[stage] for stage in ("select", "secrets", "ask", "write", "pools"))
    assert report.success == report.total_keys, report.errors[:3]
    return {"took_s": took, "stages_ms": {stage: stages[stage] * 1e3 for stage in STAGES}, **seen}


async def serial(qf: Quotaflow, count: int) -> Answer:
    """One select; then for each key one call, one UPDATE and one commit, each awaited before the next begins."""
    import httpx  # noqa: PLC0415  the first refresh shall pay for it

    url, database = qf.settings.upstream.all_providers["tavily"].url, qf.store._database
    began = time.perf_counter()
    keys = await qf.store.all_upstream_keys()
    async with httpx.AsyncClient(timeout=30) as client:
        for key in keys[:count]:
            headers = {"Authorization": f"Bearer {qf._base.pooling.vault.open(key.sealed)}"}
            plan = (await client.get(url, headers=headers)).raise_for_status().json()["account"]
            used, limit = plan["plan_usage"] * 1_000_000, plan["plan_limit"] * 1_000_000
            statement = upstream_keys.update().where(upstream_keys.c.id == key.id)
            async with database.write() as connection:
                await connection.execute(
                    statement.values(used_micro=used, plan_limit_micro=limit, remaining_micro=limit - used)
                )
    return {"took_s": time.perf_counter() - began}


@contextmanager
def watched(store: Store) -> Iterator[dict[str, int]]:
    """Count selects on upstream_keys, and transactions that wrote to it: those of the block, not what else goes on."""
    seen = {"selects": 0, "writing": 0}
    ours = IS_OURS.set(True)

    def execute(connection: Any, _cursor: object, statement: str, *_: object) -> None:
        if upstream_keys.name in statement and IS_OURS.get():
            is_select = statement.startswith("SELECT")
            seen["selects"] += is_select
            connection.info["wrote"] = not is_select

    def commit(connection: Any) -> None:
        seen["writing"] += connection.info.pop("wrote", False)

    engines = [engine.sync_engine for engine in store._database._engines]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", execute)
        event.listen(engine, "commit", commit)
    try:
        yield seen
    finally:
        IS_OURS.reset(ours)
        for engine in engines:
            event.remove(engine, "before_cursor_execute", execute)
            event.remove(engine, "commit", commit)


def time_stages(qf: Quotaflow) -> defaultdict[str, float]:
    """Note from now on how long the parts of a refresh take."""
    from quotaflow.upstream.services import Services  # noqa: PLC0415  the first refresh shall pay for it

    stages: defaultdict[str, float] = defaultdict(float)
    pools, vault = qf._base.pooling.pools, qf._base.pooling.vault
    places: list[tuple[Any, str, str]] = [
        (qf.store, "all_upstream_keys", "select"),
        (Services, "ask", "ask"),
        (qf.store, "write_checked", "write"),
        (pools, "marks", "pools"),
        (pools, "check", "pools"),
    ]
    for holder, name, stage in places:
        setattr(holder, name, timed(getattr(holder, name), stages, stage))
    opened = vault.open

    def open_timed(sealed: str) -> str:
        began = time.perf_counter()
        secret = opened(sealed)
        stages["secrets"] += time.perf_counter() - began
        return secret

    vault.open = open_timed  # type: ignore[method-assign]
    return stages


def timed(
    work: Callable[..., Awaitable[Any]], stages: defaultdict[str, float], stage: str
) -> Callable[..., Awaitable[Any]]:
    """Add up how long it takes."""

    async def measured(*args: Any) -> Any:
        began = time.perf_counter()
        found = await work(*args)
        stages[stage] += time.perf_counter() - began
        return found

    return measured


async def main() -> None:
    """Do what each line says until there is none."""
    given = params()
    settings = load(Path(given["config"]), environ={"QUOTAFLOW_UPSTREAM__SECRET_KEY": given["secret_key"]})
    async with Quotaflow.open(settings) as qf:
        say(ready=True)
        stages: defaultdict[str, float] | None = None
        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            if line[0] == "serial":
                say(**await serial(qf, int(line[1])))
            elif stages is None:
                say(**await refresh(qf, defaultdict(float)))
                stages = time_stages(qf)
            else:
                say(**await refresh(qf, stages))


if __name__ == "__main__":
    uvloop.run(main())
