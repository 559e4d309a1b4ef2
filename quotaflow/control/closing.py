"""How runs end: outcomes become facts and leave in batches; leases are renewed, and runs nobody renews are lost."""

import asyncio
from collections.abc import Callable

from quotaflow import facts
from quotaflow.errors import QuotaflowError
from quotaflow.limiter.admission import Admission, Closing
from quotaflow.log import Event, get_logger
from quotaflow.model import Outcome, Reason, Status
from quotaflow.timing import Clock

log = get_logger(room="closing")

BATCH = 256
GATHER_S = 0.005  # an end waits this long for others to go with
GIVE_WAY = 10  # and this many times as long at most while runs wait to start: those go first
BEAT_EVERY_S = 2.0
LEASE_S = 8.0  # with a sweep every 2 s a dead daemon's runs are closed within 10 s


class Closer:
    """Takes outcomes from the pool and has them journalled. While Redis is away they wait, and so does the pool."""

    def __init__(
        self,
        admission: Admission,
        clock: Clock,
        instance: str,
        *,
        size: int,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """`size` bounds what waits to be journalled; `is_busy` says that runs wait to start."""
        self._admission = admission
        self._clock = clock
        self._instance = instance
        self._size = size
        self._is_busy = is_busy
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()  # who delivers keeps the bound: `wait_free`
        self._unwritten: set[str] = set()
        self._free = asyncio.Event()

    def deliver(self, outcome: Outcome) -> None:
        """Hand over an outcome. It is never refused: it has happened."""
        self._unwritten.add(outcome.run.run_id)
        self._outcomes.put_nowait(outcome)

    async def wait_free(self) -> None:
        """Return when fewer than `size` are waiting to be journalled."""
        while len(self._unwritten) >= self._size:
            self._free.clear()
            await self._free.wait()

    async def run(self) -> None:
        """Journal outcomes as they come, until cancelled; what cannot be written is tried again."""
        while True:
            batch = [await self._outcomes.get()]
            await self._gather()
            while len(batch) < BATCH and not self._outcomes.empty():
                batch.append(self._outcomes.get_nowait())
            await self._write(batch)
            for outcome in batch:
                self._unwritten.discard(outcome.run.run_id)
                report(outcome)
                self._outcomes.task_done()
            self._free.set()

    async def _gather(self) -> None:
        for _ in range(GIVE_WAY):
            await self._clock.sleep(GATHER_S)
            if not self._is_busy() or self._outcomes.qsize() >= BATCH:
                return

    async def settle(self) -> None:
        """Return when everything handed over is journalled."""
        await self._outcomes.join()

    def unwritten(self) -> list[str]:
        """Return the runs whose ends are not journalled yet; their leases must hold until then."""
        return list(self._unwritten)

    async def _write(self, batch: list[Outcome]) -> None:
        closings = [Closing(outcome.run.run_id, closing_fact(outcome, self._instance)) for outcome in batch]
        pause = 0.05
        while True:
            try:
                await self._admission.close(closings)
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error), waiting=len(batch))
                await self._clock.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                return


def closing_fact(outcome: Outcome, instance: str) -> str:
    """Write the journal line of an ended run."""
    run = outcome.run
    fields: dict[str, facts.Value] = {
        "run": run.run_id,
        "task": run.task_id,
        "quota": run.quota_id,
        "trigger": run.trigger,
        "at": run.scheduled_for_us,
        "cost": run.cost_micro,
        "attempt": run.attempt,
        "instance": instance,
        "claimed": run.claimed_us,
        "started": outcome.started_us,
        "finished": outcome.finished_us,
        "latency_ms": f"{outcome.latency_ms:.3f}",
        "wait_ms": f"{max(0.0, (outcome.started_us - run.claimed_us) / 1e3):.3f}",
        "status": outcome.status,
        "reason": outcome.reason,
        "error_type": outcome.error_type,
        "error": outcome.error,
    }
    return facts.encode(facts.CLOSE, fields)


def report(outcome: Outcome) -> None:
    """Log how a run ended."""
    run = outcome.run
    fields = {"task_id": run.task_id, "run_id": run.run_id, "trigger": str(run.trigger)}
    if outcome.status is Status.OK:
        log.debug(Event.RUN_FINISHED, **fields, latency_ms=round(outcome.latency_ms, 1))
    else:
        log.warning(
            Event.RUN_FAILED,
            **fields,
            status=str(outcome.status),
            error_type=outcome.error_type,
            error=outcome.error,
        )


class Leases:
    """Keeps this instance's runs alive and closes those of instances that are gone."""

    def __init__(self, admission: Admission, clock: Clock, held: Callable[[], list[str]]) -> None:
        self._admission = admission
        self._clock = clock
        self._held = held
        self.lost = 0

    async def run(self) -> None:
        """Beat and sweep every 2 s until cancelled."""
        while True:
            try:
                await self._admission.beat(self._held())
                await self.sweep()
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error))
            await self._clock.sleep(BEAT_EVERY_S)

    async def sweep(self) -> int:
        """Close runs whose lease has run out as `lost`; returns how many."""
        now_us = self._clock.wall_us()
        expired = await self._admission.expired()
        closings = [
            Closing(run_id, lost_fact(fact, run_id, now_us), expired=True) for run_id, fact in expired
        ]
        closed = await self._admission.close(closings) if closings else []
        for closing, done in zip(closings, closed, strict=True):
            if done:
                self.lost += 1
                log.warning(Event.RUN_LOST, run_id=closing.run_id)
        return sum(closed)


def lost_fact(opened: str, run_id: str, now_us: int) -> str:
    """Write the journal line of a run that nobody is working on any more, from the line that opened it."""
    _, fields = facts.decode(opened) if opened else ("", {"run": run_id})
    ended: dict[str, facts.Value] = {
        **fields,
        "finished": now_us,
        "status": Status.LOST,
        "reason": Reason.CRASHED,
    }
    return facts.encode(facts.CLOSE, ended)
