"""How things end: in time, quietly where nothing can be done about it, and with the error that caused it."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from quotaflow.errors import QuotaflowError
from quotaflow.log import Event, get_logger

log = get_logger(room="flow")

STOP_S = 10.0  # for the last batch; what is left stays in Redis and is flushed by the next


async def within(pool: asyncio.Task[None], grace_s: float, interrupt: Callable[[], None]) -> None:
    """Let the pool finish; interrupt it when the grace is over."""
    done, _ = await asyncio.wait([pool], timeout=grace_s)
    if not done:
        interrupt()
        await asyncio.wait([pool], timeout=STOP_S)


async def quietly(work: Coroutine[Any, Any, Any], deadline_s: float) -> None:
    """Do one last thing; a failure is told and stops nothing."""
    try:
        async with asyncio.timeout(deadline_s):
            await work
    except (QuotaflowError, TimeoutError, OSError) as error:
        log.warning(Event.JOURNAL_FAILED, error=str(error) or "not finished in time; it stays in Redis")


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """Let a single error leave a task group as itself: what the caller's block raised, or what went wrong here."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        if len(leaves) > 1:
            raise
        raise leaves[0] from leaves[0].__cause__


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
