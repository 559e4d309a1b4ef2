"""The batcher: concurrent callers of one turn of the event loop become one script call.

Duties:
1. Send at once when nothing is on its way; otherwise at 64 waiting or at the end of the turn, on the next free lane.
   A caller who is alone needs neither a queue nor a task.
2. Give every caller its own decision; a batch that fails fails its own callers only.
3. Give each batch an id and a lane: when its reply is lost the fence sends it again, and the script takes nothing.
4. Give back what was granted to callers who have gone, or who were told that nobody knows: the same call, sent again
   later, tells what it did.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.ids import Ids
from quotaflow.limiter import keys
from quotaflow.limiter.decide import Wants, bucket_keys, lay_out, level_key
from quotaflow.limiter.fence import Fence
from quotaflow.log import Event, get_logger
from quotaflow.model import Decision
from quotaflow.timing import Clock

log = get_logger(room="limiter")

BATCH = 64  # larger batches block Redis for longer and gain little
LANES = 8  # batches on their way at once; a lane is also where the last reply is kept
RECALL_S = 30.0  # how long to try to learn what a call did and to give it back; the server remembers for 60 s
RECALL_PAUSE_S = 0.2
RECALLS = 2  # at a time: hundreds that make new connections at once would keep each other from it
MOST_WAITING = 20_000  # callers; beyond this they are turned away at once


Ask = tuple[
    Wants, float, asyncio.Future[Decision]
]  # one caller, and until when (monotonic) the answer is wanted


class Batcher:
    """Asks for this process."""

    def __init__(self, fence: Fence, clock: Clock, ids: Ids, *, deadline_s: float) -> None:
        self._fence = fence
        self._clock = clock
        self._ids = ids
        self._deadline_s = deadline_s
        self._waiting: deque[Ask] = deque()
        self._lanes = itertools.count()
        self._free = [self._new_lane() for _ in range(LANES)]
        self._under_way: set[asyncio.Task[None]] = set()
        self._recalls = asyncio.Semaphore(RECALLS)
        self._flush_is_due = False
        self.batches = 0
        self.asked = 0
        self.returned = 0
        self.unreturned = 0

    async def acquire(self, wants: Wants) -> Decision:
        """Decide one request, all or none. A caller who is cancelled keeps nothing.

        :raises Unavailable: no answer within the deadline; what was taken all the same is given back later.
        """
        if len(self._free) == LANES and not self._waiting:
            return await self._alone(wants)
        answer = self.ask(wants)
        try:
            return await answer
        except asyncio.CancelledError:
            # Cancelled between the answer and its delivery: nobody will ever see this grant.
            if not answer.cancelled() and answer.exception() is None and answer.result().allowed:
                self._give_back([wants])
            raise

    async def _alone(self, wants: Wants) -> Decision:
        lane, layout = self._free.pop(), lay_out([wants])
        script_keys, args = layout.script_keys(lane), layout.args(self._ids.next())
        self.asked += 1
        self.batches += 1
        try:
            reply = await self._fence.run("acquire", script_keys, args, deadline_s=self._deadline_s)
        except (asyncio.CancelledError, Unavailable):
            self._later(self._recall([wants], script_keys, args))
            self._landed(self._new_lane())
            raise
        except QuotaflowError:
            self._landed(lane)
            raise
        self._landed(lane)
        return layout.decisions(str(reply), 1)[0]

    def _new_lane(self) -> str:
        """Name a lane. One whose last answer nobody heard is left to those who ask for it, and expires."""
        return keys.lane(self._ids.node, next(self._lanes))

    def ask(self, wants: Wants) -> asyncio.Future[Decision]:
        """Do the same for a caller who holds the answer as a future; cancelling it before it is done is enough.

        :raises Unavailable: too many callers are waiting.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING:,} callers are waiting for Redis already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Decision] = loop.create_future()
        self._waiting.append((wants, self._clock.mono_s() + self._deadline_s, answer))
        self.asked += 1
        if len(self._waiting) >= BATCH or len(self._free) == LANES:
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
        """Return when nothing is on its way, or after the deadline: then who waits is told, and the rest is counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s):
                while self._under_way:
                    await asyncio.wait(self._under_way)
        _fail(self._waiting, Unavailable("stopping"))
        self._waiting.clear()
        late = set(self._under_way)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._waiting and self._free:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._later(self._send(self._free.pop(), [ask for ask in batch if not ask[2].done()]))

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _landed(self, lane: str) -> None:
        self._free.append(lane)
        if self._waiting:
            self._flush()

    async def _send(self, lane: str, batch: list[Ask]) -> None:
        if not batch:
            self._landed(lane)
            return
        self.batches += 1
        asked = [wants for wants, _, _ in batch]
        layout = lay_out(asked)
        script_keys, args = layout.script_keys(lane), layout.args(self._ids.next())
        left_s = max(0.001, batch[0][1] - self._clock.mono_s())  # of the first to come
        try:
            reply = await self._fence.run("acquire", script_keys, args, deadline_s=left_s)
        except asyncio.CancelledError:
            self.unreturned += len(batch)
            _fail(batch, Unavailable("stopping"))
            raise
        except QuotaflowError as error:
            if isinstance(error, Unavailable):
                self._later(self._recall(asked, script_keys, args))
                lane = self._new_lane()
            _fail(batch, error)
            return
        finally:
            self._landed(lane)  # before anybody is answered: who then asks again finds the lane free
        gone: list[Wants] = []
        for (wants, _, answer), decision in zip(batch, layout.decisions(str(reply), len(batch)), strict=True):
            if not answer.done():
                answer.set_result(decision)
            elif decision.allowed:
                gone.append(wants)  # taken for one who has gone
        if gone:
            self._give_back(gone)

    def _give_back(self, gone: Sequence[Wants]) -> None:
        self._later(self._return(gone))

    async def _recall(self, asked: Sequence[Wants], script_keys: list[str], args: list[str]) -> None:
        """Learn what a call did whose answer nobody heard, and give back what it took."""
        reply = await self._insist("acquire", script_keys, args, asked)
        if reply is None:
            return
        decisions = lay_out(asked).decisions(str(reply), len(asked))
        taken = [wants for wants, decision in zip(asked, decisions, strict=True) if decision.allowed]
        if taken:
            await self._return(taken)

    async def _return(self, gone: Sequence[Wants]) -> None:
        script_keys, args = [keys.MARKER, keys.returned(self._ids.next())], list[str]()
        for wants in gone:
            for quota_id, key, cost in wants:
                script_keys += (bucket_keys(quota_id)[0], level_key(quota_id, key))
                args += (keys.encode_id(key), str(cost))
        if await self._insist("release", script_keys, args, gone) is not None:
            self.returned += len(gone)

    async def _insist(
        self, name: str, script_keys: list[str], args: list[str], about: Sequence[Wants]
    ) -> Any:
        """Run a script until it is answered; None after RECALL_S, or when stopped: then it is counted."""
        try:
            # Also the wait for a turn counts: after 60 s the server would take a repeated release for a new one.
            async with asyncio.timeout(RECALL_S):
                while True:
                    with contextlib.suppress(Unavailable):
                        async with self._recalls:
                            return await self._fence.run(name, script_keys, args)
                    await self._clock.sleep(RECALL_PAUSE_S)
        except (TimeoutError, QuotaflowError, asyncio.CancelledError) as error:
            self.unreturned += len(about)
            log.warning(Event.REDIS_AWAY, error=str(error) or "no answer", unreturned=len(about))
            if isinstance(error, asyncio.CancelledError):
                raise
            return None


def _fail(batch: Iterable[Ask], error: Exception) -> None:
    for _, _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
