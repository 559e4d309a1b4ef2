"""Slots of quotas, held by calls of this process: a lease in Redis each, taken in the order of arrival, given back.

Of those who wait here for one quota, only the first stands in Redis' line, at the moment it came: a process that dies
leaves one place there, which costs the others 2 s, and a thousand waiters ask no more often than one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from quotaflow.errors import InvalidInput, NotFound, QuotaDisabled, QuotaExceeded, QuotaflowError, Unavailable
from quotaflow.ids import Ids
from quotaflow.limiter import keys
from quotaflow.limiter.fence import Fence
from quotaflow.log import Event, get_logger
from quotaflow.timing import Clock

log = get_logger(room="limiter")

LOOK_S = 0.1  # between looks of the first in line; a slot that is given back here is looked for at once
KEEP_EVERY_S = 2.0
RETRY_S = 1.0  # what a refusal tells: nobody knows when somebody else is done
MOST_WAITERS = 10_000  # in one process
HOLDERS_PER_CALL = 1000


@dataclass(slots=True)
class Line:
    """Who waits here for a slot of one quota; `freed` wakes the first."""

    turns: deque[asyncio.Future[None]] = field(default_factory=deque)
    freed: asyncio.Event = field(default_factory=asyncio.Event)


class Slots:
    """Takes slots, keeps them and gives them back. `run` must be running, or leases end."""

    def __init__(self, fence: Fence, clock: Clock, ids: Ids, *, lease_s: float) -> None:
        """`lease_s`: how long a slot stays taken when this process has died."""
        self._fence = fence
        self._clock = clock
        self._ids = ids
        self._lease_us = str(round(lease_s * 1e6))
        self._held: dict[str, str] = {}  # holder -> quota
        self._left: dict[str, str] = {}  # what Redis may still believe to be held
        self._lines: dict[str, Line] = {}
        self._giving: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.waiting = 0
        self.lost = 0

    def __len__(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def holding(self, quota_id: str, max_wait: float) -> AsyncIterator[None]:
        """Hold a slot in the block; see `take`."""
        holder = await self.take(quota_id, max_wait)
        try:
            yield
        finally:
            await asyncio.shield(self.give(holder))

    async def take(self, quota_id: str, max_wait: float) -> str:
        """Take a slot, waiting at most `max_wait` seconds, in the order of arrival; returns the holder's id.

        :raises QuotaExceeded: none was free in time. :raises InvalidInput: the quota has no slots.
        :raises NotFound, QuotaDisabled: there is no usable quota.
        :raises Unavailable: Redis does not answer, or 10,000 callers of this process are waiting.
        """
        if self.waiting >= MOST_WAITERS:
            raise Unavailable(f"{MOST_WAITERS:,} callers are waiting for a slot already")
        line = self._lines.setdefault(quota_id, Line())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        since_s = self._clock.mono_s()
        line.turns.append(turn)
        self.waiting += 1
        try:
            if line.turns[0] is not turn and not await self._in_time(turn, max_wait):
                raise refusal(quota_id, max_wait)
            return await self._first(quota_id, line, since_s, max_wait)
        finally:
            self.waiting -= 1
            line.turns.remove(turn)
            if not line.turns:
                del self._lines[quota_id]
            elif not line.turns[0].done():
                line.turns[0].set_result(None)

    async def _first(self, quota_id: str, line: Line, since_s: float, max_wait: float) -> str:
        holder = self._ids.next()
        try:
            while not await self._look(quota_id, holder, line, since_s, max_wait):
                await self._pause(line, min(LOOK_S, since_s + max_wait - self._clock.mono_s()))
            self._held[holder] = quota_id
        except BaseException as error:
            # Its place in line, or a slot nobody heard of.
            if max_wait or not isinstance(error, QuotaExceeded):
                await asyncio.shield(self._give(holder, quota_id))
            raise
        return holder

    async def _look(self, quota_id: str, holder: str, line: Line, since_s: float, max_wait: float) -> bool:
        if self._giving:  # what this process has given back is free, also for one who does not wait
            await asyncio.wait(self._giving)
        line.freed.clear()
        waited_s = self._clock.mono_s() - since_s
        if await self._ask(quota_id, holder, waited_s, waits=waited_s < max_wait):
            return True
        if waited_s >= max_wait:
            raise refusal(quota_id, max_wait)
        return False

    async def _ask(self, quota_id: str, holder: str, waited_s: float, *, waits: bool) -> bool:
        waited = str(round(waited_s * 1e6)) if waits else "-"
        word = str(await self._act(quota_id, "take", waited, [holder]))
        if word == "missing":
            raise NotFound(f'no quota "{quota_id}"')
        if word == "disabled":
            raise QuotaDisabled(f'quota "{quota_id}" is disabled')
        if word == "unlimited":
            raise InvalidInput(f'quota "{quota_id}" has no max_concurrent: it has no slots', field="quota")
        return word == "taken"

    async def _pause(self, line: Line, seconds: float) -> None:
        waiters = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(line.freed.wait()),
        ]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _in_time(self, turn: asyncio.Future[None], seconds: float) -> bool:
        alarm = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait([turn, alarm], return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        return turn.done()

    def give(self, holder: str) -> asyncio.Task[None]:
        """Give a slot back; the task is done when Redis knows, or did not answer in time."""
        return self._give(holder, self._held.pop(holder))

    def _give(self, holder: str, quota_id: str) -> asyncio.Task[None]:
        self._left[holder] = quota_id
        giving = asyncio.ensure_future(self._return(quota_id, [holder]))
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)
        return giving

    async def _return(self, quota_id: str, holders: list[str]) -> None:
        if self._is_closed:  # a thread went on after its Quotaflow: its lease ends
            return
        try:
            await self._act(quota_id, "give", "-", holders)
        except QuotaflowError as error:  # it is given back again at the next round, once; then its lease ends
            log.warning(Event.REDIS_AWAY, error=str(error), quota_id=quota_id)
            return
        for holder in holders:
            self._left.pop(holder, None)
        if line := self._lines.get(quota_id):
            line.freed.set()

    async def run(self) -> None:
        """Keep what is held, every 2 s, until cancelled."""
        while True:
            await self._clock.sleep(KEEP_EVERY_S)
            try:
                await self.keep()
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error))

    async def keep(self) -> None:
        """Renew the leases of all that is held. One that was lost is told, counted, and held again: it is under way."""
        left, self._left = self._left, {}
        for quota_id, holders in by_quota(left):
            await self._return(quota_id, holders)
        for quota_id, holders in by_quota(self._held):
            for holder in await self._act(quota_id, "keep", "-", holders):
                if holder in self._held:
                    self.lost += 1
                    log.warning(Event.SLOT_LOST, quota_id=quota_id, holder=holder)
            gone = [holder for holder in holders if holder not in self._held]
            if gone:  # given back meanwhile, maybe before it was kept
                await self._return(quota_id, gone)

    async def close(self) -> None:
        """Return when what is being given back is given back, or could not be; nothing is after that."""
        if self._giving:
            await asyncio.wait(self._giving)
        self._is_closed = True

    async def _act(self, quota_id: str, act: str, waited: str, holders: list[str]) -> Any:
        script_keys = [keys.MARKER, keys.DUE, keys.quota(quota_id), keys.quota_slots(quota_id)]
        return await self._fence.run("slot", script_keys, [act, self._lease_us, waited, *holders])


def by_quota(holders: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Sort holders by their quota, at most 1,000 a call."""
    found: dict[str, list[str]] = {}
    for holder, quota_id in holders.items():
        found.setdefault(quota_id, []).append(holder)
    return [
        (quota_id, some[first : first + HOLDERS_PER_CALL])
        for quota_id, some in found.items()
        for first in range(0, len(some), HOLDERS_PER_CALL)
    ]


def refusal(quota_id: str, max_wait: float) -> QuotaExceeded:
    """Say that no slot was free in time."""
    return QuotaExceeded(
        f'quota "{quota_id}": as many as may are under way; the call may wait {max_wait:g} s',
        quota_id=quota_id,
        retry_after=RETRY_S,
    )
