"""Turns: what concurrent callers of one turn of the event loop ask becomes one script call.

Duties:
1. Send at the end of the turn, or before it at 64 waiting, on the next free lane. With nothing on its way, send at half
   of those who came lately: the two halves then take turns, and neither Redis nor this process waits for the other.
2. Give every caller its own answer; a batch that fails fails its own callers only.
3. Insist, for those who have gone or were told that nobody knows, that what was done for them is undone.
"""

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.limiter.fence import Fence
from quotaflow.log import Event, get_logger
from quotaflow.timing import Clock

log = get_logger(room="limiter")

BATCH = 64  # larger batches block Redis for longer and gain little
LANES = 8  # batches on their way at once
RECALL_S = 30.0  # how long to try to learn what a call did and to undo it; the server remembers for 60 s
RECALL_PAUSE_S = 0.2
RECALLS = 2  # at a time: hundreds that make new connections at once would keep each other from it
MOST_WAITING = 20_000  # callers; beyond this they are turned away at once

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# One caller, and until when (monotonic) the answer is wanted.
Ask = tuple[Item, float, asyncio.Future[Answer]]


class Turns(ABC, Generic[Item, Answer]):
    """Gathers what is asked; a subclass sends it."""

    most = BATCH  # asked in one call

    def __init__(self, fence: Fence, clock: Clock, *, deadline_s: float) -> None:
        self._fence = fence
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._waiting: deque[Ask[Item, Answer]] = deque()
        self._lanes = itertools.count()
        self._free = [self._new_lane() for _ in range(LANES)]
        self._under_way: set[asyncio.Task[None]] = set()
        self._recalls = asyncio.Semaphore(RECALLS)
        self._flush_is_due = False
        self._newest = 1  # how many the last batch asked for
        self._half = 1  # the mean of the last two
        self._enough = 1  # callers need not wait for the end of the turn
        self._until_s = 0.0  # when answers are wanted that are asked for in this turn
        self.batches = 0
        self.asked = 0
        self.returned = 0
        self.unreturned = 0

    def _new_lane(self) -> str:
        """Name a lane. One whose last answer nobody heard is left to those who ask for it."""
        return str(next(self._lanes))

    @abstractmethod
    def _send(self, lane: str, batch: list[Ask[Item, Answer]]) -> Coroutine[Any, Any, None]:
        """Ask for a batch now; what is returned answers each of it, and lands the lane."""

    def ask(self, item: Item) -> "asyncio.Future[Answer]":
        """Ask, and hold the answer as a future; cancelling it before it is done is enough.

        :raises Unavailable: too many callers are waiting.
        """
        if not self._flush_is_due:
            self._flush_is_due = True
            self._until_s = self._clock.mono_s() + self._deadline_s
            self._loop.call_soon(self._end_turn)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, self._until_s, answer))
        if len(self._waiting) >= self._enough:
            self._flush()
            if len(self._waiting) > MOST_WAITING:
                self._waiting.pop()
                raise Unavailable(f"{MOST_WAITING:,} callers are waiting for Redis already")
        return answer

    def statistics(self) -> dict[str, int]:
        """Return how many callers wait, and what was done so far."""
        return {
            "waiting": len(self._waiting),
            "batches": self.batches,
            "asked": self.asked,
            "returned": self.returned,
            "unreturned": self.unreturned,
        }

    async def drain(self) -> None:
        """Return when nothing is on its way, or after the deadline: then who waits is told, and the rest is counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s):
                while self._under_way:
                    await asyncio.wait(self._under_way)
        fail(self._waiting, Unavailable("stopping"))
        self._waiting.clear()
        late = set(self._under_way)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _end_turn(self) -> None:
        self._flush_is_due = False
        self._flush()

    def _flush(self) -> None:
        while self._waiting and self._free:
            count = min(self.most, len(self._waiting))
            if batch := [ask for _ in range(count) if not (ask := self._waiting.popleft())[2].done()]:
                self._start(self._take_off(len(batch)), batch)

    def _start(self, lane: str, batch: list[Ask[Item, Answer]]) -> None:
        self._half = (self._newest + len(batch) + 1) // 2
        self._newest = len(batch)
        try:
            self._later(self._send(lane, batch))
        except Exception as error:  # noqa: BLE001  whoever asked must hear of it
            fail(batch, error)
            self._put_back(lane)

    def _take_off(self, count: int) -> str:
        """Take a lane for a call that asks for so many."""
        self.asked += count
        self.batches += 1
        lane = self._free.pop()
        self._enough = self.most if self._free else MOST_WAITING + 1
        return lane

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _put_back(self, lane: str) -> None:
        self._free.append(lane)
        self._enough = self._half if len(self._free) == LANES else self.most

    def _landed(self, lane: str) -> None:
        self._put_back(lane)
        if self._waiting:
            self._flush()

    async def _insist(self, name: str, script_keys: Sequence[str], args: Sequence[str], count: int) -> Any:
        """Run a script until it is answered; None after RECALL_S, or when stopped: then `count` is unreturned."""
        try:
            # Also the wait for a turn counts: after 60 s the server would take a repeated release for a new one.
            async with asyncio.timeout(RECALL_S):
                while True:
                    with contextlib.suppress(Unavailable):
                        async with self._recalls:
                            return await self._fence.run(name, script_keys, args)
                    await self._clock.sleep(RECALL_PAUSE_S)
        except (TimeoutError, QuotaflowError, asyncio.CancelledError) as error:
            self.unreturned += count
            log.warning(Event.REDIS_AWAY, error=str(error) or "no answer", unreturned=count)
            if isinstance(error, asyncio.CancelledError):
                raise
            return None


def fail(batch: Iterable[Ask[Any, Any]], error: Exception) -> None:
    """Answer everybody with an error."""
    for _, _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
