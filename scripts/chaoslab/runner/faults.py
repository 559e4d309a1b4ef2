"""What happens to daemons, at random by the seed."""

import random
from collections.abc import Callable

from chaoslab.runner.world import Daemon, World

PER_MINUTE = {"kill": 9, "freeze": 4, "freeze long": 2, "stop": 5, "kill all": 4}
CALM_S = 1.2  # mean pause between two faults


def plan(seconds: float, chance: random.Random) -> list[str]:
    """Choose the faults of a run: as many of each as its length asks for, at least one kill, in random order."""
    counts = {name: round(count * seconds / 60) for name, count in PER_MINUTE.items()}
    counts["kill"] = max(1, counts["kill"])
    names = [name for name, count in counts.items() for _ in range(count)]
    chance.shuffle(names)
    return names


def some(world: World, chance: random.Random, fits: Callable[[Daemon], bool]) -> Daemon | None:
    """Choose a daemon."""
    fitting = [daemon for daemon in world.daemons if fits(daemon)]
    return chance.choice(fitting) if fitting else None


def kill(world: World, chance: random.Random) -> bool:
    """kill -9 of whoever lives, also of one that is just starting."""
    victim = some(world, chance, lambda daemon: daemon.is_alive)
    if victim:
        world.kill(victim)
        world.mend()
    return victim is not None


def freeze(world: World, chance: random.Random) -> bool:
    """SIGSTOP, shorter than a lease."""
    return freeze_for(world, chance, 5.0)


def freeze_long(world: World, chance: random.Random) -> bool:
    """SIGSTOP for longer: others take over what it ran, and it wakes up in the midst of that."""
    return freeze_for(world, chance, chance.uniform(8.0, 10.5))


def freeze_for(world: World, chance: random.Random, seconds: float) -> bool:
    victim = some(world, chance, lambda daemon: daemon.is_awake)
    if victim:
        world.freeze(victim, seconds)
    return victim is not None


def stop(world: World, chance: random.Random) -> bool:
    """SIGTERM, and a new one."""
    victim = some(world, chance, lambda daemon: daemon.is_awake)
    if victim:
        world.stop(victim)
        world.mend()
    return victim is not None


def kill_all(world: World, chance: random.Random) -> bool:
    """Everything dies at once."""
    world.kill_everything(chance.random())
    return True


ACTS = {"kill": kill, "freeze": freeze, "freeze long": freeze_long, "stop": stop, "kill all": kill_all}
