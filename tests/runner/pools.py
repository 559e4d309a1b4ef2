"""What tests of the pool share: an outbox to look into, and small jobs."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from quotaflow.model import Status
from quotaflow.runner.pool import Pool
from quotaflow.runs import Outcome
from tests.runner.runs import a_run


class Collected:
    """An outbox that keeps what it gets; closed, it lets nobody go on."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.open = asyncio.Event()
        self.open.set()

    def deliver(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    async def wait_free(self) -> None:
        await self.open.wait()

    def endings(self) -> dict[str, Status]:
        """Return how each run ended; every run is here once."""
        assert max(Counter(outcome.run.run_id for outcome in self.outcomes).values(), default=1) == 1
        return {outcome.run.run_id: outcome.status for outcome in self.outcomes}


def put(pool: Pool, run_ids: Sequence[str], task_id: str = "t") -> None:
    for run_id in run_ids:
        pool.inbox.put(a_run(run_id, task_id))


async def quick() -> None:
    await asyncio.sleep(0)


async def endless() -> None:
    await asyncio.sleep(60)


async def worked_off(pool: Pool) -> None:
    """Let the pool do what is in it, and end."""
    pool.inbox.close()
    async with asyncio.timeout(30):
        await pool.run()


async def settled(running: Awaitable[Any]) -> None:
    async with asyncio.timeout(30):
        await asyncio.wait([asyncio.ensure_future(running)])


MakePool = Callable[..., Pool]
