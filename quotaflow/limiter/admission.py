"""Admit work and close it: ticks claimed by cursor, triggers without one, leases renewed, ends journalled."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Fence
from quotaflow.model import Answer, Word

CLAIMS_PER_CALL = 256
TASKS_PER_CALL = 1000


class Mode(StrEnum):
    """What is asked for with a claim."""

    TICK = "tick"
    MISSED = "missed"
    TRIGGER = "trigger"


class Claim(NamedTuple):
    """One tick or trigger that wants to be admitted. `fact` is the journal line that the script completes."""

    mode: Mode
    task_id: str
    run_id: str
    fact: str
    at_us: int = 0
    cursor_us: int = 0
    quota_id: str | None = None
    cost_micro: int = 0
    allow_missing: bool = False
    is_prepaid: bool = False


class Closing(NamedTuple):
    """The end of a run. `expired` closes it only if nobody renewed its lease."""

    run_id: str
    fact: str
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """The first and the last entry of a stretch of the stream: stream id and event id of its first fact."""

    first: tuple[str, str]
    last: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a task stands in Redis."""

    last_tick_us: int
    paused: bool


class Admission:
    """The gate of one instance."""

    def __init__(
        self, fence: Fence, client: Client, *, instance: str, lease_s: float, backlog_max: int
    ) -> None:
        self._fence = fence
        self._client = client
        self._instance = instance
        self._lease_us = str(round(lease_s * 1e6))
        self._backlog_max = str(backlog_max)

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Ask for at most 256 claims in one act. Repeating a call after a failure repeats its grants.

        :raises Unavailable: no answer; the same claims may be sent again.
        """
        script_keys = [keys.MARKER, keys.JOURNAL, keys.RUNNING]
        args = [self._instance, self._lease_us, self._backlog_max]
        for claim in claims:
            quota_keys = keys.prepaid if claim.is_prepaid else keys.bucket
            script_keys += (
                keys.task(claim.task_id),
                keys.run(claim.run_id),
                *quota_keys(claim.quota_id or claim.task_id),
            )
            args += _claim_args(claim)
        reply = await self._fence.run("claim", script_keys, args)
        return [Answer(Word(word), int(number)) for word, number in zip(*[iter(reply)] * 2, strict=True)]

    async def close(self, closings: Sequence[Closing]) -> list[bool]:
        """Journal how runs ended; True for each that was open."""
        script_keys = [keys.MARKER, keys.JOURNAL, keys.RUNNING]
        args: list[str] = []
        for closing in closings:
            script_keys.append(keys.run(closing.run_id))
            claim = "expired" if closing.expired else "held"
            args += (closing.run_id, claim, closing.run_id + ".close", closing.fact)
        return [bool(flag) for flag in await self._fence.run("finish", script_keys, args)]

    async def record(self, facts: Sequence[tuple[str, str]]) -> int:
        """Journal (event id, fact) pairs that have no lease; returns how many the backlog let in."""
        args = [self._backlog_max, *[part for pair in facts for part in pair]]
        return int(await self._fence.run("record", [keys.MARKER, keys.JOURNAL], args))

    async def trim(self, ends: Ends, facts: int) -> int:
        """Drop journal entries that SQL has committed; -1 when the stream holds something else by now."""
        return int(await self._fence.run("trim", *trim_call(ends, facts)))

    async def beat(self, run_ids: Sequence[str]) -> list[str]:
        """Renew the leases of runs; returns those that somebody else has closed."""
        reply = await self._fence.run("beat", [keys.MARKER, keys.RUNNING], [self._lease_us, *run_ids])
        return [str(run_id) for run_id in reply]

    async def track(self, tasks: Sequence[tuple[str, bool]], *, from_now: bool = False) -> list[Cursor]:
        """Read the cursors of (task id, paused in SQL), starting those that have none at this moment.

        `from_now` moves them all up to this moment, as for a schedule that has just been changed.
        """
        cursors: list[Cursor] = []
        for first in range(0, len(tasks), TASKS_PER_CALL):
            some = tasks[first : first + TASKS_PER_CALL]
            script_keys = [keys.MARKER, *[keys.task(task_id) for task_id, _ in some]]
            args = ["1" if from_now else "0", *["1" if paused else "0" for _, paused in some]]
            reply = await self._fence.run("track", script_keys, args)
            cursors += [
                Cursor(int(last), bool(paused)) for last, paused in zip(*[iter(reply)] * 2, strict=True)
            ]
        return cursors

    async def cursors(self, task_ids: Sequence[str]) -> list[int]:
        """Read the last tick of each task that has one."""
        found: list[int] = []
        for first in range(0, len(task_ids), TASKS_PER_CALL):
            some = [keys.task(task_id) for task_id in task_ids[first : first + TASKS_PER_CALL]]
            found += [int(last) for last in await self._fence.run("cursors", [keys.MARKER, *some], [])]
        return found

    async def pause(self, task_id: str, *, paused: bool) -> None:
        """Stop or resume a task everywhere; its ticks are then skipped with a trace."""
        async with reaching(self._client):
            await self._client.hset(keys.task(task_id), "paused", "1" if paused else "0")

    async def expired(self, limit: int = 256) -> list[tuple[str, str]]:
        """List (run id, fact of its admission) of runs whose lease has run out, oldest first."""
        async with reaching(self._client):
            seconds, microseconds = await self._client.time()
            now_us = seconds * 1_000_000 + microseconds
            run_ids = await self._client.zrangebyscore(keys.RUNNING, 0, now_us, start=0, num=limit)
            async with self._client.pipeline(transaction=False) as pipe:
                for run_id in run_ids:
                    pipe.hget(keys.run(run_id), "fact")
                facts = await pipe.execute()
        return [(run_id, fact or "") for run_id, fact in zip(run_ids, facts, strict=True)]

    async def hold(self, duty: str, *, ttl_s: float) -> bool:
        """Take or keep a duty that one process at a time may do; ttl_s 0 gives it up."""
        args = [self._instance, str(round(ttl_s * 1000))]
        return bool(await self._fence.run("lease", [keys.MARKER, keys.lease(duty)], args))


def _claim_args(claim: Claim) -> tuple[str, ...]:
    quota = "no" if claim.quota_id is None else "allow" if claim.allow_missing else "yes"
    return (
        claim.mode,
        str(claim.at_us),
        str(claim.cursor_us),
        claim.run_id,
        str(claim.cost_micro),
        quota,
        claim.run_id + ".open",
        claim.fact,
    )


def trim_call(ends: Ends, facts: int) -> tuple[list[str], list[str]]:
    """Lay out KEYS and ARGV of trim.lua."""
    milliseconds, sequence = ends.last[0].split("-")
    after = f"{milliseconds}-{int(sequence) + 1}"
    return [keys.MARKER, keys.JOURNAL], [ends.first[1], ends.last[1], ends.last[0], after, str(facts)]
