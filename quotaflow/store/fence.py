"""The lock under which one process at a time recovers Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from quotaflow.errors import Recovering
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock

LONGEST_S = 3_600.0  # a recovery that takes longer has hung, and others must get their chance


@asynccontextmanager
async def hold_fence(database: Database, local: asyncio.Lock) -> AsyncIterator[None]:
    """Hold the fence: `local` keeps out this process, so that only one of its connections ever waits.

    :raises Recovering: somebody else held it for the whole deadline.
    """
    async with AsyncExitStack() as held:
        try:
            async with asyncio.timeout(database.deadline_s):
                await held.enter_async_context(local)
                if database.is_postgres:
                    connection = await held.enter_async_context(database.write(deadline_s=LONGEST_S))
                    await lock(connection, Lock.FENCE)
        except TimeoutError:
            raise Recovering("another process is recovering Redis; try again shortly") from None
        yield
