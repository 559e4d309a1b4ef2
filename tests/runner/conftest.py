"""What runner tests stand on: an empty registry, an application database, a real server, a pool."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaflow.control.closing import Closer
from quotaflow.model import make_quota
from quotaflow.runner.execute import Executor
from quotaflow.runner.pool import Pool
from quotaflow.runner.registry import REGISTRY, Registry
from quotaflow.runner.sessions import Sessions
from quotaflow.timing import ManualClock, SystemClock
from tests.limiter.conftest import Bench, bench_on
from tests.runner.desk import Desk, serving
from tests.runner.pools import Collected, MakePool
from tests.runner.runs import Notes
from tests.servers import ValkeyProcess


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    """Give the registry that decorators fill, empty."""
    before = list(REGISTRY)
    REGISTRY.clear()
    yield REGISTRY
    REGISTRY.clear()
    for task in before:
        REGISTRY.add(task)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Give an application database with an empty table `notes`."""
    return Notes(tmp_path / "app.db")


@pytest.fixture
async def sessions(notes: Notes) -> AsyncIterator[Sessions]:
    """Give sessions on `notes`."""
    made = Sessions(notes.url)
    yield made
    await made.close()


@pytest.fixture
def executor(sessions: Sessions) -> Executor:
    """Give an executor on the machine's clock."""
    return Executor(SystemClock(), sessions)


@pytest.fixture
async def bench(valkey: ValkeyProcess) -> AsyncIterator[Bench]:
    """Give a ready fence on an empty server; calls have a third of a second."""
    async with bench_on(valkey.url, deadline_s=0.3) as ready:
        yield ready


@pytest.fixture
async def closer(bench: Bench) -> Closer:
    """Give a closer of up to 3 unwritten outcomes; it is not running yet."""
    return Closer(bench.admission, SystemClock(), "me", size=3)


@pytest.fixture
async def market(bench: Bench) -> Bench:
    """Give a server with quotas: plenty in "Prices", whose id differs; one unit in two; a disabled one."""
    await bench.quotas.define(make_quota(id="prices-id", name="Prices", capacity=1000, refill_rate=0))
    await bench.quotas.define(make_quota(id="scarce", capacity=1, refill_rate=1))
    await bench.quotas.define(make_quota(id="brisk", capacity=1, refill_rate=20))
    await bench.quotas.define(make_quota(id="off", capacity=1, refill_rate=1, enabled=False))
    await bench.quotas.refresh_names()
    return bench


@pytest.fixture
async def desk(market: Bench) -> AsyncIterator[Desk]:
    """Give an open desk; its clock stands still."""
    async with serving(Desk(market, ManualClock())) as ready:
        yield ready


@pytest.fixture
async def outbox() -> Collected:
    """Give an outbox to look into."""
    return Collected()


@pytest.fixture
def make_pool(executor: Executor, outbox: Collected) -> MakePool:
    """Give a function that makes a pool of real workers in front of `outbox`."""

    def make(concurrency: int = 2, queue_size: int = 10, clock: Any = None, by: Executor = executor) -> Pool:
        return Pool(
            clock or SystemClock(),
            by,
            REGISTRY.get,
            outbox,
            concurrency=concurrency,
            queue_size=queue_size,
        )

    return make
