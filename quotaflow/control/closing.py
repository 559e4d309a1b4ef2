"""How runs end: outcomes become facts and leave in batches; leases are renewed, and runs nobody renews are lost."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from quotaflow import facts
from quotaflow.control.plans import identity, next_attempt, opening, plan_text, put_back, run_of, with_try
from quotaflow.errors import QuotaflowError
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.claims import Closing, PutBack
from quotaflow.log import Event, get_logger
from quotaflow.model import Reason, Status
from quotaflow.runs import Again, Outcome, Run
from quotaflow.timing import Clock

log = get_logger(room="closing")

BATCH = 256
GATHER_S = 0.005  # an end waits this long for others to go with
GIVE_WAY = 10  # and this many times as long at most while runs wait to start: those go first
BEAT_EVERY_S = 2.0
RETRY_WAIT_US = 3_600_000_000  # how long an attempt after the first may wait for its quota
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
        self._unwritten: dict[tuple[str, str], Run] = {}
        self._free = asyncio.Event()
        self.now_us: Callable[[], int] = clock.wall_us  # Redis time, as soon as somebody knows it

    def deliver(self, outcome: Outcome) -> None:
        """Hand over an outcome. It is never refused: it has happened."""
        if outcome.status is not Status.STUCK:
            self._unwritten[outcome.run.run_id, outcome.run.leg] = outcome.run
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
                self._unwritten.pop((outcome.run.run_id, outcome.run.leg), None)
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

    def unwritten(self) -> list[Run]:
        """Return the runs whose ends are not journalled yet; their leases must hold until then."""
        return list(self._unwritten.values())

    async def _write(self, batch: list[Outcome]) -> None:
        closings = [self._closing(outcome) for outcome in batch if outcome.status is not Status.STUCK]
        stuck = [outcome for outcome in batch if outcome.status is Status.STUCK]
        pause = 0.05
        while True:
            try:
                if closings:
                    await self._admission.close(closings)
                if stuck:
                    await self._admission.mark([self._closing(outcome) for outcome in stuck])
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error), waiting=len(batch))
                await self._clock.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                return

    def _closing(self, outcome: Outcome) -> Closing:
        run, again = outcome.run, None
        fact = closing_fact(outcome, self._instance)
        if outcome.again is not None:
            fact, again = self._again(outcome, outcome.again)
        return Closing(run.run_id, fact, run.task_id, run.quota_id, run.leg, again=again)

    def _again(self, outcome: Outcome, wanted: Again) -> tuple[str, PutBack]:
        """Write that a run waits for another attempt, or, if it did not begin, for this one."""
        run, due_us = outcome.run, self.now_us() + round(wanted.after_s * 1e6)
        cancelled = replace(outcome, status=Status.CANCELLED, reason=Reason.CANCELLED)
        ending = closing_fact(cancelled, self._instance)
        if outcome.status is Status.WAITING:
            return waiting_again(
                put_back(run), self._instance, due_us, outcome.reason, paid=True, cancelled=ending
            )
        tries = with_try(run.plan.tries, outcome)
        run = next_attempt(run, tries, due_us + RETRY_WAIT_US, is_paid=wanted.paid)
        return waiting_again(run, self._instance, due_us, Reason.RETRY, paid=wanted.paid, cancelled=ending)


def waiting_again(
    run: Run, instance: str, due_us: int, reason: Reason | None, *, paid: bool, cancelled: str
) -> tuple[str, PutBack]:
    """Return the fact that a run waits from now on, and what Redis keeps of it."""
    moments = f" claimed={run.claimed_us} status={Status.WAITING} reason={reason} due={due_us}"
    kept = PutBack(due_us, opening(run, instance), paid, cancelled)
    return opening(run, instance, kind=facts.CLOSE) + moments, kept


def closing_fact(outcome: Outcome, instance: str) -> str:
    """Write the journal line of an ended run."""
    run = outcome.run
    fields: dict[str, facts.Value] = {
        **identity(run, instance),
        "plan": None if outcome.status.is_final else plan_text(run.plan),
        "tries": with_try(run.plan.tries, outcome) if run.plan.tries else None,
        "claimed": run.claimed_us,
        "started": outcome.started_us,
        "finished": outcome.finished_us,
        "latency_ms": f"{outcome.latency_ms:.3f}",
        "wait_ms": f"{max(0.0, (outcome.started_us - (run.since_us or run.claimed_us)) / 1e3):.3f}",
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
    if outcome.again is not None:
        again = {
            "attempt": run.attempt,
            "status": str(outcome.status),
            "after_s": round(outcome.again.after_s, 3),
        }
        log.info(Event.RUN_AGAIN, **fields, **again, error_type=outcome.error_type, error=outcome.error)
    elif outcome.status is Status.OK:
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
    """Keeps this instance's runs alive, ends those taken from it, and closes those of instances that are gone."""

    def __init__(
        self,
        admission: Admission,
        clock: Clock,
        instance: str,
        held: Callable[[], list[Run]],
        end: Callable[[str, Status, str | None], bool],
        now_us: Callable[[], int],
    ) -> None:
        """`held` are the runs of this instance, `end` ends one of them; `now_us` is Redis time."""
        self._admission = admission
        self._clock = clock
        self._instance = instance
        self._held = held
        self._end = end
        self._now_us = now_us
        self.lost = 0
        self.beat_us = 0  # when the leases were renewed last

    async def run(self) -> None:
        """Beat and sweep every 2 s until cancelled."""
        while True:
            try:
                await self.beat()
                await self.sweep()
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error))
            await self._clock.sleep(BEAT_EVERY_S)

    async def beat(self) -> None:
        """Renew what is held. A run that somebody else has closed meanwhile is not ours to go on with."""
        began_us = self._now_us()
        for run in await self._admission.beat(self._held()):
            self._end(run.run_id, Status.LOST, run.leg)
        self.beat_us = began_us

    async def sweep(self) -> int:
        """Close runs whose lease has run out, or have them run again; returns how many."""
        now_us = self._clock.wall_us()
        expired = await self._admission.expired()
        closings = [after_loss(fact, run_id, self._instance, now_us) for run_id, fact in expired]
        closed = await self._admission.close(closings) if closings else []
        for closing, done in zip(closings, closed, strict=True):
            if done:
                self.lost += 1
                log.warning(Event.RUN_LOST, run_id=closing.run_id, again=closing.again is not None)
        return sum(closed)


