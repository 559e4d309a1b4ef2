"""Producer and consumers with a bounded queue between them; what a try costs is taken from a quota first."""

import asyncio
import contextlib
import itertools
import reprlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Generic, Protocol, Self, TypedDict, TypeVar

from quotaflow.amounts import check_id, cost_micro
from quotaflow.control.ending import unwrapped
from quotaflow.errors import InvalidInput, NotOpen, Unavailable
from quotaflow.limiter.waiting import insist
from quotaflow.log import Event, get_logger
from quotaflow.model import Decision, Reason
from quotaflow.runner.endings import text_of
from quotaflow.runner.options import FOREVER_S
from quotaflow.runner.retry import Retry
from quotaflow.timing import Clock, raise_if_cancelled

log = get_logger(room="queue")

MAX_SIZE = 1_000_000
MAX_WORKERS = 10_000  # as many as may wait for units in one process
ASK_AGAIN_S = 60.0  # units that are more than a day away: somebody may change the quota meanwhile

T = TypeVar("T")
Handler = Callable[[T], Awaitable[object]]


class Acquire(Protocol):
    """`Quotaflow.acquire`, as far as a queue needs it."""

    async def __call__(self, quota: str, cost: float, *, wait: float) -> Decision:
        """Take units, waiting at most `wait` seconds in arrival order."""
        ...


class QueueOptions(TypedDict, total=False):
    """How a queue works. What is left out is as it says here.

    maxsize: items that may wait in it, 1 to 1,000,000; 1. Those in the hands of a worker are not among them.
    workers: items that are worked on at the same time, 1 to 10,000; 1.
    quota: whose units each try takes first, waiting for them in arrival order; None takes nothing.
    cost: units, a multiple of 0.000001; 1.
    retry: what becomes of an item that fails; None tries once. Its worker keeps it while it rests before the next try.
    """

    maxsize: int
    workers: int
    quota: str | None
    cost: float
    retry: Retry | None


