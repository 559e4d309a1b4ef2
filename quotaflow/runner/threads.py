"""Plain functions in threads of their own, which can be given up."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future


async def in_thread(work: Callable[[], None]) -> None:
    """Call it in a new thread and wait until it has ended, or until this wait is cancelled.

    It is a daemon thread: one that was given up never keeps the process from ending. Threads of a pool would be
    waited for, and would run out.
    """
    ended: Future[BaseException | None] = Future()
    ended.set_running_or_notify_cancel()  # so that cancelling the wait does not cancel it
    context = contextvars.copy_context()

    def main() -> None:
        ended.set_result(context.run(_error_of, work))

    threading.Thread(target=main, name="quotaflow task", daemon=True).start()
    if (error := await asyncio.wrap_future(ended)) is not None:
        raise error


def _error_of(work: Callable[[], None]) -> BaseException | None:
    """As a value: a future cannot carry StopIteration."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001  raised again on the loop
        return error
    return None
