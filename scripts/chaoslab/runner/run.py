"""Run the runner's chaos: see scripts/chaos --runner."""

import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from chaoslab.runner.check import Seen, violations
from chaoslab.runner.contract import kind_of
from chaoslab.runner.faults import ACTS, CALM_S, plan
from chaoslab.runner.notes import read
from chaoslab.runner.visitor import visiting
from chaoslab.runner.world import DAEMONS, World
from chaoslab.world import Sql
from tests.servers import PostgresProcess, ValkeyProcess

PEACE_S = 1.0  # before the first fault and after the last
DRAIN_S = 60.0
PATIENT = 0.6  # of the faults come when there is something to break; the others may meet a start
SHOWN = 10


def run(seconds: float, seed: int, keep: Callable[[Path], None]) -> int:
    """Run once; 0 when no promise was broken."""
    print(f"seed {seed}, runner, at least {seconds:g} s", flush=True)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qf-chaos-")))
        stack.callback(keep, directory)
        # Nothing is synced here: the machine does not lose power, and a write that waits for a sync to end would be
        # lost with the process although it was answered.
        redis = stack.enter_context(ValkeyProcess(appendfsync="no"))
        sql = Sql(directory, stack.enter_context(PostgresProcess()))
        world = World(directory, redis, sql)
        stack.callback(world.end)
        world.begin()
        with visiting(world, seed) as visitor:
            hurt(world, seconds, random.Random(seed))
        time.sleep(PEACE_S)
        world.mend()
        world.drain(DRAIN_S)
        seen = Seen(world, visitor, read(world.notes))
        (directory / "traces").write_text("\n".join(map(str, seen.rows.values())))
        tell_done(seen)
        return tell_found(violations(seen))


def hurt(world: World, seconds: float, chance: random.Random) -> None:
    """Let the faults happen, spread over the time."""
    time.sleep(PEACE_S)
    faults = plan(seconds, chance)
    end = time.monotonic() + seconds
    pause_s = min(CALM_S, seconds / len(faults))
    while faults or time.monotonic() < end:
        time.sleep(chance.random() * 2 * pause_s)
        world.mend()
        if chance.random() < PATIENT:
            world.wait_for_work(DAEMONS - 1)
        if faults and ACTS[faults[-1]](world, chance):
            world.done[faults.pop()] += 1


def tell_done(seen: Seen) -> None:
    """Print what was done, as the outside saw it."""
    rows = list(seen.rows.values())
    statuses = Counter(row.status for row in rows)
    reasons = Counter(row.reason for row in rows if row.reason)
    again = sum(body.attempt > 1 for body in seen.bodies)
    reruns = sum(body.attempt > 1 for body in seen.bodies if kind_of(body.task).reruns)
    ticks = sum(row.trigger == "cron" for row in rows)
    waiting = [len(moment.waiting) for moment in seen.world.all_killed]
    late = max((body.wall - (body.scheduled_for or body.wall) for body in seen.bodies), default=0.0)
    print(f"faults {dict(seen.world.done)}; {waiting} runs waited when everything was killed", flush=True)
    print(f"{ticks} ticks, {len(rows)} traces, {len(seen.bodies)} bodies ({late:.1f} s late at most)")
    print(f"{again} further attempts, {reruns} of them of tasks that are run again after a crash")
    print(f"statuses {dict(statuses)}; reasons {dict(reasons)}")
    print(f"visitor: {len(seen.visitor.asked)} triggers, {len(seen.visitor.cancelled)} cancels,", end=" ")
    print(f"{len(seen.visitor.paused)} pauses, answers {dict(seen.visitor.answers)}")
    print(f"slowest end after SIGTERM {seen.world.slowest_end_s:.1f} s", flush=True)


def tell_found(found: dict[str, list[str]]) -> int:
    """Print what was violated."""
    for promise, lines in found.items():
        for line in lines[:SHOWN]:
            print(f"VIOLATION {promise}: {line}")
    counts = {promise: len(lines) for promise, lines in found.items() if lines}
    print(f"{sum(counts.values())} violations {counts or ''}", flush=True)
    return 1 if counts else 0
