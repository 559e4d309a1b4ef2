"""The gate: ticks and triggers become claims; what is granted becomes a run in the inbox."""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random
from typing import NamedTuple

from quotaflow import facts
from quotaflow.control.plans import opening
from quotaflow.control.wishes import NONE, Wishes, planned
from quotaflow.errors import Backlog, NotFound
from quotaflow.ids import Ids
from quotaflow.limiter.admission import CLAIMS_PER_CALL, Admission
from quotaflow.limiter.claims import Claim, Mode
from quotaflow.limiter.quotas import QuotaState
from quotaflow.log import Event, get_logger
from quotaflow.model import Trigger
from quotaflow.runner.options import NO_LIMITS, TimeLimits
from quotaflow.runner.pool import Inbox
from quotaflow.runner.registry import Registry, Task
from quotaflow.runs import Answer, Plan, Run, Tick, Word
from quotaflow.timing import Clock

log = get_logger(room="gate")

REFUSED = (Word.LIMITED, Word.IMPOSSIBLE, Word.EXHAUSTED, Word.BUSY, Word.FULL)
SKIPPED = (Word.DISABLED, Word.MISSING, Word.EXPIRED, Word.PAUSED, Word.SKIP, Word.OVERLAP)
ANYWHERE = 1  # in place of a moment: see claim.lua
NAMES_EVERY_S = 1.0  # an unknown quota name is looked up again at most this often


@dataclass(frozen=True, slots=True)
class Triggered:
    """The answer to a manual trigger."""

    run_id: str
    answer: Answer


class Asked(NamedTuple):
    """One run that wants to be admitted."""

    task: Task
    mode: Mode
    run: Run
    cursor_us: int = 0
    not_before_us: int = 0