def after_loss(opened: str, run_id: str, instance: str, now_us: int) -> Closing:
    """Decide what becomes of a run that nobody is working on any more, from the line that opened it."""
    try:
        run, (_, fields) = run_of(opened), facts.decode(opened)
    except (KeyError, ValueError, TypeError):  # nothing is known of it: its end becomes a dead letter
        fact = facts.encode(facts.CLOSE, {"run": run_id, "status": Status.LOST})
        return Closing(run_id, fact, run_id, expired=True)
    crashes = run.plan.crashes + 1
    where = Closing(run_id, "", run.task_id, run.quota_id, run.leg, expired=True)
    ended: dict[str, facts.Value] = {
        **{key: value for key, value in fields.items() if key != "plan"},
        "finished": now_us,
        "reason": Reason.CRASHED,
    }
    if crashes < run.plan.max_crashes:
        lost = Outcome(run, Status.LOST, run.claimed_us, now_us, 0.0, error="its daemon died")
        charged = run._replace(cost_micro=int(fields["cost"]) - run.plan.spent_micro)
        again = next_attempt(charged, with_try(run.plan.tries, lost), now_us + RETRY_WAIT_US, is_paid=False)
        again = again._replace(plan=again.plan._replace(crashes=crashes))
        cancelled = facts.encode(facts.CLOSE, ended | {"status": Status.CANCELLED})
        fact, kept = waiting_again(again, instance, now_us, Reason.CRASHED, paid=False, cancelled=cancelled)
        return where._replace(fact=fact, again=kept)
    status = Status.DEAD if run.plan.max_crashes else Status.LOST
    error = f"the daemon that ran it died, {crashes} times" if run.plan.max_crashes else None
    ended |= {"status": status, "error": error}
    return where._replace(fact=facts.encode(facts.CLOSE, ended))
