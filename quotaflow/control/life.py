"""What a process does for as long as it lives, beside its work: be seen, follow others, write things down, end well."""

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from quotaflow.control.ending import STOP_S, quietly
from quotaflow.control.place import check_server, keep_redis
from quotaflow.control.rooms import Deciding, Storing
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.log import Event, get_logger

log = get_logger(room="flow")

START_S = 60.0  # recovery drains the journal first; 1e6 facts take about 20 s
FOLLOW_S = 2.0  # how soon this process takes over what another one changed


class Life:
    """The life of one process."""

    def __init__(self, base: Deciding, storing: Storing | None) -> None:
        self._base = base
        self._storing = storing

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs for as long as the process does."""
        base, storing = self._base, self._storing
        duties = [base.recorder.run(), base.slots.run(), base.pooling.pools.run(), self._beat()]
        if self._base.settings.redis.url == "embedded":
            duties.append(keep_redis(self._base.settings, base.server, base.clock))
        if storing is None:
            return [*duties, base.fence.serve(_nothing)]
        return [
            *duties,
            base.fence.serve(storing.recovery),
            storing.duty.run(),
            storing.flusher.run(storing.may_flush),
            storing.snapshotter.run(storing.duty.is_held),
            storing.keeper.run(storing.duty.is_held),
            storing.cleanup.run(),
            storing.upstream.upkeep.run(storing.duty.is_held),
        ]

    async def ready(self) -> None:
        """Return when decisions can be made.

        :raises ConfigError: the server is not fit. :raises Unavailable: it does not answer.
        """
        await self._base.server.ping()
        if self._storing is not None:
            await check_server(self._base.plain, self._base.clock, self._base.settings.redis.persistence)
        await self._base.fence.wait_ready(START_S)
        await self._meet()
        if self._storing is not None:
            await self._storing.quotas.declare(self._base.settings.quotas)
        await self._base.quota_state.refresh_names()

    async def _beat(self) -> None:
        while True:
            await self._base.clock.sleep(FOLLOW_S)
            with contextlib.suppress(Unavailable):
                await self._meet()
                await self._base.quota_state.refresh_names()

    async def _meet(self) -> None:
        """Say that we are alive, and share ticks with the daemons that have the same tasks."""
        ticker = self._base.working.ticker
        ticks = ticker.fingerprint()
        alive = await self._base.instances.beat(ticks)
        ticker.share([other.id for other in alive if other.ticks == ticks])

    async def follow(self) -> None:
        """Take over what others have changed, and finish what could not be done at once. Runs until cancelled."""
        assert self._storing is not None  # noqa: S101  only a process with the store works
        while True:
            await self._base.clock.sleep(FOLLOW_S)
            try:
                await self._storing.tasks.follow()
                await self._storing.quotas.settle()
                await self._storing.tokens.settle()
            except QuotaflowError as error:
                log.warning(Event.STORE_AWAY, error=str(error))

    async def finish(self) -> None:
        """Write the last batch. What cannot be written in time stays in Redis."""
        await quietly(self._base.slots.close(), STOP_S)
        if self._storing is not None:
            await quietly(self._storing.upstream.close(), STOP_S)
        steps: list[Callable[[], Coroutine[Any, Any, Any]]] = [self._base.recorder.drain]
        if self._storing is not None:
            storing = self._storing
            steps += [storing.flusher.drain, storing.snapshotter.once, storing.duty.give_up]
        end_s = self._base.clock.mono_s() + STOP_S  # for all: a frozen process may hold the lock each needs
        for step in steps:
            await quietly(step(), max(0.1, end_s - self._base.clock.mono_s()))


async def _nothing(*_: object) -> None:
    """Recovery of a process that may not recover."""
