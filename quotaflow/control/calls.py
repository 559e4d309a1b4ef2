"""Limited calls in this process: wait for a slot and for units, then trace how the call ended."""

import asyncio
from dataclasses import dataclass

from quotaflow import facts
from quotaflow.control.charges import Charges
from quotaflow.control.gate import Gate
from quotaflow.errors import InvalidInput, NotFound, QuotaDisabled, QuotaExceeded
from quotaflow.ids import Ids
from quotaflow.journal.recorder import Recorder
from quotaflow.ledger import Part
from quotaflow.limiter.slots import Slots
from quotaflow.limiter.waiting import Lines, insist
from quotaflow.model import Decision, Reason, Status, Trigger
from quotaflow.runner.endings import text_of
from quotaflow.runner.registry import Task
from quotaflow.timing import Clock


@dataclass(frozen=True, slots=True)
class CallTicket:
    """An admitted call; `done` traces it."""

    owner: "LimitedCalls"
    task: Task
    run_id: str
    quota_id: str
    asked_us: int
    started_us: int
    holder: str | None  # of its slot

    def done(self, error: BaseException | None) -> None:
        """Trace how the call ended, and give back its slot."""
        self.owner.leave(self.holder)
        status = Status.OK
        if error is not None:
            status = Status.CANCELLED if isinstance(error, asyncio.CancelledError) else Status.FAILED
        self.owner.trace(
            self.task, self.run_id, self.quota_id, self.asked_us, self.started_us, status, error=error
        )


class LimitedCalls:
    """Serves the functions that LimitCallTask decorated, while a Quotaflow is open."""

    def __init__(
        self,
        gate: Gate,
        lines: Lines,
        slots: Slots,
        charges: Charges,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._gate = gate
        self._lines = lines
        self._slots = slots
        self._charges = charges
        self._recorder = recorder
        self._clock = clock
        self._ids = ids

    async def admit(self, task: Task) -> CallTicket:
        """Wait for a slot and for the units of a call, at most its `max_wait`; a refusal is traced as limited."""
        asked_us, asked_s, run_id = self._clock.wall_us(), self._clock.mono_s(), self._ids.next()
        quota_id = await self._gate.quota_for_call(task)
        holder = await self._enter(task, quota_id, run_id, asked_us)
        try:
            max_wait = max(0.0, task.max_wait - (self._clock.mono_s() - asked_s)) if holder else task.max_wait
            decision = await self._decide(task, quota_id, run_id, max_wait)
            self._insist(task, decision, quota_id, run_id, asked_us)
        except BaseException:
            self.leave(holder)
            raise
        return CallTicket(self, task, run_id, quota_id, asked_us, self._clock.wall_us(), holder)

    async def _enter(self, task: Task, quota_id: str, run_id: str, asked_us: int) -> str | None:
        """Take a slot, before the units: these would be gone if there were none. Without a limit there is none."""
        if not self._gate.has_slots(quota_id):
            return None
        try:
            return await self._slots.take(quota_id, task.max_wait)
        except QuotaExceeded:
            self.trace(task, run_id, quota_id, asked_us, None, Status.LIMITED, reason=Reason.BUSY)
            raise
        except (NotFound, QuotaDisabled, InvalidInput):
            return None  # it has changed meanwhile; asking for units tells how

    def leave(self, holder: str | None) -> None:
        """Give a slot back."""
        if holder is not None:
            self._slots.give(holder)

    def _insist(self, task: Task, decision: Decision, quota_id: str, run_id: str, asked_us: int) -> None:
        try:
            insist(decision, task.max_wait)
        except QuotaExceeded as error:
            never = decision.reason is Reason.LIMITED and error.retry_after is None
            reason = Reason.IMPOSSIBLE if never else decision.reason
            self.trace(task, run_id, quota_id, asked_us, None, Status.LIMITED, reason=reason)
            raise
        except (NotFound, QuotaDisabled) as error:
            if not task.allow_missing:
                reason = Reason.MISSING if isinstance(error, NotFound) else Reason.DISABLED
                self.trace(task, run_id, quota_id, asked_us, None, Status.SKIPPED, reason=reason)
                raise

    async def _decide(self, task: Task, quota_id: str, run_id: str, max_wait: float) -> Decision:
        """Ask the quota. What a prepaid one is charged stands under the run's id."""
        if self._gate.is_prepaid(quota_id):
            return await self._charges.acquire([Part(quota_id, task.cost_micro)], own_id=run_id)
        return await self._lines.acquire(quota_id, "", task.cost_micro, max_wait=max_wait)

    def trace(
        self,
        task: Task,
        run_id: str,
        quota_id: str,
        asked_us: int,
        started_us: int | None,
        status: Status,
        *,
        reason: Reason | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Note one call for the journal."""
        now_us = self._clock.wall_us()
        fields: dict[str, facts.Value] = {
            "run": run_id,
            "task": task.id,
            "quota": quota_id,
            "trigger": Trigger.CALL,
            "cost": task.cost_micro,
            "attempt": 1,
            "instance": self._ids.node,
            "claimed": asked_us,
            "started": started_us,
            "finished": now_us,
            "latency_ms": f"{(now_us - (started_us or now_us)) / 1e3:.3f}",
            "wait_ms": f"{((started_us or now_us) - asked_us) / 1e3:.3f}",
            "status": status,
            "reason": reason,
            "error_type": type(error).__name__ if error is not None else None,
            "error": text_of(error) if error is not None else None,
        }
        line = facts.encode(facts.CLOSE, fields)
        self._recorder.note(run_id + ".close", line, failed=status is not Status.OK)
