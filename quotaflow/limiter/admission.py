"""Admit work and close it: ticks claimed by cursor, triggers without one, leases renewed, ends journalled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quotaflow.limiter import keys
from quotaflow.limiter.claims import Claim, Closing, Tracked, claim_args, pace_text
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Fence
from quotaflow.rates import Pace
from quotaflow.runs import Answer, Run, Word

CLAIMS_PER_CALL = 256
TASKS_PER_CALL = 1000


class Waiting(NamedTuple):
    """A run in `due`, the line that opens it, and since when it has waited if it never ran."""

    run_id: str
    due_us: int
    fact: str
    since_us: int


class Look(NamedTuple):
    """What is due, when the next one is, and which runs somebody wants to end."""

    waiting: list[Waiting]
    is_last: bool  # page of what is due
    following_us: int | None
    cancels: list[str]


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
        self,
        fence: Fence,
        client: Client,
        *,
        instance: str,
        lease_s: float,
        backlog_max: int,
        waiting_max: int,
    ) -> None:
        self._fence = fence
        self._client = client
        self._instance = instance
        self._lease_us = str(round(lease_s * 1e6))
        self._backlog_max = str(backlog_max)
        self._waiting_max = str(waiting_max)

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Ask for at most 256 claims in one act. Repeating a call after a failure repeats its grants.

        :raises Unavailable: no answer; the same claims may be sent again.
        """
        script_keys = [keys.MARKER, keys.JOURNAL, keys.RUNNING, keys.DUE]
        args = [self._instance, self._lease_us, self._backlog_max, self._waiting_max]
        for claim in claims:
            quota_id = claim.quota_id or claim.task_id
            script_keys += (
                keys.task(claim.task_id),
                keys.run(claim.run_id),
                keys.task_slots(claim.task_id),
                *(keys.prepaid if claim.is_prepaid else keys.bucket)(quota_id),
                keys.quota_slots(quota_id),
                keys.paced(claim.task_id),
            )
            args += claim_args(claim)
        reply = await self._fence.run("claim", script_keys, args)
        return [Answer(Word(word), int(number)) for word, number in zip(*[iter(reply)] * 2, strict=True)]

    async def close(self, closings: Sequence[Closing]) -> list[bool]:
        """Journal how runs or their attempts ended; True for each that was open."""
        script_keys = [keys.MARKER, keys.JOURNAL, keys.RUNNING, keys.DUE, keys.CANCELS]
        args: list[str] = []
        for closing in closings:
            script_keys += (
                keys.run(closing.run_id),
                keys.task_slots(closing.task_id),
                keys.quota_slots(closing.quota_id or closing.task_id),
            )
            holder = "-" if closing.expired else self._holder(closing.leg)
            again = closing.again
            event_id = closing.run_id + (f".{closing.leg}.again" if again else ".close")
            args += (closing.run_id, holder, event_id, closing.fact)
            args += (
                (f"{again.due_us} {int(again.paid)}", again.fact, again.cancelled) if again else ("-", "", "")
            )
        return [bool(flag) for flag in await self._fence.run("finish", script_keys, args)]

    async def mark(self, closings: Sequence[Closing]) -> None:
        """Journal that runs are stuck; they stay open."""
        await self.record([(f"{closing.run_id}.{closing.leg}.stuck", closing.fact) for closing in closings])

    async def record(self, some: Sequence[tuple[str, str]]) -> int:
        """Journal (event id, fact) pairs that have no lease; returns how many the backlog let in."""
        args = [self._backlog_max, *[part for pair in some for part in pair]]
        return int(await self._fence.run("record", [keys.MARKER, keys.JOURNAL], args))

    async def trim(self, ends: Ends, facts: int) -> int:
        """Drop journal entries that SQL has committed; -1 when the stream holds something else by now."""
        return int(await self._fence.run("trim", *trim_call(ends, facts)))

    def _holder(self, leg: str) -> str:
        """Name who runs it, as the scripts do."""
        return self._instance if leg == "1" else f"{self._instance}#{leg}"

    async def beat(self, runs: Sequence[Run]) -> list[Run]:
        """Renew the leases of runs and the slots they hold; returns those that somebody else has closed."""
        script_keys, args = [keys.MARKER, keys.RUNNING], [self._lease_us]
        for run in runs:
            slots = (keys.task_slots(run.task_id), keys.quota_slots(run.quota_id or run.task_id))
            script_keys += (keys.run(run.run_id), *slots)
            args += (run.run_id, self._holder(run.leg))
        reply = await self._fence.run("beat", script_keys, args)
        return [runs[int(place) - 1] for place in reply]

    async def cancel(self, run_id: str, task_id: str, quota_id: str | None, fact: str) -> str:
        """End a run that waits, with this line; mark one that runs. Says which it was: waiting, running or gone."""
        script_keys = [keys.MARKER, keys.JOURNAL, keys.RUNNING, keys.DUE, keys.CANCELS, keys.run(run_id)]
        script_keys += [keys.quota(quota_id or task_id), keys.task_slots(task_id)]
        script_keys += [keys.quota_slots(quota_id or task_id), keys.paced(task_id)]
        return str(await self._fence.run("cancel", script_keys, [run_id, run_id + ".close", fact]))

    async def due(self, now_us: int, start: int, limit: int) -> Look:
        """Look at a page of what is due by `now_us`, earliest first."""
        async with reaching(self._client):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zrangebyscore(keys.DUE, 0, now_us, start=start, num=limit, withscores=True)
                pipe.zrangebyscore(keys.DUE, now_us + 1, "+inf", start=0, num=1, withscores=True)
                pipe.zrange(keys.CANCELS, 0, limit)
                found, following, cancels = await pipe.execute()
            async with self._client.pipeline(transaction=False) as pipe:
                for run_id, _ in found:
                    pipe.hmget(keys.run(run_id), "fact", "since")
                kept = await pipe.execute() if found else []
        waiting = [
            Waiting(run_id, int(due), line, int(since or 0))
            for (run_id, due), (line, since) in zip(found, kept, strict=True)
            if line
        ]
        if len(waiting) < len(found):
            # A run is put here with its line, in one act: without one it is nothing.
            known = {run.run_id for run in waiting}
            async with reaching(self._client):
                await self._client.zrem(keys.DUE, *[run_id for run_id, _ in found if run_id not in known])
        return Look(waiting, len(found) < limit, int(following[0][1]) if following else None, cancels)

    async def track(self, tasks: Sequence[Tracked], *, from_now: bool = False) -> list[Cursor]:
        """Read the cursors of tasks, starting those that have none at this moment.

        `from_now` moves them all up to this moment, as for a schedule that has just been changed.
        """
        cursors: list[Cursor] = []
        for first in range(0, len(tasks), TASKS_PER_CALL):
            some = tasks[first : first + TASKS_PER_CALL]
            script_keys = [keys.MARKER, *[keys.task(task.task_id) for task in some]]
            args = ["1" if from_now else "0"]
            for task in some:
                args += (str(int(task.paused)), str(task.skip_us), pace_text(task.pace))
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

    async def skip(self, task_id: str, moment_us: int) -> None:
        """Let the tick of this moment pass on whichever daemon claims it; 0 takes that back."""
        async with reaching(self._client):
            await self._client.hset(keys.task(task_id), "skip", str(moment_us))

    async def pace(self, task_id: str, pace: Pace | None) -> None:
        """Change how often a task may start, everywhere; `wake` its runs then: their turns are of the old rate."""
        async with reaching(self._client):
            if pace is None:
                await self._client.hdel(keys.task(task_id), "rate")
            else:
                await self._client.hset(keys.task(task_id), "rate", pace_text(pace))

    async def waiting(self) -> int:
        """Count the runs that wait, of all daemons."""
        async with reaching(self._client):
            return int(await self._client.zcard(keys.DUE))

    async def put_off(self, run_ids: Sequence[str], due_us: int) -> None:
        """Look at waiting runs later: nobody here can do anything about them."""
        async with reaching(self._client):
            await self._client.zadd(keys.DUE, dict.fromkeys(run_ids, due_us), xx=True)

    async def wake(self, mark: str, waits: str) -> int:
        """Have runs looked at now that wait for units (`line`) or a turn (`paced`); returns how many.

        :param mark: what stands in their lines, such as " task=report ".
        """
        woken = 0
        async with reaching(self._client):
            run_ids = await self._client.zrange(keys.DUE, 0, -1)
            for first in range(0, len(run_ids), TASKS_PER_CALL):
                some = run_ids[first : first + TASKS_PER_CALL]
                async with self._client.pipeline(transaction=False) as pipe:
                    for run_id in some:
                        pipe.hmget(keys.run(run_id), "fact", waits)
                    kept = await pipe.execute()
                due = {
                    run_id: 0
                    for run_id, (line, is_waiting) in zip(some, kept, strict=True)
                    if is_waiting == "1" and line and mark in line
                }
                if due:
                    woken += len(due)
                    await self._client.zadd(keys.DUE, due, xx=True)
        return woken

    async def expired(self, limit: int = 256) -> list[tuple[str, str]]:
        """List (run id, fact of its admission) of runs whose lease has run out, oldest first."""
        async with reaching(self._client):
            seconds, microseconds = await self._client.time()
            now_us = seconds * 1_000_000 + microseconds
            run_ids = await self._client.zrangebyscore(keys.RUNNING, 0, now_us, start=0, num=limit)
            async with self._client.pipeline(transaction=False) as pipe:
                for run_id in run_ids:
                    pipe.hget(keys.run(run_id), "fact")
                lines = await pipe.execute()
        return [(run_id, line or "") for run_id, line in zip(run_ids, lines, strict=True)]

    async def hold(self, duty: str, *, ttl_s: float) -> bool:
        """Take or keep a duty that one process at a time may do; ttl_s 0 gives it up."""
        args = [self._instance, str(round(ttl_s * 1000))]
        return bool(await self._fence.run("lease", [keys.MARKER, keys.lease(duty)], args))


def trim_call(ends: Ends, facts: int) -> tuple[list[str], list[str]]:
    """Lay out KEYS and ARGV of trim.lua."""
    milliseconds, sequence = ends.last[0].split("-")
    after = f"{milliseconds}-{int(sequence) + 1}"
    return [keys.MARKER, keys.JOURNAL], [ends.first[1], ends.last[1], ends.last[0], after, str(facts)]
