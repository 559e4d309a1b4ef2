"""The promises of the runner, checked from SQL, the bodies' own lines and what the visitor was told."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from chaoslab.runner.contract import CAPACITY, CRASHES, KINDS, REFILL, RETRY_S, SMALL, kind_of, task_ids
from chaoslab.runner.notes import Body
from chaoslab.runner.visitor import Visitor
from chaoslab.runner.world import World

CLOCKS_S = 0.05  # between two readings of clocks in two processes
DYING_S = 3.0  # an end that was noted so short before a kill may not have been journalled, on a busy machine
STALE_S = 0.25  # what quotaflow allows itself between a grant and the start: STALE_US in control/rooms.py
NOTED_S = 0.25  # and from there until the body has looked at its clock, on a machine with other work
BUSY_S = 1.5  # a daemon that has just come back claims hundreds of ticks before it begins the first
THAW_S = 1.0  # what was granted before its daemon froze begins when that goes on
OPEN = ("waiting", "running", "stuck")
NOTHING_RAN = ("limited", "skipped", "missed")
UNBEGUN = (*NOTHING_RAN, "cancelled", "interrupted", "lost", "dead")  # may end without a body
TRACES = "SELECT run_id, task_id, trigger, status, reason, attempt, scheduled_for, claimed_at FROM traces"


class Row(NamedTuple):
    """One trace."""

    run: str
    task: str
    trigger: str
    status: str
    reason: str | None
    attempt: int
    scheduled_for: datetime | None
    claimed_at: datetime


class Seen:
    """Everything that is known at the end, and sorted."""

    def __init__(self, world: World, visitor: Visitor, bodies: list[Body]) -> None:
        self.world = world
        self.visitor = visitor
        self.bodies = bodies
        self.rows = {row[0]: Row(*row) for row in world.sql.rows(TRACES)}
        self.by_run: dict[str, list[Body]] = defaultdict(list)
        self.by_task: dict[str, list[Body]] = defaultdict(list)
        for body in bodies:
            self.by_run[body.run].append(body)
            self.by_task[body.task].append(body)

    def crashed(self, body: Body) -> bool:
        """It was killed or taken from its process, or that happened before anybody may have heard of its end."""
        died = self.world.died.get(body.pid)
        late = died is not None and body.ended is not None and body.ended > died - DYING_S
        return body.ended is None or late or self.was_taken(body)

    def was_taken(self, body: Body) -> bool:
        """Its process stood still for longer than a lease while it ran, or before its end was heard of."""
        ended = body.ended or body.began + DYING_S
        return any(
            frozen.is_long and body.began - THAW_S < frozen.until and frozen.since < ended + DYING_S
            for frozen in self.world.frozen.get(body.pid, [])
        )

    def thawed(self, body: Body) -> bool:
        """Its process had just stood still: it was granted before that, and begins now."""
        stills = self.world.frozen.get(body.pid, [])
        return any(0 <= body.began - frozen.until < THAW_S for frozen in stills)

    def ended(self, body: Body) -> float:
        """When it ended, of itself or with its process."""
        return self.world.died.get(body.pid, body.began) if body.ended is None else body.ended


def ran_twice(seen: Seen) -> Iterator[str]:
    """A tick, and an attempt of a run, is begun once; and tried again only where that was promised."""
    first: dict[tuple[str, object, int], Body] = {}
    for body in seen.bodies:
        moment = body.run if body.scheduled_for is None else body.scheduled_for
        if earlier := first.get((body.task, moment, body.attempt)):
            yield f"{earlier} and {body}"
        first[body.task, moment, body.attempt] = body
        kind = kind_of(body.task)
        if body.attempt > 1 and kind.attempts == 1 and not kind.reruns:
            yield f"never to be tried again: {body}"
    for doubles in seen.world.sql.rows("SELECT value FROM meta WHERE key = 'double_claims' AND value <> '0'"):
        yield f"double claims: {doubles[0]}"
    for letter in seen.world.sql.rows("SELECT event_id, error FROM dead_letters"):
        yield f"dead letter: {letter}"


def missing_ticks(seen: Seen) -> Iterator[str]:
    """Every due moment between the first and the last claimed one has its trace."""
    moments: dict[str, list[float]] = defaultdict(list)
    for row in seen.rows.values():
        if row.trigger == "cron" and row.scheduled_for is not None:
            moments[row.task].append(row.scheduled_for.timestamp())
    for name, kind in KINDS.items():
        for task_id in task_ids(name) if kind.step else ():
            found = moments[task_id]
            due = range(int(min(found, default=0)), int(max(found, default=0)) + 1, kind.step)
            if not found or len(found) < 2:
                yield f"{task_id} never ticked"
            if sorted(found) != list(due):
                lacking = sorted(set(due) - set(found))
                yield f"{task_id}: {len(found)} of {len(due)} moments, without {lacking[:5]}"


def traces(seen: Seen) -> Iterator[str]:
    """Every body has its trace, every trace its body, and everything has ended."""
    for run, bodies in seen.by_run.items():
        row = seen.rows.get(run)
        if row is None or row.task != bodies[0].task or (row.status in NOTHING_RAN and row.attempt == 1):
            yield f"{row} against {bodies}"
    for row in seen.rows.values():
        bodies = seen.by_run.get(row.run, [])
        if row.status in OPEN:
            yield f"not ended: {row}"
        elif row.status not in UNBEGUN and (
            not bodies or max(body.attempt for body in bodies) != row.attempt
        ):
            yield f"{row} against {bodies}"


def losses(seen: Seen) -> Iterator[str]:
    """Only what crashed is lost, and nothing of what is run again; nothing is left in Redis."""
    for row in seen.rows.values():
        if row.status != "lost":
            continue
        if kind_of(row.task).reruns:
            yield f"not run again: {row}"
        for body in seen.by_run.get(row.run, []):
            if body.attempt == row.attempt and not seen.crashed(body):
                yield f"lost without a crash: {row}, {body}"
    with seen.world.redis.client() as client:
        for key in ("due", "running", "cancels"):
            for member in client.zrange("qf:{p0}:" + key, 0, -1):
                yield f"still in {key}: {member}"


def too_often(begun: list[float], per_s: float, burst: float, slack_s: float) -> Iterator[str]:
    """In every window that ends with a start there are no more than the rate, the slack and the burst allow."""
    for window_s in (1, 2, 5, 10):
        counts, first = [], 0
        for last, moment in enumerate(begun):
            while begun[first] <= moment - window_s:
                first += 1
            counts.append((last - first + 1, moment))
        count, moment = max(counts, default=(0, 0.0))
        most = per_s * (window_s + slack_s) + burst
        if count > most:
            yield f"{count} starts in {window_s} s up to {moment:.3f}, {most:g} may be"


def rates(seen: Seen) -> Iterator[str]:
    """A task's rate holds over all daemons."""
    for name, kind in KINDS.items():
        for task_id in task_ids(name) if kind.rate else ():
            begun = [body.began for body in seen.by_task[task_id] if not seen.thawed(body)]
            per_s, burst = kind.rate or (0, 0)
            for line in too_often(begun, per_s, burst, STALE_S + NOTED_S):
                yield f"{task_id}: {line}"


