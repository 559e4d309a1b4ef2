"""Run chaos: see scripts/chaos."""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaoslab.check import LEDGER, violations
from chaoslab.daemon import settings_for
from chaoslab.faults import KILLS, plan
from chaoslab.plants import PLANTS, RUNNER_PLANTS, planted
from chaoslab.runner.run import run as run_runner
from chaoslab.world import Sql, World
from quotaflow import Quotaflow
from quotaflow.control.audit import Audit
from tests.servers import PostgresProcess, ValkeyProcess

CALM_S = 0.4  # mean pause between two faults
DRAIN_S = 60.0
PATIENT = 0.7  # of the faults come when there is something to break; the others may meet a recovery
PROGRESS, PROGRESS_S = 30, 6.0  # lines that customers write before
SHOWN = 10


def main() -> int:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description="Hurt everything, then check every count."
    )
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--runner", action="store_true", help="hurt daemons that run tasks, on PostgreSQL")
    parser.add_argument("--plant", choices=sorted(PLANTS | RUNNER_PLANTS))
    given = parser.parse_args()
    if given.plant:
        return run_planted(given.plant)
    if given.runner:
        return run_runner(given.seconds, given.seed, keep)
    print(f"seed {given.seed}, {given.store}, at least {given.seconds:g} s", flush=True)
    return run(given.store, given.seconds, given.seed)


def run_planted(name: str) -> int:
    """Run the same command in a copy of the code that has the bug."""
    with tempfile.TemporaryDirectory(prefix="qf-plant-") as where:
        root = planted(name, Path(__file__).parents[2], Path(where) / "code")
        words = [word for word in sys.argv[1:] if word not in ("--plant", name)]
        environ = {**os.environ, "PYTHONPATH": f"{root}:{root / 'scripts'}"}
        print(f"planted: {name}", flush=True)
        return subprocess.call([sys.executable, "-m", "chaoslab", *words], cwd=root, env=environ)


def run(store: str, seconds: float, seed: int) -> int:
    """Run once; 0 when nothing was violated."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qf-chaos-")))
        redis = stack.enter_context(ValkeyProcess())
        postgres = stack.enter_context(PostgresProcess()) if store == "postgresql" else None
        sql = Sql(directory, postgres)
        crowd = (3, 3) if postgres else (1, 2)
        world = World(directory, redis, sql, daemons=crowd[0], customers=crowd[1], seed=seed)
        stack.callback(world.end)
        world.begin()
        try:
            hurt(world, seconds, random.Random(seed))
        except BaseException:
            for line in sql.sessions():
                print(line, flush=True)
            keep(directory)
            raise
        world.stop_customers()
        world.mend()
        time.sleep(3.0)  # reservations of 2 s run out, and are swept
        world.drained(DRAIN_S)
        with redis.client() as client:
            found = violations(sql, client, world.logs)
        for daemon in world.daemons:
            if daemon is not None:
                daemon.kill()
                daemon.wait()
        audit = asyncio.run(verify(world))
        found += [f"ledger verify: {difference}" for difference in audit.differences]
        return tell(world, found, directory)


async def verify(world: World) -> Audit:
    """Let quotaflow's own verifier look, too."""
    async with Quotaflow.open(
        settings_for(world.redis.url, world.sql.url, str(world.directory / "maker"))
    ) as qf:
        return await qf.audit()


def hurt(world: World, seconds: float, chance: random.Random) -> None:
    """Let the faults happen, spread over the time."""
    time.sleep(2.0)  # everybody is up
    faults = plan(seconds, chance)
    end = time.monotonic() + seconds
    done: Counter[str] = Counter()
    while faults or time.monotonic() < end:
        time.sleep(chance.random() * 2 * CALM_S)
        if chance.random() < PATIENT:
            world.wait_for_progress(PROGRESS, PROGRESS_S)
        if faults:
            fault = faults.pop()
            fault.act(world, chance)
            done[fault.name] += 1
        world.mend()
    kills = sum(done[name] for name in KILLS)
    print(f"{done['kill a daemon']} daemon kills, {kills} redis kills; {dict(done)}", flush=True)


def tell(world: World, found: list[str], directory: Path) -> int:
    """Print what was found."""
    rows = Counter(row[3] for row in world.sql.rows(LEDGER))
    acks = sum(
        line.startswith("ack ") for log in world.logs if log.exists() for line in log.read_text().splitlines()
    )
    print(f"{acks} acknowledged charges, {world.proxy.lost} replies lost; ledger {dict(rows)}", flush=True)
    for line in found[:SHOWN]:
        print(f"VIOLATION {line}")
    print(f"{len(found)} violations", flush=True)
    keep(directory)
    return 1 if found else 0


def keep(directory: Path) -> None:
    """Copy what is left of a run to where CHAOS_KEEP says."""
    if where := os.environ.get("CHAOS_KEEP"):
        shutil.copytree(directory, where, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))


if __name__ == "__main__":
    sys.exit(main())
