"""Settings -> rooms -> one task group. Data flows one way: ticker, gate, pool, closer, journal, store.

`Quotaflow.open` starts what a library needs: decisions, waiting, traces, and the flush while that duty is ours.
`working` adds what a daemon does: ticks and runs. Stopping follows the flow: the ticker ends first, the pool empties,
the last outcomes are journalled, the last batch is written, then the store closes, then the embedded server.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self, Unpack

from quotaflow.amounts import cost_micro, wait_s
from quotaflow.control.audit import Audit
from quotaflow.control.changes import ChangeDesk
from quotaflow.control.charges import HOLD_S, Charges, Held
from quotaflow.control.cleanup import Cleanup
from quotaflow.control.ending import STOP_S, quietly, unwrapped, within
from quotaflow.control.gate import Triggered
from quotaflow.control.life import Life
from quotaflow.control.operators import OperatorDesk
from quotaflow.control.place import claim_place, open_redis, open_sql, release_redis
from quotaflow.control.pool_figures import figures_of
from quotaflow.control.queues import Handler, QueueOptions, T, WorkQueue
from quotaflow.control.quotas import QuotaDesk
from quotaflow.control.recovery import StoreIncarnations
from quotaflow.control.rooms import Deciding, Storing
from quotaflow.control.runs import RunDesk
from quotaflow.control.stats import Statistics
from quotaflow.control.tasks import TaskDesk, plans_of
from quotaflow.control.tokens import TokenDesk
from quotaflow.control.upstream import UpstreamDesk
from quotaflow.control.wishes import Args, Wishes, WishNames
from quotaflow.errors import InvalidInput, NotOpen
from quotaflow.model import Decision, Reason
from quotaflow.runner import calls
from quotaflow.runner.registry import REGISTRY, Registry
from quotaflow.settings import Settings, load
from quotaflow.store import Store
from quotaflow.timing import SystemClock

SLOT_WAIT_S = 30.0

_OPEN: list[tuple[asyncio.AbstractEventLoop, "Quotaflow"]] = []


class Quotaflow:
    """One open quotaflow: decisions, quotas, tasks and traces. Made by `Quotaflow.open`."""

    def __init__(self, base: Deciding, storing: Storing | None) -> None:
        self._base = base
        self._storing = storing
        self._life = Life(base, storing)
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
            incarnations = StoreIncarnations(store) if store else None
            base = Deciding(settings, registry, url, role, SystemClock(), incarnations)
            stack.push_async_callback(base.close)
            storing = Storing(base, store, url) if store else None
            if storing:
                stack.push_async_callback(storing.close)
            flow = cls(base, storing)
            stack.push_async_callback(release_redis, settings, server, base.instances)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in flow._life.loops()]
                await flow._life.ready()
                calls.opened(base.calls)
                _OPEN.append(here := (asyncio.get_running_loop(), flow))
                flow._is_open = True
                try:
                    yield flow
                finally:
                    flow._is_open = False
                    _OPEN.remove(here)
                    calls.closed(base.calls)
                    await asyncio.shield(flow._life.finish())
                    for task in tasks:
                        task.cancel()

    @classmethod
    def current(cls) -> "Quotaflow":
        """Return the one that was opened last on this event loop: in an `async def` task, the one that runs it.

        :raises NotOpen: none is open here; a plain `def` has no event loop.
        """
        with contextlib.suppress(RuntimeError, StopIteration):
            here = asyncio.get_running_loop()
            return next(flow for loop, flow in reversed(_OPEN) if loop is here)
        raise NotOpen(
            "no Quotaflow is open on this event loop: use this in its `async with`, or in an `async def` task"
        )

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Tick and run tasks until the block ends, then stop in order: finish or interrupt within the grace."""
        work, grace_s = self._base.working, self.settings.runner.shutdown_grace_s
        await self.tasks.declare(plans_of(self._base.registry, self.settings))
        async with asyncio.TaskGroup() as group:
            claiming = [group.create_task(loop) for loop in (work.ticker.run(), work.waker.run())]
            pool = group.create_task(work.pool.run())
            loops = (work.closer.run(), work.leases.run(), self._life.follow())
            others = [group.create_task(loop) for loop in loops]
            self._is_working = True
            try:
                yield
            finally:
                self._is_working = False
                for task in claiming:
                    task.cancel()
                await asyncio.shield(asyncio.wait(claiming))  # a claim on its way may still grant runs
                work.pool.inbox.close()
                await asyncio.shield(within(pool, grace_s, work.pool.interrupt))
                await asyncio.shield(quietly(work.closer.settle(), STOP_S))
                for task in others:
                    task.cancel()

    async def acquire(
        self, quota: str | Mapping[str, float], cost: float = 1, *, key: str | None = None, wait: float = 0
    ) -> Decision:
        """Take units of one quota, or of several at once, all or none.

        :param quota: a quota's name, or a mapping of up to 64 names to costs.
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
        decision = await self._base.taking.acquire(quota, cost, key, wait)
        if decision.allowed or decision.reason is not Reason.MISSING:
            return decision
        return await self._base.taking.acquire_known(quota, cost, key, wait)

    def queue(self, handler: Handler[T], **options: Unpack[QueueOptions]) -> WorkQueue[T]:
        """Make a bounded queue whose workers call `handler` under a quota. See QueueOptions and WorkQueue."""
        return WorkQueue(handler, self.acquire, self._base.clock, **options)

    def slot(self, quota: str, *, wait: float = SLOT_WAIT_S) -> AbstractAsyncContextManager[None]:
        """Hold one of a quota's slots in the block: no more than its `max_concurrent` are, over all processes.

        Runs and limited calls under the quota take from the same slots. A process that dies frees its own after 8 s.

        :param wait: seconds to wait for one at most, in arrival order.
        :raises QuotaExceeded: none was free in time. :raises NotFound, QuotaDisabled: there is no usable quota.
        :raises InvalidInput: the quota has no `max_concurrent`, or a wait that is none.
        """
        if not self._is_open:
            raise NotOpen("this Quotaflow is closed; use it inside its `async with`")
        part = self._base.quota_state.parts({quota: 0})[0]
        if not part.is_bucket:
            raise InvalidInput(f'"{quota}" is prepaid: it has no slots', field="quota")
        return self._base.slots.holding(part.id, wait_s(wait))

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

    async def trigger(self, task_id: str, args: Args = None, **wishes: Unpack[WishNames]) -> Triggered:
        """Run a task under its quota, outside its schedule: now, or when `countdown` or `eta` says.

        A process that runs no tasks leaves it in Redis, for a daemon that has the task.

        :param args: positional arguments as a list, or a mapping of names to values; they must fit into JSON.
        :param wishes: countdown, eta, expires, time_limit, soft_time_limit: see Wishes.
        :raises NotFound: no such task in this process. :raises NotOpen: after the block of `open` has ended.
        :raises InvalidInput: what does not fit the task, such as a soft limit above the hard one.
        """
        if not self._is_open:
            raise NotOpen("this Quotaflow is closed; use it inside its `async with`")
        return await self._base.working.gate.trigger(task_id, Wishes(args, **wishes), here=self._is_working)

    @property
    def runs(self) -> RunDesk:
        """Cancel single runs."""
        return self._with_store().runs

    @property
    def quotas(self) -> QuotaDesk:
        """Define, change and look at quotas."""
        return self._with_store().quotas

    @property
    def operators(self) -> OperatorDesk:
        """Say who may look after the installation, and who is signed in."""
        return self._with_store().operators

    @property
    def changes(self) -> ChangeDesk:
        """See what people changed, and take it back."""
        return self._with_store().changes

    @property
    def tasks(self) -> TaskDesk:
        """Look at tasks, pause them, change when they run."""
        return self._with_store().tasks

    @property
    def tokens(self) -> TokenDesk:
        """Make and change access tokens, and charge them."""
        return self._storing.tokens if self._storing else self._base.tokens

    @property
    def upstream(self) -> UpstreamDesk:
        """Use the keys of other services; store, check and refresh them."""
        return self._storing.upstream.desk if self._storing else self._base.pooling.desk

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
        return self._base.working.statistics()

    async def upstream_statistics(self) -> dict[str, Any]:
        """Return how many upstream keys there are and what they have left; see `pool_figures`.

        :raises Unavailable: Redis does not answer.
        """
        return await figures_of(self._base.pooling.pools, self.settings.upstream.all_providers)

    def _with_store(self) -> Storing:
        if self._storing is None:
            raise NotOpen("this process has no store: a daemon on this SQLite file has it; ask that daemon")
        return self._storing
