"""Refreshing upstream keys: one select, all services asked at once, one transaction; then the pools and their mirrors.

No transaction is open while services are asked. Of several who ask for the same refresh, in whatever process, one does
it, and all get its report. What was reserved and spent meanwhile is not lost: see lua/lib/pool.lua.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quotaflow.balances import Asked, KeyStatus, KeyTrouble, Progress, RefreshReport, UpstreamKey
from quotaflow.control.reconciling import Reconciler, by_provider
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.board import RefreshBoard
from quotaflow.limiter.pools import Pools
from quotaflow.log import Event, get_logger
from quotaflow.store import Store
from quotaflow.timing import Clock, to_the_end

if TYPE_CHECKING:  # httpx takes 0.3 s to import: only who refreshes pays
    from quotaflow.upstream.services import Services

log = get_logger(room="upstream")

LEASE = "refresh"
TTL_S = 6.0
RENEW_S = 2.0
LOOK_S = 0.1  # between looks at what another process does, and between marks of progress
LONGEST_S = 3600.0  # of a refresh, and of waiting for another's
MOST_LINES = 100  # of a refresh in the log; its report names all that failed


@dataclass(slots=True)
class Count:
    """How far a refresh is."""

    total: int
    done: int = 0
    failed: int = 0

    def told(self, asked: Asked) -> None:
        """Count one answer."""
        self.done += 1
        self.failed += asked.usage is None


class Refresher:
    """Refreshes the keys of one installation."""

    def __init__(
        self,
        store: Store,
        pools: Pools,
        reconciler: Reconciler,
        services: "Callable[[], Services]",
        board: RefreshBoard,
        admission: Admission,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        """`services` are made when they are asked first; `new_id` names a refresh."""
        self._store = store
        self._pools = pools
        self._reconciler = reconciler
        self._services = services
        self._board = board
        self._admission = admission
        self._clock = clock
        self._new_id = new_id
        self._turn = asyncio.Lock()
        self._checks: set[asyncio.Task[RefreshReport]] = set()
        self._running: dict[str | None, asyncio.Task[RefreshReport]] = {}

    def start(self, provider: str | None = None) -> "asyncio.Task[RefreshReport]":
        """Begin to refresh all keys, or those of one provider; the one that goes on already, if there is one."""
        running = self._running.get(provider)
        if running is None:
            running = asyncio.create_task(self._in_turn(provider))
            self._running[provider] = running
            running.add_done_callback(lambda _: self._running.pop(provider, None))
            running.add_done_callback(_tell)
        return running

    async def refresh(self, provider: str | None = None) -> RefreshReport:
        """Refresh and return what came of it; cancelling the caller does not end it.

        :raises Unavailable: SQL or Redis is away; what SQL got no further than, the next one puts into force.
        """
        return await asyncio.shield(self.start(provider))

    async def watched(self, provider: str | None = None) -> AsyncIterator[Progress]:
        """Refresh and tell how far it is, ten times a second; the last one carries the report."""
        running = self.start(provider)
        shown = Progress("", provider, 0, 0, 0)
        while not running.done():
            now = await self.progress()
            if now is not None and now.provider == provider and now.report is None and now != shown:
                shown = now
                yield now
            await asyncio.wait([running], timeout=LOOK_S)
        report = await asyncio.shield(running)
        yield replace(
            shown, done=report.total_keys, failed=report.failed, total_keys=report.total_keys, report=report
        )

    async def progress(self) -> Progress | None:
        """Return how far a refresh is, here or elsewhere, or what the last one of the day brought; None for neither."""
        try:
            return await self._board.read()
        except Unavailable:
            return None

    def check(self, keys: Sequence[UpstreamKey]) -> "asyncio.Task[RefreshReport]":
        """Begin to ask about these keys alone, whatever else goes on."""
        checking = asyncio.create_task(self._check(keys))
        self._checks.add(checking)
        checking.add_done_callback(self._checks.discard)
        checking.add_done_callback(_tell)
        return checking

    async def _check(self, keys: Sequence[UpstreamKey]) -> RefreshReport:
        report, _ = await self._refresh(keys, None, Count(len(keys)))
        for provider in by_provider(keys):
            await self._reconciler.correct(provider)
        return report

    async def close(self) -> None:
        """End what goes on."""
        tasks = [*self._running.values(), *self._checks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _in_turn(self, provider: str | None) -> RefreshReport:
        """Refresh when nobody else does; when another process does just this meanwhile, its report is ours too."""
        before = await self._board.read()
        try:
            async with asyncio.timeout(LONGEST_S):
                while True:
                    async with self._turn, self._leased() as ours:
                        if ours:
                            return await self._all(provider)
                    await self._clock.sleep(LOOK_S)
                    now = await self._board.read()
                    if now is not None and now.provider == provider and now.report and now != before:
                        return now.report
        except TimeoutError:
            raise Unavailable(
                f"the refresh took longer than {LONGEST_S:,.0f} s; nothing was written"
            ) from None

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[bool]:
        """Hold the lease in the block, if nobody else does."""
        if not await self._admission.hold(LEASE, ttl_s=TTL_S):
            yield False
            return
        renewing = asyncio.create_task(self._renew())
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            await to_the_end(self._hold(0))

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            await self._hold(TTL_S)

    async def _hold(self, ttl_s: float) -> None:
        with suppress(Unavailable):  # it ends by itself; two at once would cost time, not exactness
            await self._admission.hold(LEASE, ttl_s=ttl_s)

    async def _all(self, provider: str | None) -> RefreshReport:
        keys = [key for key in await self._reconciler.reconcile(provider) if key.enabled]
        count = Count(len(keys))
        begun = Progress(self._new_id(), provider, 0, 0, len(keys))
        mirrored = self._reconciler.mirrored(provider)
        drawn = await self._reconciler.drawn(mirrored)
        showing = asyncio.create_task(self._show(begun, count))
        try:
            report, checked = await self._refresh(keys, provider, count)
            await self._take_over(mirrored, checked, drawn)
        finally:
            showing.cancel()
            await asyncio.wait([showing])
        await self._write(replace(begun, done=count.done, failed=count.failed, report=report))
        return report

    async def _take_over(
        self, mirrored: set[str], checked: Sequence[UpstreamKey], drawn: Mapping[str, str]
    ) -> None:
        """Correct the quotas that mirror keys. The keys are written by then: their report is not lost with a quota."""
        try:
            await self._reconciler.take_over(mirrored, checked, drawn)
        except QuotaflowError as error:
            log.warning(Event.UPSTREAM_FAILED, error_type=type(error).__name__, error=str(error))

    async def _show(self, begun: Progress, count: Count) -> None:
        while True:
            await self._write(replace(begun, done=count.done, failed=count.failed))
            await self._clock.sleep(LOOK_S)

    async def _write(self, progress: Progress) -> None:
        with suppress(Unavailable):  # who watches sees it stand still
            await self._board.write(progress)

    async def _refresh(
        self, keys: Sequence[UpstreamKey], provider: str | None, count: Count
    ) -> tuple[RefreshReport, list[UpstreamKey]]:
        """Ask, write and put into force; returns also the keys as they stand now."""
        started_us, started_s = self._clock.wall_us(), self._clock.mono_s()
        pools = by_provider(keys)
        marks = {
            name: await self._pools.marks(name, [key.id for key in some]) for name, some in pools.items()
        }
        asked = await self._services().ask(keys, count.told)
        now_us = self._clock.wall_us()
        checked = [after(key, asked[key.id], now_us) for key in keys]
        await self._store.write_checked(checked)
        for name, some in pools.items():
            await self._pools.check(name, some, marks[name], asked)
        troubles = tuple(troubles_of(keys, asked))
        report = RefreshReport(
            provider,
            started_us,
            success=len(keys) - len(troubles),
            failed=len(troubles),
            total_keys=len(keys),
            elapsed_seconds=round(self._clock.mono_s() - started_s, 2),
            errors=troubles,
        )
        self._log(report, [key for key in checked if key.error is not None])
        return report, checked

    def _log(self, report: RefreshReport, failed: Sequence[UpstreamKey]) -> None:
        for key in failed[:MOST_LINES]:
            log.warning(
                Event.UPSTREAM_UNCHECKED,
                key_id=key.id,
                provider=key.provider,
                error=key.error,
                failures=key.failures,
            )
        log.info(
            Event.UPSTREAM_REFRESHED,
            provider=report.provider,
            success=report.success,
            failed=report.failed,
            total_keys=report.total_keys,
            elapsed_s=report.elapsed_seconds,
        )


def _tell(task: "asyncio.Task[RefreshReport]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning(Event.UPSTREAM_FAILED, error_type=type(error).__name__, error=str(error))


def after(key: UpstreamKey, asked: Asked, now_us: int) -> UpstreamKey:
    """Return the key as it stands after its service was asked. What is not known any better stays."""
    if asked.usage is not None:
        return replace(
            key,
            plan_limit_micro=asked.usage.limit_micro,
            used_micro=asked.usage.used_micro,
            remaining_micro=asked.usage.remaining_micro,
            status=KeyStatus.ACTIVE if asked.usage.remaining_micro else KeyStatus.EXHAUSTED,
            cooldown_until_us=None,
            checked_us=now_us,
            error=None,
            failures=0,
        )
    rests = asked.status is KeyStatus.COOLDOWN and key.status is not KeyStatus.INVALID
    return replace(
        key,
        status=asked.status or key.status if rests or asked.status is KeyStatus.INVALID else key.status,
        cooldown_until_us=now_us + round(asked.rest_s * 1e6) if rests else key.cooldown_until_us,
        checked_us=now_us,
        error=asked.error,
        failures=key.failures + 1,
    )


def troubles_of(keys: Iterable[UpstreamKey], asked: Mapping[str, Asked]) -> Iterator[KeyTrouble]:
    """Say of which keys nothing was learnt, and why."""
    for key in keys:
        said = asked[key.id]
        if said.usage is None:
            yield KeyTrouble(key.id, key.provider, key.name, said.error or "unknown")
