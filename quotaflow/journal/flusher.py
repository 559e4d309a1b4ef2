"""The flusher: oldest facts first, one SQL transaction, then the trim. Nothing leaves Redis before SQL has it.

A batch that was committed and not trimmed is read again; the store ignores what it knows. A fact that SQL refuses is
found by halving the batch and parked in dead_letters, so that it cannot hold up the others. A batch for which SQL was
too slow is tried again at half its size, or it would be too slow for ever.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from redis.exceptions import RedisError

from quotaflow.errors import Unavailable
from quotaflow.journal.fold import Fact, fold
from quotaflow.log import Event, get_logger
from quotaflow.records import Batch, DeadLetter
from quotaflow.timing import Clock, raise_if_cancelled

log = get_logger(room="journal")

PAGE = 64  # entries per read; an entry holds up to 256 facts
FULL = PAGE * 256  # facts in a page at most
GATHER_S = 0.02  # a partial batch waits this long for company
GIVE_WAY = (
    10  # times that long at most, it also lets runs start that are waiting to: they are late, facts are safe
)
READ_S = 5.0  # the deadline of one read
BLOCK_MS = 500  # how long one blocking read waits; stopping cancels it

Entry = tuple[str, dict[str, str]]  # stream id, facts by event id


class Stream(Protocol):
    """What is used of a Redis client that decodes its replies."""

    async def xrange(self, name: str, *, min: str = "-", count: int | None = None) -> list[Entry]:  # noqa: A002
        """Read entries in order."""
        ...

    async def xread(
        self, streams: dict[str, str], count: int | None = None, block: int | None = None
    ) -> object:
        """Wait for entries."""
        ...


Write = Callable[[Batch], Awaitable[object]]
Trim = Callable[["Portion"], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Portion:
    """Entries from the head of the stream."""

    first_id: str
    last_id: str
    first_event: str
    last_event: str
    entries: int
    facts: list[Fact]


def portion_of(entries: Sequence[Entry]) -> Portion | None:
    """Flatten stream entries into facts; None when there are none."""
    if not entries:
        return None
    return Portion(
        first_id=entries[0][0],
        last_id=entries[-1][0],
        first_event=next(iter(entries[0][1])),
        last_event=next(iter(entries[-1][1])),
        entries=len(entries),
        facts=[Fact(event_id, line) for _, fields in entries for event_id, line in fields.items()],
    )


def head_of(entries: Sequence[Entry], most: int) -> Sequence[Entry]:
    """Return the first entries with so many facts at most; at least one, as an entry is never split."""
    sizes = itertools.accumulate(len(fields) for _, fields in entries)
    return entries[: max(1, sum(size <= most for size in sizes))]


class Flusher:
    """Empties the stream into the store."""

    def __init__(
        self,
        client: Stream,
        stream: str,
        write: Write,
        trim: Trim,
        clock: Clock,
        *,
        batch: int,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make one.

        :param client: a connection of its own: it blocks in XREAD.
        :param batch: the number of facts aimed at in one transaction.
        :param is_busy: whether something more urgent wants this process now.
        """
        self._client = client
        self._stream = stream
        self._write = write
        self._trim = trim
        self._clock = clock
        self._batch = batch
        self._is_busy = is_busy
        self._one_at_a_time = asyncio.Lock()
        self.flushed = 0
        self.dead = 0
        self._most = FULL
        self.failing_since_s: float | None = None

    async def run(self, may_flush: Callable[[], bool]) -> None:
        """Flush whatever arrives while this process holds the duty, until cancelled."""
        pause = GATHER_S
        while True:
            try:
                if not may_flush():
                    await self._clock.sleep(GATHER_S)
                elif await self.flush_once() < self._batch:
                    await self._wait_for_facts()
                    await self._gather()
                pause = GATHER_S
            except (Unavailable, RedisError, OSError) as error:
                raise_if_cancelled()
                log.warning(Event.JOURNAL_FAILED, error=str(error))
                await self._clock.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def flush_once(self, trim: Trim | None = None) -> int:
        """Carry one batch to SQL and trim it; returns how many facts it had. Recovery brings a `trim` of its own."""
        async with self._one_at_a_time:
            portion = await self._read()
            if portion is None:
                return 0
            try:
                await self._store(portion.facts)
                self.failing_since_s = None
                self._most = min(FULL, self._most * 2)
            except Unavailable:
                self._most = max(1, len(portion.facts) // 2)
                self.failing_since_s = self.failing_since_s or self._clock.mono_s()
                raise
            await (trim or self._trim)(portion)
            self.flushed += len(portion.facts)
            return len(portion.facts)

    async def drain(self, trim: Trim | None = None) -> int:
        """Flush until the stream is empty; returns how many facts that were."""
        total = 0
        while some := await self.flush_once(trim):
            total += some
        return total

    async def oldest_age_s(self) -> float:
        """How long the oldest fact has been waiting; 0 when there is none.

        :raises Unavailable: Redis cannot be asked.
        """
        try:
            async with asyncio.timeout(READ_S):
                entries = await self._client.xrange(self._stream, count=1)
        except (RedisError, OSError) as error:  # a timeout is an OSError
            raise_if_cancelled()
            raise Unavailable(f"Redis cannot be reached: {error}") from error
        if not entries:
            return 0.0
        return max(0.0, self._clock.wall_us() / 1e6 - int(entries[0][0].split("-")[0]) / 1e3)

    async def _read(self) -> Portion | None:
        entries: list[Entry] = []
        count, start = 0, "-"
        while count < self._batch:
            async with asyncio.timeout(READ_S):
                page = await self._client.xrange(self._stream, min=start, count=PAGE)
            entries += page
            count += sum(len(fields) for _, fields in page)
            if len(page) < PAGE:
                break
            start = "(" + page[-1][0]
        return portion_of(head_of(entries, self._most))

    async def _wait_for_facts(self) -> None:
        async with asyncio.timeout(READ_S):
            await self._client.xread({self._stream: "0"}, count=1, block=BLOCK_MS)

    async def _gather(self) -> None:
        await self._clock.sleep(GATHER_S)
        for _ in range(GIVE_WAY):
            if not self._is_busy():
                return
            await self._clock.sleep(GATHER_S)

    async def _store(self, some: list[Fact]) -> None:
        """Write facts, halving on refusal until the ones that SQL cannot take stand alone."""
        batch = fold(some)
        try:
            await self._write(batch)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  whatever SQL has against a fact, it must not hold up the others
            if len(some) == 1:
                await self._park(some[0], error)
                return
            middle = len(some) // 2
            await self._store(some[:middle])
            await self._store(some[middle:])
            return
        for letter in batch.dead:
            self._report(letter)

    async def _park(self, fact: Fact, error: Exception) -> None:
        letter = DeadLetter(fact.event_id, fact.line, f"{type(error).__name__}: {error}"[:2000])
        await self._write(Batch(dead=[letter]))
        self._report(letter)

    def _report(self, letter: DeadLetter) -> None:
        self.dead += 1
        log.error(Event.JOURNAL_POISON, event_id=letter.event_id, error=letter.error)
