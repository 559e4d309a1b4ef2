"""Admitted runs, and how to see in the journal what became of them."""

import asyncio
from collections.abc import Awaitable, Callable

from quotaflow import facts
from quotaflow.amounts import MICRO
from quotaflow.journal.fold import Fact, trace
from quotaflow.limiter import keys
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.claims import Claim, Mode, Tracked
from quotaflow.model import Status, Trigger
from quotaflow.runs import Outcome, Run, Word
from quotaflow.timing import ManualClock
from tests.limiter.conftest import Bench


def opening(run_id: str, instance: str) -> str:
    """Write the line that opens a run, as the gate does."""
    fields: dict[str, facts.Value] = {
        "run": run_id,
        "task": "任务 1",
        "quota": "api",
        "trigger": Trigger.CRON,
        "at": 1_700_000_000_000_000,
        "cost": 2 * MICRO,
        "attempt": 1,
        "instance": instance,
    }
    return facts.encode(facts.OPEN, fields)


async def admit(bench: Bench, run_id: str, *, lease_s: float = 8.0, instance: str = "me") -> Run:
    """Admit a run whose lease is as long as asked, for us or somebody else."""
    admission = Admission(
        bench.fence, bench.client, instance=instance, lease_s=lease_s, backlog_max=1000, waiting_max=1000
    )
    await admission.track([Tracked("任务 1")])
    (answer,) = await admission.claim([Claim(Mode.TRIGGER, "任务 1", run_id, opening(run_id, instance))])
    assert answer.word is Word.GRANTED
    at_us = 1_700_000_000_000_000
    return Run(run_id, "任务 1", Trigger.CRON, at_us, answer.number, "api", 2 * MICRO)


def ended(run: Run, status: Status = Status.OK, error: str | None = None) -> Outcome:
    started_us, finished_us = run.claimed_us + 1_500, run.claimed_us + 251_500
    return Outcome(run, status, started_us, finished_us, 250.0, None, error and "ApiError", error)


async def journal(bench: Bench) -> list[Fact]:
    entries = await bench.plain.xrange(keys.JOURNAL)
    return [Fact(event, line) for _, fields in entries for event, line in fields.items()]


async def closed(bench: Bench) -> dict[str, Status]:
    """Return the runs whose ends are journalled."""
    rows = [
        trace(facts.decode(fact.line)[1]) for fact in await journal(bench) if fact.event_id.endswith(".close")
    ]
    assert len({row.run_id for row in rows}) == len(rows)
    return {row.run_id: row.status for row in rows}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.005)


async def asleep(clock: ManualClock) -> bool:
    """Somebody waits for the clock."""
    return any(not wake.done() for _, _, wake in clock._sleepers)