class WorkQueue(Generic[T]):
    """Items on their way to the workers, first come first served. Made by `Quotaflow.queue`, for one `async with`.

    Every item ends as done (`handler` returned), failed (for good: logged and counted), or dropped (an exception or a
    cancellation ended the block: their number is logged). Leaving the block otherwise waits until nothing is left.
    """

    def __init__(
        self,
        handler: Handler[T],
        acquire: Acquire,
        clock: Clock,
        *,
        maxsize: int = 1,
        workers: int = 1,
        quota: str | None = None,
        cost: float = 1,
        retry: Retry | None = None,
    ) -> None:
        _check(handler, maxsize, workers, retry)
        cost_micro(cost)
        self._handler = handler
        self._acquire = acquire
        self._clock = clock
        self._maxsize = maxsize
        self._workers = workers
        self._quota = None if quota is None else check_id(quota, field="quota")
        self._cost = cost
        self._retry = retry or Retry(attempts=1)
        self._items: asyncio.Queue[T] = asyncio.Queue()
        self._room = asyncio.Semaphore(maxsize)  # one permit less for each item that waits
        self._quiet = asyncio.Event()  # nothing is left, or nobody works any more
        self._block: contextlib.AbstractAsyncContextManager[None] | None = None
        self._is_open = False
        self._put = self._working = self._retried = self._limited = 0
        self._done = self._failed = self._dropped = 0

    async def put(self, item: T) -> None:
        """Add an item; wait while `maxsize` of them are in it. Handlers that all wait here wait for each other.

        :raises NotOpen: the block has ended, also while waiting; the item was not added.
        """
        self._check_open()
        await self._room.acquire()
        if not self._is_open:
            self._room.release()  # wakes the next who waits, who finds the same
            self._check_open()
        self._put += 1
        self._items.put_nowait(item)

    async def join(self) -> None:
        """Wait until every item is done or has failed.

        :raises NotOpen: the block ended before; what was left is dropped.
        """
        while self._left():
            self._check_open()
            self._quiet.clear()
            await self._quiet.wait()

    def statistics(self) -> dict[str, int]:
        """Return how full it is and what became of the items; `limited` counts tries that had to wait for units."""
        return {
            "size": self._items.qsize(),
            "maxsize": self._maxsize,
            "workers": self._workers,
            "working": self._working,
            "done": self._done,
            "failed": self._failed,
            "dropped": self._dropped,
            "retried": self._retried,
            "limited": self._limited,
        }

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise NotOpen("this queue was used already; make another")
        self._block = self._serving()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace) if self._block else None

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        self._is_open = True
        try:
            with unwrapped():
                async with asyncio.TaskGroup() as group:
                    workers = [group.create_task(self._work()) for _ in range(self._workers)]
                    try:
                        yield
                        await self.join()
                    finally:
                        self._close()
                        for worker in workers:
                            worker.cancel()
        finally:
            self._drop()

    def _close(self) -> None:
        """Take nothing new; who waits to put or to join is told."""
        self._is_open = False
        self._quiet.set()
        self._room.release()

    def _drop(self) -> None:
        """Count what is left when the last worker has ended."""
        while not self._items.empty():
            self._items.get_nowait()
        self._dropped = self._left()
        if self._dropped:
            log.warning(Event.QUEUE_DROPPED, dropped=self._dropped, done=self._done, failed=self._failed)

    def _left(self) -> int:
        return self._put - self._done - self._failed

    def _check_open(self) -> None:
        if not self._is_open:
            raise NotOpen("this queue is closed; use it inside its `async with`")

    async def _work(self) -> None:
        while self._is_open:
            item = await self._items.get()
            self._room.release()
            self._working += 1
            try:
                error = await _error_of(self._serve(item))
            finally:
                self._working -= 1
            if error is None:
                self._done += 1
            else:
                self._failed += 1
                log.error(
                    Event.QUEUE_ITEM_FAILED,
                    item=reprlib.repr(item),
                    error_type=type(error).__name__,
                    error=text_of(error),
                )
            if not self._left():
                self._quiet.set()

    async def _serve(self, item: T) -> None:
        """Try until it is done.

        :raises Exception: why it never will be.
        """
        for attempt in itertools.count(1):
            if attempt == 1 or self._retry.charge_each:
                await self._take()
            error = await _error_of(self._handle(item))
            if error is None:
                return
            now = datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)
            delay_s = self._retry.delay_s(attempt, error, now)
            if delay_s is None or not self._is_open:  # it may have answered a cancellation with its own error
                raise error
            self._retried += 1
            await self._clock.sleep(delay_s)

    async def _handle(self, item: T) -> None:
        await self._handler(item)

    async def _take(self) -> None:
        """Wait for the units of one try, however long Redis is away.

        :raises QuotaflowError: waiting does not help.
        """
        wait = 0.0
        while self._quota is not None:
            try:
                decision = await self._acquire(self._quota, self._cost, wait=wait)
            except Unavailable as error:
                await self._clock.sleep(error.retry_after)
                continue
            if decision.reason is not Reason.LIMITED or decision.retry_after is None:
                insist(decision, wait)
                return
            if wait:
                await self._clock.sleep(min(decision.retry_after, ASK_AGAIN_S))
            else:
                self._limited += 1
                wait = FOREVER_S


def _check(handler: object, maxsize: object, workers: object, retry: object) -> None:
    if not callable(handler):
        raise InvalidInput("handler must be an async function of one item", field="handler")
    for field, count, most in (("maxsize", maxsize, MAX_SIZE), ("workers", workers, MAX_WORKERS)):
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
            raise InvalidInput(f"{field} must be a whole number from 1 to {most}", field=field)
    if not isinstance(retry, Retry | None):
        raise InvalidInput("retry must be a Retry(...)", field="retry")


async def _error_of(work: Awaitable[None]) -> BaseException | None:
    """Return what it raised. A cancellation of our own task goes on; one that the work made up is its failure."""
    try:
        await work
    except asyncio.CancelledError as error:
        raise_if_cancelled()
        return error
    except Exception as error:  # noqa: BLE001  anything costs this item and not the worker
        return error
    return None