def quotas(seen: Seen) -> Iterator[str]:
    """The shared quota was never exceeded: its units are taken by the grant, and bodies begin soon after it."""
    begun = [
        body.began for body in seen.bodies if kind_of(body.task).quota == SMALL and not seen.thawed(body)
    ]
    yield from too_often(begun, REFILL, CAPACITY, BUSY_S)


def overlaps(seen: Seen) -> Iterator[str]:
    """One at a time is one at a time, as long as leases are renewed."""
    for name, kind in KINDS.items():
        for task_id in task_ids(name) if kind.overlap else ():
            for earlier, later in pairwise(seen.by_task[task_id]):
                overlap = later.began < seen.ended(earlier) - CLOCKS_S / 10
                if overlap and not seen.was_taken(earlier):
                    yield f"{earlier} and {later}"


def retries(seen: Seen) -> Iterator[str]:
    """No more attempts than promised, and each after the rest that was promised."""
    for run, bodies in seen.by_run.items():
        kind = kind_of(bodies[0].task)
        crashes = sum(seen.crashed(body) for body in bodies) if kind.reruns else 0
        if len(bodies) > kind.attempts + min(crashes, CRASHES):
            yield f"{len(bodies)} bodies, {crashes} crashes: {bodies}"
        for earlier, later in pairwise(bodies):
            rest_s = RETRY_S * 2 ** (earlier.attempt - 1) if kind.attempts > 1 else 0.0
            if not seen.crashed(earlier) and later.began < seen.ended(earlier) + rest_s - CLOCKS_S / 10:
                yield f"{later.began - seen.ended(earlier):.3f} s of {rest_s:g} between attempts of {run}"
        row = seen.rows.get(run)
        last = bodies[-1]
        if row and row.status == "failed" and last.attempt < kind.attempts and not seen.crashed(last):
            yield f"given up early: {row}"


def survivors(seen: Seen) -> Iterator[str]:
    """What waited when everything was killed came to its end afterwards."""
    for moment in seen.world.all_killed:
        for run in moment.waiting:
            row = seen.rows.get(run)
            after = [body for body in seen.by_run.get(run, []) if body.began > moment.at]
            if row is None:
                yield f"waited at {moment.at:.1f} and has no trace: {run}"
            elif not after and row.status not in UNBEGUN:
                yield f"waited at {moment.at:.1f} and did not run: {row}"


def asked(seen: Seen) -> Iterator[str]:
    """What the visitor was told holds."""
    for wish in seen.visitor.asked:
        if wish.run not in seen.rows:
            yield f"admitted, and no trace: {wish}"
        for body in seen.by_run.get(wish.run, []):
            if body.word != wish.word or body.began < wish.at + wish.countdown - CLOCKS_S:
                yield f"{wish} against {body}"
    for run, (at, was) in seen.visitor.cancelled.items():
        row, late = seen.rows.get(run), [body for body in seen.by_run.get(run, []) if body.began > at]
        if was == "waiting" and (late or row is None or row.status != "cancelled"):
            yield f"cancelled at {at:.3f} while it waited: {row}, {late}"
    for rest in seen.visitor.paused:
        for body in seen.by_task[rest.task]:
            is_tick = body.scheduled_for is not None and body.scheduled_for > rest.since_wall
            if is_tick and rest.since + CLOCKS_S < body.began < rest.until:
                yield f"{rest} against {body}"


def violations(seen: Seen) -> dict[str, list[str]]:
    """Return all violations by promise."""
    found = {check.__name__: list(check(seen)) for check in CHECKS}
    found["daemons"] = seen.world.faults
    return found


CHECKS = (ran_twice, missing_ticks, traces, losses, rates, quotas, overlaps, retries, survivors, asked)
