"""The batcher: concurrent callers of one turn of the event loop become one script call.

Duties:
1. Send at once when nothing is on its way; otherwise at 64 waiting or at the end of the turn, on the next free lane.
2. Give every caller its own decision; a batch that fails fails its own callers only.
3. Give each batch an id and a lane: when its reply is lost the fence sends it again, and the script takes nothing.
4. Give back what was granted to callers who have gone.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.ids import Ids
from quotaflow.limiter import keys
from quotaflow.limiter.decide import Wants, bucket_keys, encode_key, lay_out, level_key
from quotaflow.limiter.fence import Fence
from quotaflow.log import Event, get_logger
from quotaflow.model import Decision, Reason
from quotaflow.timing import Clock

log = get_logger(room="limiter")

BATCH = 64  # larger batches block Redis for longer and gain little
LANES = 8  # batches on their way at once; a lane is also where the last reply is kept
MOST_WAITING = 20_000  # callers; beyond this they are turned away at once


@dataclass(slots=True)
class Ask:
    """One caller. `until_s` on the monotonic clock."""

    wants: Wants
    until_s: float
    answer: asyncio.Future[Decision]


class Batcher:
    """Asks for this process."""

    def __init__(self, fence: Fence, clock: Clock, ids: Ids, *, deadline_s: float) -> None:
        self._fence = fence
        self._clock = clock
        self._ids = ids
        self._deadline_s = deadline_s
        self._waiting: deque[Ask] = deque()
        self._free = [keys.lane(ids.node, number) for number in range(LANES)]
        self._on_their_way: set[asyncio.Task[None]] = set()
        self._on_their_way_back: set[asyncio.Task[None]] = set()
        self._flush_is_due = False
        self.batches = 0
        self.asked = 0
        self.returned = 0
        self.unreturned = 0

    async def acquire(self, wants: Wants) -> Decision:
        """Decide one request, all or none. A caller who is cancelled keeps nothing.

        :raises Unavailable: no answer within the deadline; whether units were taken is then unknown.
        """
        answer = self.ask(wants)
        try:
            return await answer
        except asyncio.CancelledError:
            # Cancelled between the answer and its delivery: nobody will ever see this grant.
            if not answer.cancelled() and answer.exception() is None and answer.result().allowed:
                self._give_back([wants])
            raise

    def ask(self, wants: Wants) -> asyncio.Future[Decision]:
        """Do the same for a caller who holds the answer as a future; cancelling it before it is done is enough.

        :raises Unavailable: too many callers are waiting.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING:,} callers are waiting for Redis already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Decision] = loop.create_future()
        self._waiting.append(Ask(wants, self._clock.mono_s() + self._deadline_s, answer))
        self.asked += 1
        if len(self._waiting) >= BATCH or not self._on_their_way:
            self._flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            loop.call_soon(self._flush)
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
        """Return when nothing is on its way."""
        while both := self._on_their_way | self._on_their_way_back:
            await asyncio.wait(both)

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._waiting and self._free:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._start(self._free.pop(), [ask for ask in batch if not ask.answer.done()])

    def _start(self, lane: str, batch: list[Ask]) -> None:
        task = asyncio.get_running_loop().create_task(self._send(lane, batch))
        self._on_their_way.add(task)
        task.add_done_callback(lambda done: self._landed(done, lane))

    def _landed(self, task: asyncio.Task[None], lane: str) -> None:
        self._on_their_way.discard(task)
        self._free.append(lane)
        if self._waiting:
            self._flush()

    async def _send(self, lane: str, batch: list[Ask]) -> None:
        if not batch:
            return
        self.batches += 1
        try:
            decisions = await self._decide(lane, batch)
        except asyncio.CancelledError:
            _fail(batch, Unavailable("stopping"))
            raise
        except QuotaflowError as error:
            _fail(batch, error)
            return
        gone = [ask.wants for ask, decision in zip(batch, decisions, strict=True) if _give(ask, decision)]
        if gone:
            self._give_back(gone)

    async def _decide(self, lane: str, batch: Sequence[Ask]) -> list[Decision]:
        layout = lay_out([ask.wants for ask in batch])
        script_keys, args = layout.script_keys(lane), layout.args(self._ids.next())
        left_s = min(ask.until_s for ask in batch) - self._clock.mono_s()
        reply = await self._fence.run("acquire", script_keys, args, deadline_s=max(0.001, left_s))
        return layout.decisions(str(reply), len(batch))

    def _give_back(self, gone: Sequence[Wants]) -> None:
        task = asyncio.get_running_loop().create_task(self._return(gone))
        self._on_their_way_back.add(task)
        task.add_done_callback(self._on_their_way_back.discard)

    async def _return(self, gone: Sequence[Wants]) -> None:
        script_keys, args = [keys.MARKER], list[str]()
        for wants in gone:
            for quota_id, key, cost in wants:
                script_keys += (bucket_keys(quota_id)[0], level_key(quota_id, key))
                args += (encode_key(key), str(cost))
        try:
            await self._fence.run("release", script_keys, args)
            self.returned += len(gone)
        except QuotaflowError as error:
            self.unreturned += len(gone)
            log.warning(Event.REDIS_AWAY, error=str(error), unreturned=len(gone))


def _give(ask: Ask, decision: Decision) -> bool:
    """Answer a caller; True when units were taken for one who has gone."""
    if not ask.answer.done():
        ask.answer.set_result(decision)
        return False
    return decision.reason is Reason.GRANTED


def _fail(batch: Sequence[Ask], error: Exception) -> None:
    for ask in batch:
        if not ask.answer.done():
            ask.answer.set_exception(error)
