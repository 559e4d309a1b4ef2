"""
A drill: only the faults that bring one planted bug to light. It runs in a copy of the code that has the bug:

    python -m tests.chaos.drill customers LOST FAULT...     until so many replies are lost, and after these faults
    python -m tests.chaos.drill daemons SECONDS             three daemons and nothing else
"""

import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from chaoslab.check import violations  # type: ignore[import-not-found,unused-ignore]
from chaoslab.faults import ACTS  # type: ignore[import-not-found,unused-ignore]
from chaoslab.runner.check import Seen, overlaps  # type: ignore[import-not-found,unused-ignore]
from chaoslab.runner.notes import read  # type: ignore[import-not-found,unused-ignore]
from chaoslab.runner.visitor import visiting  # type: ignore[import-not-found,unused-ignore]
from chaoslab.runner.world import World as Daemons  # type: ignore[import-not-found,unused-ignore]
from chaoslab.world import Sql, World  # type: ignore[import-not-found,unused-ignore]

from tests.servers import PostgresProcess, ValkeyProcess, wait_until

PROGRESS, PROGRESS_S = 60, 30.0  # lines that customers write before a fault: there must be something to lose
DRAIN_S = 60.0
SEED = 1


def customers(lost: int, faults: list[str]) -> list[str]:
    """Let customers pay while replies get lost and these faults happen."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qf-drill-")))
        redis = stack.enter_context(ValkeyProcess())
        sql = Sql(directory, None)
        world = World(directory, redis, sql, daemons=1, customers=2, seed=SEED)
        stack.callback(world.end)
        world.begin()
        for fault in faults:
            world.wait_for_progress(PROGRESS, PROGRESS_S)
            ACTS[fault](world, random.Random(SEED))  # noqa: S311  a seed makes it repeatable
        world.wait_for_progress(PROGRESS, PROGRESS_S)
        wait_until(lambda: world.proxy.lost >= lost, deadline_s=PROGRESS_S)
        world.stop_customers()
        world.drained(DRAIN_S)
        with redis.client() as client:
            return list(violations(sql, client, world.logs))


def daemons(seconds: float) -> list[str]:
    """Let three daemons work for a while, and look at which bodies ran at the same time."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qf-drill-")))
        redis = stack.enter_context(ValkeyProcess(appendfsync="no"))
        world = Daemons(directory, redis, Sql(directory, stack.enter_context(PostgresProcess())))
        stack.callback(world.end)
        world.begin()
        with visiting(world, SEED) as visitor:
            time.sleep(seconds)  # bodies overlap in real time
        world.end()
        return [f"overlaps: {line}" for line in overlaps(Seen(world, visitor, read(world.notes)))]


if __name__ == "__main__":
    kind, much, *more = sys.argv[1:]
    found = customers(int(much), more) if kind == "customers" else daemons(float(much))
    print(*[f"VIOLATION {line}" for line in found], sep="\n")
