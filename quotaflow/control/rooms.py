"""The rooms of one process, wired: who hands what to whom. Nothing here starts or waits."""

import secrets

from quotaflow.control.audit import Auditor
from quotaflow.control.calls import LimitedCalls
from quotaflow.control.changes import ChangeDesk
from quotaflow.control.charges import Charges
from quotaflow.control.cleanup import Cleanup
from quotaflow.control.closing import LEASE_S
from quotaflow.control.duty import Duty
from quotaflow.control.keeping import Keeper
from quotaflow.control.mirrors import Mirrors
from quotaflow.control.operators import OperatorDesk
from quotaflow.control.pooling import Pooling, Refreshing
from quotaflow.control.prepaid_recovery import PrepaidRecovery
from quotaflow.control.quotas import QuotaDesk
from quotaflow.control.recovery import Recovery, ends_of
from quotaflow.control.runs import RunDesk
from quotaflow.control.stats import Statistics
from quotaflow.control.taking import Taking
from quotaflow.control.tasks import TaskDesk
from quotaflow.control.tokens import TokenDesk
from quotaflow.control.working import Working
from quotaflow.ids import Ids
from quotaflow.journal.flusher import Flusher, Portion
from quotaflow.journal.recorder import Recorder
from quotaflow.journal.snapshots import Snapshotter
from quotaflow.limiter import keys, restore
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.allowances import Allowances
from quotaflow.limiter.batcher import Batcher
from quotaflow.limiter.charging import Charging
from quotaflow.limiter.client import connect
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.incarnation import Incarnations, MarkerIncarnations
from quotaflow.limiter.instances import Instances
from quotaflow.limiter.quotas import QuotaState
from quotaflow.limiter.server import Server
from quotaflow.limiter.slots import Slots
from quotaflow.limiter.waiting import Lines
from quotaflow.limiter.wire import Wire
from quotaflow.records import Batch
from quotaflow.runner.registry import Registry
from quotaflow.settings import Settings
from quotaflow.store import Store
from quotaflow.timing import Clock


