"""Traces of limited calls: buffered, bounded, sent in batches; what the bounds keep out is counted as untraced."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from quotaflow.errors import QuotaflowError
from quotaflow.log import Event, get_logger
from quotaflow.timing import Clock

log = get_logger(room="journal")

BATCH = 256

Record = Callable[[Sequence[tuple[str, str]]], Awaitable[int]]


class Recorder:
    """Journals facts about calls: every one up to `per_second`, above that only failures."""

    def __init__(self, record: Record, clock: Clock, *, per_second: int, cap: int) -> None:
        self._record = record
        self._clock = clock
        self._per_second = per_second
        self._cap = cap
        self._facts: deque[tuple[str, str]] = deque()
        self._arrived = asyncio.Event()
        self._sending = asyncio.Lock()  # stopping drains while `run` may be doing the same
        self._second = -1
        self._this_second = 0
        self.untraced = 0

    def __len__(self) -> int:
        return len(self._facts)

    def note(self, event_id: str, fact: str, *, failed: bool) -> None:
        """Keep a fact for the next batch, or count it as untraced."""
        second = self._clock.wall_us() // 1_000_000
        if second != self._second:
            self._second, self._this_second = second, 0
        self._this_second += 1
        if (self._this_second > self._per_second and not failed) or len(self._facts) >= self._cap:
            self.untraced += 1
            return
        self._facts.append((event_id, fact))
        self._arrived.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                await self.drain()
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error), waiting=len(self._facts))
                self._arrived.set()
                await self._clock.sleep(0.2)

    async def drain(self) -> None:
        """Send everything that waits. A batch leaves the buffer when it is written; repeating one does no harm."""
        async with self._sending:
            while self._facts:
                batch = list(islice(self._facts, BATCH))
                if not await self._record(batch):
                    self.untraced += len(batch)  # the journal is full: counted, not kept
                for _ in batch:
                    self._facts.popleft()
