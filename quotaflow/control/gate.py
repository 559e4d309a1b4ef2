"""The gate: ticks and triggers become claims; what is granted becomes a run in the inbox."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quotaflow import facts
from quotaflow.errors import Backlog, NotFound
from quotaflow.ids import Ids
from quotaflow.limiter.admission import CLAIMS_PER_CALL, Admission, Claim, Mode
from quotaflow.limiter.quotas import QuotaState
from quotaflow.log import Event, get_logger
from quotaflow.model import Answer, Run, Tick, Trigger, Word
from quotaflow.runner.registry import Registry, Task
from quotaflow.timing import Clock

log = get_logger(room="gate")

REFUSED = (Word.LIMITED, Word.IMPOSSIBLE, Word.EXHAUSTED)
SKIPPED = (Word.DISABLED, Word.MISSING, Word.EXPIRED, Word.PAUSED)
NAMES_EVERY_S = 1.0  # an unknown quota name is looked up again at most this often


@dataclass(frozen=True, slots=True)
class Triggered:
    """The answer to a manual trigger."""

    run_id: str
    answer: Answer


class Gate:
    """Admits for one instance."""

    def __init__(
        self,
        registry: Registry,
        admission: Admission,
        quotas: QuotaState,
        put: Callable[[Run], None],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._quotas = quotas
        self._put = put
        self._clock = clock
        self._ids = ids
        self._names_read_s = -NAMES_EVERY_S
        self._reading = asyncio.Lock()

    async def claim(self, ticks: Sequence[Tick]) -> list[Answer]:
        """Claim due ticks, in order. Sending the same ticks again after a failure does no harm."""
        tasks = [self._task(tick.task_id) for tick in ticks]
        await self._learn_names(tasks)
        claims = [self._tick_claim(task, tick) for task, tick in zip(tasks, ticks, strict=True)]
        answers: list[Answer] = []
        for first in range(0, len(claims), CLAIMS_PER_CALL):
            answers += await self._admission.claim(claims[first : first + CLAIMS_PER_CALL])
        for task, tick, claim, answer in zip(tasks, ticks, claims, answers, strict=True):
            self._act(task, claim, answer, Trigger.CRON, tick.scheduled_for_us)
        return answers

    async def trigger(self, task_id: str) -> Triggered:
        """Run a task now, under its quota, outside its schedule.

        :raises NotFound: no such task in this process.
        :raises Backlog, Unavailable: the journal is full, or Redis does not answer.
        """
        task = self._task(task_id)
        if task.kind == "call":
            raise NotFound(f'"{task_id}" is called by code; it cannot be triggered')
        await self._learn_names([task])
        run_id = self._ids.next()
        claim = self._make(task, Mode.TRIGGER, run_id, Trigger.MANUAL, None, 0)
        answer = (await self._admission.claim([claim]))[0]
        if answer.word is Word.BACKLOG:
            raise Backlog("SQL is too far behind; nothing new begins")
        self._act(task, claim, answer, Trigger.MANUAL, None)
        return Triggered(run_id, answer)

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

    def quota_id_of(self, task: Task) -> str | None:
        """Return the id of a task's quota; a name nobody knows is asked for as an id, and found missing."""
        return None if task.quota_name is None else self._quotas.id_or(task.quota_name)

    def _tick_claim(self, task: Task, tick: Tick) -> Claim:
        mode = Mode.TICK if tick.runs else Mode.MISSED
        return self._make(task, mode, tick.run_id, Trigger.CRON, tick.scheduled_for_us, tick.cursor_us)

    def _make(
        self, task: Task, mode: Mode, run_id: str, trigger: Trigger, at_us: int | None, cursor_us: int
    ) -> Claim:
        quota_id = self.quota_id_of(task)
        fields: dict[str, facts.Value] = {
            "run": run_id,
            "task": task.id,
            "quota": quota_id,
            "trigger": trigger,
            "at": at_us,
            "cost": task.cost_micro,
            "attempt": 1,
            "instance": self._ids.node,
        }
        return Claim(
            mode=mode,
            task_id=task.id,
            run_id=run_id,
            fact=facts.encode(facts.OPEN, fields),
            at_us=at_us or 0,
            cursor_us=cursor_us,
            quota_id=quota_id,
            cost_micro=task.cost_micro,
            allow_missing=task.allow_missing,
            is_prepaid=quota_id is not None and self._quotas.is_prepaid(quota_id),
        )

    def _act(self, task: Task, claim: Claim, answer: Answer, trigger: Trigger, at_us: int | None) -> None:
        fields = {"task_id": task.id, "run_id": claim.run_id, "trigger": str(trigger)}
        if answer.word is Word.GRANTED:
            self._put(
                Run(claim.run_id, task.id, trigger, at_us, answer.number, claim.quota_id, claim.cost_micro)
            )
        elif answer.word in REFUSED:
            retry_s = None if answer.number < 0 else answer.number / 1e6
            log.debug(
                Event.RUN_LIMITED,
                **fields,
                quota_id=claim.quota_id,
                reason=answer.word,
                retry_after_s=retry_s,
            )
        elif answer.word in SKIPPED:
            log.debug(Event.RUN_SKIPPED, **fields, reason=answer.word)
        elif answer.word is Word.MISSED:
            log.info(Event.TICK_MISSED, **fields, scheduled_for_us=at_us)