class Gate:
    """Admits for one instance."""

    def __init__(
        self,
        registry: Registry,
        admission: Admission,
        quotas: QuotaState,
        inbox: Inbox,
        clock: Clock,
        ids: Ids,
        *,
        limits: TimeLimits = NO_LIMITS,
        random: Callable[[], float] = random,
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._quotas = quotas
        self._inbox = inbox
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._random = random
        self.now_us: Callable[[], int] = clock.wall_us  # Redis time, as soon as somebody knows it
        self.on_waiting: Callable[[int], None] = lambda _: None  # is told when a run is due that waits now
        self._names_read_s = -NAMES_EVERY_S
        self._reading = asyncio.Lock()

    async def claim(self, ticks: Sequence[Tick]) -> list[Answer]:
        """Claim due ticks, in order. Sending the same ticks again after a failure does no harm."""
        tasks = [self._task(tick.task_id) for tick in ticks]
        await self._learn_names(tasks)
        asked = [self._of_tick(task, tick) for task, tick in zip(tasks, ticks, strict=True)]
        return await self._ask(asked)

    async def claim_due(self, waiting: Sequence[Run]) -> list[Answer]:
        """Claim runs whose waiting is over; each task is known here."""
        tasks = [self._task(run.task_id) for run in waiting]
        await self._learn_names(tasks)
        return await self._ask([self._of_due(task, run) for task, run in zip(tasks, waiting, strict=True)])

    async def trigger(self, task_id: str, wishes: Wishes = NONE, *, here: bool = True) -> Triggered:
        """Run a task outside its schedule, under its quota: now, or when the wishes say.

        :param here: this process runs tasks; otherwise it is left in Redis for one that does.

        :raises NotFound: no such task in this process. :raises InvalidInput: arguments or limits that do not fit it.
        :raises Backlog, Unavailable: the journal is full, or Redis does not answer.
        """
        task = self._task(task_id)
        if task.kind == "call":
            raise NotFound(f'"{task_id}" is called by code; it cannot be triggered')
        await self._learn_names([task])
        now_us = self.now_us()
        plan, not_before_us = planned(wishes, task, self._limits, now_us)
        run = Run(
            self._ids.next(), task.id, Trigger.MANUAL, None, now_us, self.quota_id_of(task), task.cost_micro
        )
        run = run._replace(plan=self._with_terms(task, plan, max(now_us, not_before_us)))
        not_before_us = not_before_us if here else max(not_before_us, ANYWHERE)
        answer = (await self._ask([Asked(task, Mode.TRIGGER, run, not_before_us=not_before_us)]))[0]
        if answer.word is Word.BACKLOG:
            raise Backlog("SQL is too far behind; nothing new begins")
        return Triggered(run.run_id, answer)

    def _task(self, task_id: str) -> Task:
        task = self._registry.get(task_id)
        if task is None:
            raise NotFound(f'no task "{task_id}" in this process')
        return task

    async def _learn_names(self, tasks: Sequence[Task]) -> None:
        if not self._unknown(tasks):
            return
        async with self._reading:  # whoever comes while names are read waits for them
            if self._unknown(tasks) and self._clock.mono_s() - self._names_read_s >= NAMES_EVERY_S:
                await self._quotas.refresh_names()
                self._names_read_s = self._clock.mono_s()

    def _unknown(self, tasks: Sequence[Task]) -> bool:
        return any(task.quota_name and self._quotas.id_of(task.quota_name) is None for task in tasks)

    async def quota_for_call(self, task: Task) -> str:
        """Return the id of a call's quota."""
        await self._learn_names([task])
        return self.quota_id_of(task) or task.id

    def is_prepaid(self, quota_id: str) -> bool:
        """Say whether a quota is an allowance."""
        return self._quotas.is_prepaid(quota_id)

    def has_slots(self, quota_id: str) -> bool:
        """Say whether only so many may be under way under a quota."""
        return self._quotas.has_slots(quota_id)

    def quota_id_of(self, task: Task) -> str | None:
        """Return the id of a task's quota; a name nobody knows is asked for as an id, and found missing."""
        return None if task.quota_name is None else self._quotas.id_or(task.quota_name)

    def _of_tick(self, task: Task, tick: Tick) -> "Asked":
        at_us = tick.scheduled_for_us
        run = Run(tick.run_id, task.id, Trigger.CRON, at_us, 0, self.quota_id_of(task), task.cost_micro)
        mode = Mode.TICK if tick.runs else Mode.MISSED
        if task.is_plain:
            return Asked(task, mode, run, tick.cursor_us)
        delay_us = round((offset_s(task) + task.jitter * self._random()) * 1e6)
        run = run._replace(plan=self._with_terms(task, run.plan, at_us + delay_us))
        return Asked(task, mode, run, tick.cursor_us, at_us + delay_us if delay_us else 0)

    def _of_due(self, task: Task, run: Run) -> "Asked":
        run = run._replace(quota_id=self.quota_id_of(task), cost_micro=task.cost_micro)
        return Asked(task, Mode.DUE, run)

    def _with_terms(self, task: Task, plan: Plan, from_us: int) -> Plan:
        """Add how long a run may wait for its quota, and what becomes of it when its daemon dies."""
        until_us = from_us + round(task.max_wait * 1e6) if task.max_wait else 0
        return plan._replace(until_us=until_us, max_crashes=task.max_crashes if task.rerun_lost else 0)

    async def _ask(self, asked: "Sequence[Asked]") -> list[Answer]:
        """Claim, and hand what is granted to the runner."""
        claims = [self._claim(item) for item in asked]
        answers: list[Answer] = []
        with self._inbox.expecting(len(claims)):
            for first in range(0, len(claims), CLAIMS_PER_CALL):
                answers += await self._admission.claim(claims[first : first + CLAIMS_PER_CALL])
            for item, answer in zip(asked, answers, strict=True):
                if answer.word is Word.GRANTED:
                    self._inbox.put(item.run._replace(claimed_us=answer.number))
                    continue
                if answer.word is Word.WAITING:
                    self.on_waiting(answer.number)
                report(item.run, answer)
        return answers

    def _claim(self, asked: "Asked") -> Claim:
        task, run, plan = asked.task, asked.run, asked.run.plan
        kind = facts.CLOSE if asked.mode is Mode.DUE else facts.OPEN
        return Claim(
            mode=asked.mode,
            task_id=task.id,
            run_id=run.run_id,
            fact=opening(run, self._ids.node, kind=kind),
            at_us=run.scheduled_for_us or 0,
            cursor_us=asked.cursor_us,
            quota_id=run.quota_id,
            cost_micro=task.cost_micro,
            allow_missing=task.allow_missing,
            is_prepaid=run.quota_id is not None and self._quotas.is_prepaid(run.quota_id),
            leg=run.leg,
            not_before_us=asked.not_before_us,
            until_us=plan.until_us,
            expires_us=plan.expires_us,
            max_running=task.max_running or 0,
            queues=task.queues_overlap,
        )


def offset_s(task: Task) -> float:
    """Return the part of its `spread` that a task always starts later."""
    return task.spread * zlib.crc32(task.id.encode()) / 2**32


def report(run: Run, answer: Answer) -> None:
    """Log what was not granted."""
    fields = {"task_id": run.task_id, "run_id": run.run_id, "trigger": str(run.trigger)}
    if answer.word in REFUSED:
        retry_s = None if answer.number < 0 else answer.number / 1e6
        log.debug(
            Event.RUN_LIMITED, **fields, quota_id=run.quota_id, reason=answer.word, retry_after_s=retry_s
        )
    elif answer.word in SKIPPED:
        log.debug(Event.RUN_SKIPPED, **fields, reason=answer.word)
    elif answer.word is Word.MISSED:
        log.info(Event.TICK_MISSED, **fields, scheduled_for_us=run.scheduled_for_us)
