"""A whole quotaflow with its HTTP application, for tests that ask it over ASGI."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from redis import Redis

from quotaflow import LimitTask, Quotaflow, SchedulerTask
from quotaflow.edges.http.app import create_app
from quotaflow.model import Quota
from quotaflow.runner.registry import REGISTRY
from quotaflow.secret import hash_of
from quotaflow.settings import Settings, load
from tests.servers import PATIENCE_S, ValkeyProcess
from tests.stores import furnish

T = TypeVar("T")

TOKEN = "qf_admin_canary-4f1d9c"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class House:
    """An open Quotaflow, and two clients: one trusted, one over "TCP" without a token."""

    qf: Quotaflow
    redis: Redis
    client: httpx.AsyncClient
    stranger: httpx.AsyncClient

    async def quota(
        self, quota_id: str, capacity: float = 10, refill_rate: float = 1, **more: Any
    ) -> dict[str, Any]:
        """Create a quota over HTTP."""
        body = {"id": quota_id, "capacity": capacity, "refill_rate": refill_rate, **more}
        answer = await self.client.post("/api/quotas", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def plenty(self) -> None:
        """Make sure that the quota plenty exists, and is full."""
        if (await self.client.get("/api/quotas/plenty")).status_code == 404:
            await self.quota("plenty", capacity=1000, refill_rate=0)
        await self.client.post("/api/quotas/plenty/refill")

    async def token(self, **terms: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Make an access token of 100 units over HTTP; return it, and the header of who has it."""
        body = {"ws_id": "ws-1", "email": "anna@example.com", "operation": "unlimited"}
        units = {} if terms.get("quota_type") == "time" else {"quota_type": "count", "total_quota": 100}
        answer = await self.client.post("/api/tokens", json={**body, **units, **terms})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made, {"authorization": f"Bearer {made['secret']}"}

    async def written(self) -> tuple[list[Quota], dict[str, object]]:
        """Return every quota in SQL, and every definition, counter and level in Redis."""
        hashes = {key: self.redis.hgetall(key) for key in self.redis.scan_iter("qf:{p0}:quota:*", count=1000)}
        levels = {key: self.redis.get(key) for key in self.redis.scan_iter("qf:{p0}:level:*", count=1000)}
        return (await self.qf.store.list_quotas(limit=1000)).items, {**hashes, **levels}


def path_of(quota_id: str, *act: str) -> str:
    """Return the address of a quota, its id percent-encoded."""
    return "/".join(["/api/quotas", quote(quota_id, safe=""), *act])


def declare_tasks() -> None:
    """Declare the tasks that tests look at, far from their next tick."""

    @SchedulerTask(id="nightly", name="Nightly", cron="0 3 1 1 *")
    async def nightly() -> None:
        """Do nothing."""

    @LimitTask(id="fetch", name="获取", quota_name="for_tasks", cron="0 3 1 1 *", timezone="Asia/Shanghai")
    async def fetch() -> None:
        """Do nothing."""

    @LimitTask(id="fails", name="Fails", quota_name="plenty", cron="0 3 1 1 *")
    async def fails() -> None:
        raise ValueError("the moon is down")

    @LimitTask(id="greedy", name="Greedy", quota_name="plenty", cron="0 3 1 1 *", cost=1001)
    async def greedy() -> None:
        """Ask for more than there ever is."""

    @LimitTask(id="orphan", name="Orphan", quota_name="nobody", cron="0 3 1 1 *")
    async def orphan() -> None:
        """Never run."""


def settings_for(valkey: ValkeyProcess, directory: Path, **flags: Any) -> Settings:
    """Make settings: SQLite in the directory, no quotas."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.toml"
    config.write_text("")
    patient = {"redis__deadline_s": PATIENCE_S, "store__deadline_s": PATIENCE_S}
    usual = {"data_dir": str(directory / "data"), "http__port": 0, "redis__url": valkey.url}
    flags = {**usual, **patient, **flags}
    furnish(Path(flags["data_dir"]))
    return load(config, environ={}, **flags)


@contextlib.asynccontextmanager
async def opened(valkey: ValkeyProcess, directory: Path, **flags: Any) -> AsyncIterator[House]:
    """Open everything with the tasks above, as a daemon does."""
    before = list(REGISTRY)
    REGISTRY.clear()
    declare_tasks()
    try:
        async with (
            Quotaflow.open(settings_for(valkey, directory, **flags), role="daemon") as qf,
            qf.working(),
        ):
            qf.operators.set_admin(hash_of(TOKEN))
            inside = create_app(qf, trusted=True)
            outside = create_app(qf, trusted=False)
            async with asking(inside) as client, asking(outside) as stranger:
                with valkey.client() as redis:
                    yield House(qf, redis, client, stranger)
    finally:
        REGISTRY.clear()
        for task in before:
            REGISTRY.add(task)


def asking(app: Any, address: str = "127.0.0.1", host: str = "localhost") -> httpx.AsyncClient:
    """Make a client of an application that seems to come from an address."""
    transport = httpx.ASGITransport(app, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@contextlib.asynccontextmanager
async def held(context: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
    """Enter and leave a context in one task of its own: a fixture is set up and torn down in two."""
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        async with context() as value:
            entered.set_result(value)
            await leave.wait()

    holder = asyncio.create_task(hold())
    ended: set[asyncio.Future[Any]] = {holder, entered}
    await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    if holder.done():
        await holder
    yield entered.result()
    leave.set()
    await holder


async def until(true: Callable[[], Awaitable[object]], *, deadline_s: float = 60.0) -> None:
    """Ask every 5 ms; for what another task or process does in its own time."""
    async with asyncio.timeout(deadline_s):
        while not await true():
            await asyncio.sleep(0.005)
