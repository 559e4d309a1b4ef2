"""The lock under which one process at a time recovers Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Recovering
from quotaflow.store import postgres
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock
from quotaflow.timing import to_the_end

BEATS = 10  # in a deadline; a holder that is silent for postgres.SILENT of it is taken for frozen
LONGEST_S = 3_600.0  # a recovery that takes longer has hung, and others must get their chance


@asynccontextmanager
async def hold_fence(database: Database, local: asyncio.Lock) -> AsyncIterator[None]:
    """Hold the fence: `local` keeps out this process, so that only one of its connections ever waits.

    A holder that is frozen loses it after the deadline; the incarnation then tells its late writes from good ones.

    :raises Recovering: somebody else held it for the whole deadline, or it was lost.
    """
    over = asyncio.Event()
    async with AsyncExitStack() as held:
        beating: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(database.deadline_s):
                await held.enter_async_context(local)
                if database.is_postgres:
                    connection = await held.enter_async_context(database.write(deadline_s=LONGEST_S))
                    await lock(connection, Lock.FENCE)
                    beating = asyncio.create_task(_beat(connection, database.deadline_s, over))
        except TimeoutError:
            raise Recovering("another process is recovering Redis; try again shortly") from None
        try:
            yield
        finally:
            over.set()  # not cancelled: a beat cut off under way takes its transaction with it
            if beating is not None:
                await to_the_end(asyncio.wait([beating]))
        if beating is not None and beating.exception() is not None:
            raise Recovering("the fence was lost while Redis was recovered; it is recovered again")


async def _beat(connection: AsyncConnection, deadline_s: float, over: asyncio.Event) -> None:
    """Show the server that we live: it ends a transaction in which nobody stirs."""
    while not over.is_set():
        async with asyncio.timeout(deadline_s):
            await postgres.stir(connection, deadline_s * postgres.SILENT)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), deadline_s / BEATS)
