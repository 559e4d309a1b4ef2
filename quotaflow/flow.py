"""Settings -> rooms -> one task group. Data flows one way: ticker, gate, pool, closer, journal, store.

`Quotaflow.open` starts what a library needs: decisions, waiting, traces, and the flush while that duty is ours.
`working` adds what a daemon does: ticks and runs. Stopping follows the flow: the ticker ends first, the pool empties,
the last outcomes are journalled, the last batch is written, then the store closes, then the embedded server.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self

from quotaflow.amounts import check_id, cost_micro, wait_s
from quotaflow.control.audit import Audit
from quotaflow.control.charges import HOLD_S, Charges, Held
from quotaflow.control.cleanup import Cleanup
from quotaflow.control.ending import STOP_S, quietly, unwrapped, within
from quotaflow.control.gate import Triggered
from quotaflow.control.place import check_server, claim_place, keep_redis, open_redis, open_sql, release_redis
from quotaflow.control.quotas import QuotaDesk
from quotaflow.control.recovery import StoreIncarnations
from quotaflow.control.rooms import Deciding, Storing
from quotaflow.control.stats import Statistics
from quotaflow.control.tasks import TaskDesk, plans_of
from quotaflow.control.tokens import TokenDesk
from quotaflow.errors import InvalidInput, NotOpen, QuotaflowError, Unavailable
from quotaflow.log import Event, get_logger
from quotaflow.model import Decision
from quotaflow.runner import calls
from quotaflow.runner.registry import REGISTRY, Registry
from quotaflow.settings import Settings, load
from quotaflow.store import Store
from quotaflow.timing import SystemClock

log = get_logger(room="flow")

START_S = 60.0  # recovery drains the journal first; 1e6 facts take about 20 s
FOLLOW_S = 2.0  # how soon this process takes over what another one changed


class Quotaflow:
    """One open quotaflow: decisions, quotas, tasks and traces. Made by `Quotaflow.open`."""

    def __init__(self, base: Deciding, storing: Storing | None) -> None:
        self._base = base
        self._storing = storing
        self._is_open = False
        self._is_working = False
        self.settings = base.settings

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        config: str | Path | Settings | None = None,
        *,
        registry: Registry = REGISTRY,
        role: str = "library",
        **flags: Any,
    ) -> AsyncIterator[Self]:
        """Connect and serve until the block ends.

        :param config: path of a config.toml (default ./config.toml, or all defaults), or Settings.
        :param flags: single settings, section and key joined: `redis__url="redis://localhost"`.
        :raises ConfigError: configuration that cannot work.
        :raises Unavailable: Redis or SQL cannot be reached.
        """
        settings = config if isinstance(config, Settings) else load(Path(config) if config else None, **flags)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(unwrapped())
            place = await stack.enter_async_context(claim_place(settings, role))
            store = await open_sql(stack, settings, place)
            url, server = await open_redis(settings)
            base = Deciding(
                settings, registry, url, role, SystemClock(), StoreIncarnations(store) if store else None
            )
            stack.push_async_callback(base.close)
            storing = Storing(base, store, url) if store else None
            if storing:
                stack.push_async_callback(storing.close)
            flow = cls(base, storing)
            stack.push_async_callback(release_redis, settings, server, base.instances)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in flow._duties()]
                await flow._ready()
                calls.opened(base.calls)
                flow._is_open = True
                try:
                    yield flow
                finally:
                    flow._is_open = False
                    calls.closed(base.calls)
                    await asyncio.shield(flow._finish())
                    for task in tasks:
                        task.cancel()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Tick and run tasks until the block ends, then stop in order: finish or interrupt within the grace."""
        work, grace_s = self._base.working, self.settings.runner.shutdown_grace_s
        await self.tasks.declare(plans_of(self._base.registry, self.settings.scheduler.timezone))
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(work.ticker.run())
            pool = group.create_task(work.pool.run())
            others = [
                group.create_task(loop) for loop in (work.closer.run(), work.leases.run(), self._follow())
            ]
            self._is_working = True
            try:
                yield
            finally:
                self._is_working = False
                ticking.cancel()
                await asyncio.shield(asyncio.wait([ticking]))  # a claim on its way may still grant runs
                work.pool.inbox.close()
                await asyncio.shield(within(pool, grace_s, work.pool.interrupt))
                await asyncio.shield(quietly(work.closer.settle(), STOP_S))
                for task in others:
                    task.cancel()

    async def acquire(
        self, quota: str | Mapping[str, float], cost: float = 1, *, key: str | None = None, wait: float = 0
    ) -> Decision:
        """Take units of one quota, or of several at once, all or none.

        :param quota: a quota's name, or a mapping of names to costs.
        :param cost: units, a multiple of 0.000001; 0 looks without taking.
        :param key: one of the quota's many buckets, such as a customer; each has a level of its own.
        :param wait: seconds to wait for units at most, in arrival order; for one quota.
        :raises NotFound: no such quota.
        :raises InvalidInput: a cost, key or wait that is none, or `cost` or `wait` with several quotas.
        :raises NotOpen: after the block of `open` has ended.
        :raises Unavailable: Redis does not answer in time; what it may have taken is given back when it does.
        """
        if not self._is_open:
            raise NotOpen("this Quotaflow is closed; use it inside its `async with`")
        bucket = "" if key is None else check_id(key, field="key")
        if isinstance(quota, str):
            units = cost_micro(cost)
            return await self._base.taking.one(quota, bucket, units, wait_s(wait) if wait != 0 else 0)
        if wait or cost != 1:
            what = "wait" if wait else "cost"
            raise InvalidInput(
                f"{what} is for one quota; the costs of several are in the mapping", field=what
            )
        return await self._base.taking.several(quota, bucket)

    async def acquire_id(self, quota_id: str, cost: object = 1, key: str | None = None) -> Decision:
        """Do the same for one quota by its id."""
        bucket = check_id(key, field="key") if key is not None else ""
        return await self._base.taking.one(quota_id, bucket, cost_micro(cost), 0)

    def reserve(
        self, quota: str, cost: float, *, hold_s: float = HOLD_S
    ) -> AbstractAsyncContextManager[Held]:
        """Take units of a prepaid quota before it is known how many are needed: `held.settle(used)` in the block.

        See `Charges.reserve`.

        :raises QuotaExceeded: there are not enough. :raises InvalidInput: the quota is a bucket.
        """
        parts = self._base.quota_state.parts({quota: cost_micro(cost)})
        if parts[0].is_bucket:
            raise InvalidInput(f'"{quota}" is not prepaid: its units come back by themselves', field="quota")
        return self._base.charges.reserve(parts, hold_s=hold_s)

    async def trigger(self, task_id: str) -> Triggered:
        """Run a task now, under its quota, on this daemon.

        :raises NotFound: no such task. :raises NotOpen: this process does not run tasks.
        """
        if not self._is_working:
            raise NotOpen("this process does not run tasks; ask a daemon: POST /api/tasks/{id}/trigger")
        return await self._base.working.gate.trigger(task_id)

    @property
    def quotas(self) -> QuotaDesk:
        """Define, change and look at quotas."""
        return self._with_store().quotas

    @property
    def tasks(self) -> TaskDesk:
        """Look at tasks, pause them, change when they run."""
        return self._with_store().tasks

    @property
    def tokens(self) -> TokenDesk:
        """Make and change access tokens, and charge them."""
        return self._storing.tokens if self._storing else self._base.tokens

    @property
    def charges(self) -> Charges:
        """Say what became of a request id, give back what it was charged, cancel it."""
        return self._base.charges

    async def audit(self, progress: Callable[[int], object] = lambda _: None) -> Audit:
        """Check the whole ledger: chains, sums, and Redis against SQL; `progress` is told the rows so far."""
        return await self._with_store().auditor.run(progress)

    @property
    def store(self) -> Store:
        """Read traces."""
        return self._with_store().store

    @property
    def statistics(self) -> Statistics:
        """Figures, and whether this process is fit to serve."""
        return self._with_store().statistics

    @property
    def cleanup(self) -> Cleanup:
        """Remove what is old, and say how that stands."""
        return self._with_store().cleanup

    @property
    def instance_id(self) -> str:
        """Name of this process among all."""
        return self._base.ids.node

    def work_statistics(self) -> dict[str, dict[str, int]]:
        """Return how full ticker and runner are."""
        work = self._base.working
        return {
            "ticker": work.ticker.statistics(),
            "runner": work.pool.statistics(),
            "leases": {"lost": work.leases.lost},
        }

    def _with_store(self) -> Storing:
        if self._storing is None:
            raise NotOpen("this process has no store: a daemon on this SQLite file has it; ask that daemon")
        return self._storing

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        base, storing = self._base, self._storing
        duties = [base.recorder.run(), self._beat()]
        if self.settings.redis.url == "embedded":
            duties.append(keep_redis(self.settings, base.server, base.clock))
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
        ]

    async def _ready(self) -> None:
        await self._base.server.ping()
        if self._storing is not None:
            await check_server(self._base.plain, self._base.clock, self.settings.redis.persistence)
        await self._base.fence.wait_ready(START_S)
        await self._meet()
        if self._storing is not None:
            await self._storing.quotas.declare(self.settings.quotas)
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

    async def _follow(self) -> None:
        while True:
            await self._base.clock.sleep(FOLLOW_S)
            try:
                await self.tasks.follow()
                await self.quotas.settle()
                await self.tokens.settle()
            except QuotaflowError as error:
                log.warning(Event.STORE_AWAY, error=str(error))

    async def _finish(self) -> None:
        """Write the last batch. What cannot be written in time stays in Redis."""
        await quietly(self._base.recorder.drain(), STOP_S)
        if self._storing is not None:
            await quietly(self._storing.flusher.drain(), STOP_S)
            await quietly(self._storing.snapshotter.once(), STOP_S)
            await quietly(self._storing.duty.give_up(), STOP_S)


async def _nothing(*_: object) -> None:
    """Recovery of a process that may not recover."""
