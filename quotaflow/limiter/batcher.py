"""The batcher: decisions on buckets, in turns.

Duties beside those of turns.py:
1. A caller who is alone, as the one before him was, needs neither a queue nor a task, and waits for no end of a turn.
2. Give each batch an id and a lane: when its reply is lost the fence sends it again, and the script takes nothing.
3. Give back what was granted to callers who have gone, or who were told that nobody knows: the same call, sent again
   later, tells what it did.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Sequence
from typing import Any

from quotaflow.errors import Unavailable
from quotaflow.ids import Ids
from quotaflow.limiter import keys
from quotaflow.limiter.decide import Even, Layout, Wants, bucket_keys, lay_out, level_key
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.scripts import Call
from quotaflow.limiter.turns import LANES, Ask, Turns, fail
from quotaflow.model import Decision
from quotaflow.timing import Clock


class Batcher(Turns[Wants, Decision]):
    """Asks for this process."""

    def __init__(self, fence: Fence, clock: Clock, ids: Ids, *, deadline_s: float) -> None:
        self._ids = ids
        self._batch_ids = itertools.count()  # on lanes that nobody else uses
        super().__init__(fence, clock, deadline_s=deadline_s)

    async def acquire(self, wants: Wants) -> Decision:
        """Decide one request, all or none. A caller who is cancelled keeps nothing.

        :raises Unavailable: no answer within the deadline; what was taken all the same is given back later.
        """
        if self._half > 1 or len(self._free) < LANES or self._waiting:
            answer = self.ask(wants)
            try:
                return await answer
            except asyncio.CancelledError:
                # Cancelled between the answer and its delivery: nobody will ever see this grant.
                if not answer.cancelled() and answer.exception() is None and answer.result().allowed:
                    self._later(self._return([wants]))
                raise
        layout, lane = lay_out([wants]), self._take_off(1)
        resent = self._fence.resent
        try:
            call = layout.call(lane, next(self._batch_ids))
            reply = await self._fence.run(*call, deadline_s=self._deadline_s)
        except (asyncio.CancelledError, Unavailable):
            self._later(self._recall([wants], call))
            lane = self._new_lane()
            raise
        finally:
            self._landed(self._after(lane, resent))
        return layout.decisions(str(reply))[0]

    def _new_lane(self) -> str:
        """Name a lane: a key where its last reply is kept. One whose answer nobody heard expires."""
        return keys.lane(self._ids.node, next(self._lanes))

    def _after(self, lane: str, resent: int) -> str:
        """Return the lane for the next call: a new one if a call was sent again meanwhile.

        Its first copy may still be on the way to Redis, in a network that keeps what a dead connection sent. Where the
        reply is kept it takes nothing; where another call's reply were by then, it would take units for nobody.
        """
        return lane if self._fence.resent == resent else self._new_lane()

    def _send(self, lane: str, batch: list[Ask[Wants, Decision]]) -> Coroutine[Any, Any, None]:
        layout = lay_out([wants for wants, _, _ in batch])
        call = layout.call(lane, next(self._batch_ids))
        left_s = max(0.001, batch[0][1] - self._clock.mono_s())  # of the first to come
        return self._answer(lane, batch, layout, call, self._fence.run(*call, deadline_s=left_s))

    async def _answer(
        self,
        lane: str,
        batch: list[Ask[Wants, Decision]],
        layout: Layout | Even,
        call: Call,
        reply: Coroutine[Any, Any, Any],
    ) -> None:
        resent = self._fence.resent
        try:
            text = str(await reply)
        except asyncio.CancelledError:
            self.unreturned += len(batch)
            fail(batch, Unavailable("stopping"))
            raise
        except Exception as error:  # noqa: BLE001  whoever asked must hear of it
            if isinstance(error, Unavailable):
                self._later(self._recall([wants for wants, _, _ in batch], call))
                lane = self._new_lane()
            fail(batch, error)
            return
        finally:
            # Before anybody is answered: who asks again finds it free.
            self._landed(self._after(lane, resent))
        gone: list[Wants] = []
        for (wants, _, answer), decision in zip(batch, layout.decisions(text), strict=True):
            if not answer.done():
                answer.set_result(decision)
            elif decision.allowed:
                gone.append(wants)  # taken for one who has gone
        if gone:
            self._later(self._return(gone))

    async def _recall(self, asked: Sequence[Wants], call: Call) -> None:
        """Learn what a call did whose answer nobody heard, and give back what it took."""
        reply = await self._insist(*call, len(asked))
        if reply is None:
            return
        decisions = lay_out(asked).decisions(str(reply))
        taken = [wants for wants, decision in zip(asked, decisions, strict=True) if decision.allowed]
        if taken:
            await self._return(taken)

    async def _return(self, gone: Sequence[Wants]) -> None:
        script_keys, args = [keys.MARKER, keys.returned(self._ids.next())], list[str]()
        for wants in gone:
            for quota_id, key, cost in wants:
                script_keys += (bucket_keys(quota_id)[0], level_key(quota_id, key))
                args.append(str(cost))
        if await self._insist("release", script_keys, args, len(gone)) is not None:
            self.returned += len(gone)
