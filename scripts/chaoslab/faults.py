"""What can go wrong. Each fault hurts the world and leaves it so that it can heal."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaoslab.world import World, thaw_later

PER_MINUTE = {
    "kill a daemon": 20,
    "freeze a daemon": 3,
    "kill a customer": 4,
    "kill redis": 4,
    "cut the journal's tail": 1,
    "cut it, and a new daemon comes first": 1,
    "freeze redis": 2,
    "flush everything": 1,
    "flush the scripts": 2,
    "lock sql": 3,
    "crash sql": 2,
}
KILLS = {"kill redis", "cut the journal's tail", "cut it, and a new daemon comes first"}
TAIL = 40_000  # bytes at most that a cut takes from the append-only file


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, ready to happen."""

    name: str
    act: Callable[[World, random.Random], None]


def plan(seconds: float, chance: random.Random) -> list[Fault]:
    """Choose the faults of a run: as many of each as its length asks for, at least one, in random order."""
    names = [name for name, count in PER_MINUTE.items() for _ in range(max(1, round(count * seconds / 60)))]
    chance.shuffle(names)
    return [Fault(name, ACTS[name]) for name in names]


def some(
    processes: list[subprocess.Popen[bytes] | None], chance: random.Random
) -> subprocess.Popen[bytes] | None:
    """Choose a process that lives."""
    alive = [each for each in processes if each is not None and each.poll() is None]
    return chance.choice(alive) if alive else None


def kill_daemon(world: World, chance: random.Random) -> None:
    """kill -9, and a new one after a moment."""
    if victim := some(world.daemons, chance):
        victim.kill()
        victim.wait()
        time.sleep(chance.random() * 0.5)
    world.mend()


def freeze_daemon(world: World, chance: random.Random) -> None:
    """SIGSTOP for a while: longer than a lease, sometimes."""
    if victim := some(world.daemons, chance):
        victim.send_signal(signal.SIGSTOP)
        thaw_later(victim, chance.choice([0.5, 2.0, 7.5]))


def kill_customer(world: World, chance: random.Random) -> None:
    """kill -9 in the middle of whatever it asks."""
    if victim := some(world.customers, chance):
        victim.kill()
        victim.wait()
    world.mend()


def kill_redis(world: World, chance: random.Random) -> None:
    """kill -9: what it had written is in the page cache, and in the file."""
    world.redis.kill()
    time.sleep(chance.random() * 0.5)
    world.redis.start()


def cut_tail(world: World, chance: random.Random) -> None:
    """Lose the end of the append-only file after SQL has everything that was in it."""
    with world.quiet():
        world.redis.kill()
        _cut(world, chance)
        world.redis.start()


def cut_tail_new_daemon(world: World, chance: random.Random) -> None:
    """The same, and whoever looks at Redis first is a daemon that has just been born."""
    with world.quiet():
        for each in world.daemons:
            if each is not None and each.poll() is None:
                each.kill()
                each.wait()
        world.redis.kill()
        _cut(world, chance)
        world.redis.start()
        world.mend()
        time.sleep(1.5)


def _cut(world: World, chance: random.Random) -> None:
    last = world.redis.aof_files()[-1]
    size = last.stat().st_size
    os.truncate(last, size - chance.randint(1, min(TAIL, size // 3)))


def freeze_redis(world: World, chance: random.Random) -> None:
    """SIGSTOP for longer than a deadline, sometimes."""
    os.kill(world.redis.pid, signal.SIGSTOP)
    time.sleep(chance.choice([0.3, 1.0, 2.5]))
    os.kill(world.redis.pid, signal.SIGCONT)


def flush_all(world: World, _: random.Random) -> None:
    """FLUSHALL by somebody's mistake, when SQL has everything."""
    with world.quiet(), world.redis.client() as client:
        client.flushall()


def flush_scripts(world: World, _: random.Random) -> None:
    """SCRIPT FLUSH."""
    with world.redis.client() as client:
        client.script_flush()


def lock_sql(world: World, chance: random.Random) -> None:
    """Somebody holds a lock."""
    world.sql.lock(chance.choice([0.5, 1.5]))


def crash_sql(world: World, _: random.Random) -> None:
    """The database dies and comes back."""
    world.sql.crash()


ACTS = {
    "kill a daemon": kill_daemon,
    "freeze a daemon": freeze_daemon,
    "kill a customer": kill_customer,
    "kill redis": kill_redis,
    "cut the journal's tail": cut_tail,
    "cut it, and a new daemon comes first": cut_tail_new_daemon,
    "freeze redis": freeze_redis,
    "flush everything": flush_all,
    "flush the scripts": flush_scripts,
    "lock sql": lock_sql,
    "crash sql": crash_sql,
}
