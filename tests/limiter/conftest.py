"""What limiter tests stand on: a real server, and a fence that is ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quotaflow.ids import Ids
from quotaflow.limiter import restore
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.allowances import Allowances
from quotaflow.limiter.batcher import Batcher
from quotaflow.limiter.charging import Charging
from quotaflow.limiter.client import connect
from quotaflow.limiter.fence import Fence, Raw
from quotaflow.limiter.incarnation import Incarnation
from quotaflow.limiter.quotas import QuotaState
from quotaflow.limiter.wire import Wire
from quotaflow.timing import SystemClock
from tests.servers import PATIENCE_S, ValkeyProcess


class InMemory:
    """Keeps the incarnation where a process without SQL can: in the test."""

    may_recover = True

    def __init__(self) -> None:
        self.current = Incarnation(0, None)
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        async with self._lock:
            yield

    async def read(self) -> Incarnation:
        return self.current

    async def write(self, incarnation: Incarnation) -> None:
        self.current = incarnation


class Bench:
    """A fence and what stands behind it, on one server."""

    def __init__(
        self, url: str, *, deadline_s: float = PATIENCE_S, backlog_max: int = 1000, requests_max: int = 1000
    ) -> None:
        self.client = connect(url, deadline_s=deadline_s, on_run_id=self.saw)
        self.plain = connect(url, deadline_s=deadline_s)
        self.wire = Wire(self.client)
        self.fence = Fence(self.wire, self.plain, InMemory(), deadline_s=deadline_s)
        self.batcher = Batcher(self.fence, SystemClock(), Ids(SystemClock()), deadline_s=deadline_s)
        self.ids = Ids(SystemClock())
        self.allowances = Allowances(self.fence, self.client, self.ids, request_ttl_s=3600)
        self.charging = Charging(
            self.fence,
            SystemClock(),
            self.ids,
            deadline_s=deadline_s,
            backlog_max=backlog_max,
            requests_max=requests_max,
        )
        self.quotas = QuotaState(self.fence, self.batcher, self.client, self.allowances)
        self.admission = Admission(
            self.fence, self.client, instance="me", lease_s=8, backlog_max=backlog_max, waiting_max=1000
        )

    def saw(self, run_id: str) -> None:
        self.fence.saw_run_id(run_id)

    async def recover(self, raw: Raw, run_id: str) -> None:
        await restore.write(raw, [], "store", run_id)


@asynccontextmanager
async def bench_on(url: str, **options: Any) -> AsyncIterator[Bench]:
    bench = Bench(url, **options)
    serving = asyncio.create_task(bench.fence.serve(bench.recover))
    try:
        await bench.fence.wait_ready(10)
        yield bench
    finally:
        await bench.batcher.drain()  # a call under way would put its connection back after all are closed
        await bench.charging.drain()
        serving.cancel()
        await asyncio.wait([serving])
        bench.wire.close()
        await bench.client.aclose()
        await bench.plain.aclose()


@pytest.fixture
async def bench(valkey: ValkeyProcess) -> AsyncIterator[Bench]:
    """Give a ready fence on an empty server."""
    async with bench_on(valkey.url) as ready:
        yield ready


@pytest.fixture
async def valkey_client(valkey: ValkeyProcess) -> AsyncIterator[Any]:
    """Give a connection to an empty real server."""
    client = connect(valkey.url, deadline_s=5)
    yield client
    await client.aclose()
