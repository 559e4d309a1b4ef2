"""What a daemon adds: ticks, what waits, and runs. A library builds it too, to know quotas by name, and starts none."""

from quotaflow.control.closing import LEASE_S, Closer, Leases
from quotaflow.control.gate import Gate
from quotaflow.control.waking import Waker, leads
from quotaflow.ids import Ids
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.quotas import QuotaState
from quotaflow.model import Reason
from quotaflow.rates import Pace
from quotaflow.runner.execute import Executor
from quotaflow.runner.options import TimeLimits
from quotaflow.runner.pool import Pool
from quotaflow.runner.registry import Registry
from quotaflow.runner.sessions import Sessions
from quotaflow.runs import Run
from quotaflow.schedule.ticker import Ticker
from quotaflow.settings import Settings
from quotaflow.timing import Clock

LEASE_END_US = round((LEASE_S - 1) * 1e6)  # since the last beat; a second to be sure
STALE_US = 250_000  # between grant and start, for a task with a rate; as LATE in claim.lua


class Working:
    """The rooms that runs pass: ticker or waker, gate, pool, closer."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        admission: Admission,
        quotas: QuotaState,
        clock: Clock,
        ids: Ids,
    ) -> None:
        runner = settings.runner
        limits = TimeLimits(runner.time_limit or None, runner.soft_time_limit or None)
        self._node = ids.node
        self.paces: dict[str, Pace] = {}  # by task; what holds now, as TaskDesk knows it
        self.sessions = Sessions(settings.tasks_database_url)
        self.closer = Closer(admission, clock, ids.node, size=runner.queue_size, is_busy=self.is_busy)
        self.pool = Pool(
            clock,
            Executor(clock, self.sessions, limits=limits),
            registry.get,
            self.closer,
            concurrency=runner.concurrency,
            queue_size=runner.queue_size,
            is_stale=self.is_stale,
        )
        inbox = self.pool.inbox
        self.gate = Gate(registry, admission, quotas, inbox, clock, ids, limits=limits)
        grace_s = settings.scheduler.misfire_grace_s
        self.ticker = Ticker(clock, ids, self.gate.claim, admission.cursors, inbox, grace_s=grace_s)
        self.leases = Leases(admission, clock, ids.node, self.held, self.pool.end, self.ticker.now_us)
        self.waker = Waker(
            admission,
            self.gate,
            registry,
            inbox,
            clock,
            now_us=self.ticker.now_us,
            leads=self.leads,
            end=self.pool.end,
        )
        self._introduce()

    def _introduce(self) -> None:
        """Tell the gate and the closer, which come first, of the waker and of Redis' clock."""
        self.gate.on_waiting = self.waker.expect
        self.gate.now_us = self.closer.now_us = self.ticker.now_us

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return how full ticker and runner are."""
        return {
            "ticker": self.ticker.statistics(),
            "runner": self.pool.statistics(),
            "leases": {"lost": self.leases.lost},
            "waker": {"woken": self.waker.woken},
        }

    def held(self) -> list[Run]:
        """Return the runs whose leases must hold."""
        return [*self.pool.open_runs(), *self.closer.unwritten()]

    def leads(self, run_id: str) -> bool:
        """Say whether it is usually this daemon that takes a waiting run."""
        return leads(run_id, self.ticker.daemons, self._node)

    def is_stale(self, run: Run) -> Reason | None:
        """Say why a run that was admitted may not start any more: it goes back to where it waited, if it is still ours.

        It has missed its turn by the rate of its task, and would bunch up with the next; or this process was frozen for
        so long that somebody else may have the run by now.
        """
        now_us = self.ticker.now_us()
        if now_us - max(run.claimed_us, self.leases.beat_us) > LEASE_END_US:
            return Reason.DELAYED
        if run.task_id in self.paces and now_us - run.claimed_us > STALE_US:
            return Reason.RATE
        return None

    def is_busy(self) -> bool:
        """Say whether due work waits to start: what can wait, such as writing down what was done, waits for it."""
        return self.ticker.is_claiming or len(self.pool.inbox) > 0