class Deciding:
    """What every process has: decisions, waiting, and the traces of its calls."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        url: str,
        role: str,
        clock: Clock,
        incarnations: Incarnations | None,
    ) -> None:
        deadline_s, journal = settings.redis.deadline_s, settings.journal
        self.settings, self.registry, self.clock = settings, registry, clock
        self.ids = Ids(clock)
        self.plain = connect(url, deadline_s=deadline_s, max_connections=16)
        self.client = connect(url, deadline_s=deadline_s, on_run_id=self._saw)
        self.wire = Wire(self.client)
        self.fence = Fence(
            self.wire, self.plain, incarnations or MarkerIncarnations(self.plain), deadline_s=deadline_s
        )
        self.server = Server(self.plain, clock)
        self.instances = Instances(self.plain, self.ids.node, role, clock.wall_us())
        self.batcher = Batcher(self.fence, clock, self.ids, deadline_s=deadline_s)
        self.allowances = Allowances(self.fence, self.plain, self.ids, request_ttl_s=journal.request_ttl_s)
        self.charging = self._charging()
        self.quota_state = QuotaState(self.fence, self.batcher, self.plain, self.allowances)
        self.admission = self._admission()
        self.recorder = Recorder(
            self.admission.record, clock, per_second=journal.trace_calls_per_s, cap=journal.log_queue_cap
        )
        self.lines = Lines(self.batcher, clock)
        self.slots = Slots(self.fence, clock, self.ids, lease_s=LEASE_S)
        self.charges = Charges(
            self.charging, self.allowances, self.admission, self.ids, request_ttl_s=journal.request_ttl_s
        )
        self.taking = Taking(self.quota_state, self.lines, self.batcher, self.charges)
        self.tokens = self.token_desk(None)
        self.pooling = Pooling(settings, self.fence, self.plain, clock, self.ids)
        self.working = Working(settings, registry, self.admission, self.quota_state, clock, self.ids)
        self.calls = LimitedCalls(
            self.working.gate, self.lines, self.slots, self.charges, self.recorder, clock, self.ids
        )

    def _admission(self) -> Admission:
        return Admission(
            self.fence,
            self.plain,
            instance=self.ids.node,
            lease_s=LEASE_S,
            backlog_max=self.settings.journal.backlog_max,
            waiting_max=self.settings.runner.waiting_max,
        )

    def _charging(self) -> Charging:
        journal = self.settings.journal
        return Charging(
            self.fence,
            self.clock,
            self.ids,
            deadline_s=self.settings.redis.deadline_s,
            backlog_max=journal.backlog_max,
            requests_max=journal.request_records_max,
        )

    def token_desk(self, store: Store | None) -> TokenDesk:
        """Make the desk for access tokens; without a store only customers are served."""
        return TokenDesk(
            self.charges, self.allowances, store, self.clock, secrets.token_bytes, self.quota_state.parts
        )

    def _saw(self, run_id: str) -> None:
        """Tell the fence, which is made after the client it watches."""
        self.fence.saw_run_id(run_id)

    async def close(self) -> None:
        """Close what connects to somewhere."""
        await self.working.sessions.close()
        await self.batcher.drain()
        await self.charging.drain()
        self.wire.close()
        await self.client.aclose()
        await self.plain.aclose()


class Storing:
    """What a process with the store adds: definitions, the flush, recovery, figures."""

    def __init__(self, base: Deciding, store: Store, url: str) -> None:
        settings, clock, journal = base.settings, base.clock, base.settings.journal
        self.store = store
        self._base = base
        self.keeper = Keeper(store, base.charges, base.allowances, clock, settings.scheduler.timezone)
        self.reader = connect(url, deadline_s=settings.redis.deadline_s + 1, max_connections=4)
        self.flusher = Flusher(
            self.reader,
            keys.JOURNAL,
            self._write,
            self._trim,
            clock,
            batch=journal.batch,
            is_busy=base.working.is_busy,
        )
        prepaid = PrepaidRecovery(store, base.allowances, clock, base.ids, lambda: base.fence.number)
        self.recovery = Recovery(store, lambda: restore.look(base.plain), self.flusher, prepaid)
        base.charges.look_in(store.rows_of_requests)
        base.allowances.look_in(store.rows_of_requests)
        self.tokens = base.token_desk(store)
        self.auditor = Auditor(store, base.allowances.holdings, clock)
        self.duty = Duty("flusher", base.admission, clock, shared=store.is_shared)
        self.cleanup = self._cleanup()
        self.quotas = QuotaDesk(store, base.quota_state, base.pooling.providers)
        self.operators = OperatorDesk(store, clock, secrets.token_bytes)
        self.upstream = self._upstream()
        self.snapshotter = Snapshotter(
            self.quotas.levels, store.write_snapshots, clock, every_s=journal.flush_every_s
        )
        self.tasks = self._tasks()
        self.changes = ChangeDesk(store, self.quotas, self.tasks)
        self.runs = RunDesk(store, base.admission)
        self.statistics = self._statistics()

    def _upstream(self) -> Refreshing:
        base = self._base
        return Refreshing(
            base.pooling,
            self.store,
            base.admission,
            base.quota_state,
            Mirrors(base.quota_state, base.allowances),
            lambda: base.fence.number if base.fence.is_ready else 0,
        )

    def _tasks(self) -> TaskDesk:
        base, settings = self._base, self._base.settings
        return TaskDesk(
            base.registry,
            self.store,
            base.admission,
            base.working.ticker,
            base.clock,
            settings.scheduler.timezone,
            settings.runner.rate_limit or None,
            base.working.paces,
        )

    def _cleanup(self) -> Cleanup:
        base, settings = self._base, self._base.settings
        return Cleanup(
            settings.retention,
            settings.journal.request_ttl_s,
            self.store,
            Duty("cleaner", base.admission, base.clock, shared=self.store.is_shared),
            base.clock,
            base.ids.node,
        )

    def _statistics(self) -> Statistics:
        base = self._base
        return Statistics(
            settings=base.settings,
            fence=base.fence,
            server=base.server,
            instances=base.instances,
            flusher=self.flusher,
            snapshotter=self.snapshotter,
            recorder=base.recorder,
            lines=base.lines,
            slots=base.slots,
            store=self.store,
            levels=self.quotas.levels,
            runs_waiting=base.admission.waiting,
            stuck_runs=base.working.pool.stuck_runs,
        )

    def may_flush(self) -> bool:
        """This process has the duty, and looks at the life of Redis that SQL knows."""
        return self.duty.is_held() and self._base.fence.is_ready

    async def _trim(self, portion: Portion) -> int:
        return await self._base.admission.trim(ends_of(portion), len(portion.facts))

    async def _write(self, batch: Batch) -> None:
        """Write facts of this life of Redis; what orphans took is taken again before they leave the journal."""
        result = await self.store.write_batch(batch, incarnation=self._base.fence.number)
        if result.orphans:
            await self.keeper.take_again(result.orphans, now=self._base.fence.is_ready)

    async def close(self) -> None:
        """Close the connection that blocks in reads."""
        await self.reader.aclose()
