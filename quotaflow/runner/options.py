"""What a decorator may say about how its task runs, and the values that this becomes."""

import math
import re
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypedDict

from quotaflow.errors import InvalidInput
from quotaflow.rates import parse_rate
from quotaflow.runner.retry import Retry

LONGEST_WAIT_S = 30 * 86_400.0
FOREVER_S = 86_400.0  # how long a plain "wait" waits
MAX_RUNNING = 1_000_000

_WAIT = re.compile(r"wait\((\d{1,9}(?:\.\d{1,6})?)\)").fullmatch


class Isolation(StrEnum):
    """Where a plain `def` runs: beside the loop, or in a process of its own that can be killed."""

    THREAD = "thread"
    PROCESS = "process"


class RunOptions(TypedDict, total=False):
    """How a task runs. Times in seconds; None is no limit, or what `[runner]` says where it says something.

    soft_time_limit: SoftTimeLimitExceeded is raised inside the function then; not in a `def` that runs in a thread.
    time_limit: the run is cancelled then; a thread is abandoned and its session rolled back, a process is killed.
    isolation: "thread" (for a `def`; an `async def` runs on the loop), or "process": one of its own for each run.
    rate_limit: starts over all daemons: "10/s", "100/m", "0.5/h". What comes too early waits in Redis.
    rate_burst: starts that may come at once after a rest; 1 spaces them evenly.
    retry: what becomes of a run that fails; None tries once.
    jitter: each run starts up to this much later, by chance; spread: always the same part of it, by the task's id, so
        that many tasks of one moment do not start together.
    max_running: runs at the same time over all daemons. overlap: what becomes of one too many: "skip", "queue(1)" (the
        first waits until there is room, others are skipped), or "allow" without max_running.
    rerun_lost: run again what a daemon that died was running, until it has died of it `max_crashes` times.
    """

    soft_time_limit: float | None
    time_limit: float | None
    isolation: Literal["thread", "process"]
    rate_limit: str | float | None
    rate_burst: int
    retry: Retry | None
    jitter: float
    spread: float
    max_running: int | None
    overlap: Literal["skip", "queue(1)", "allow"]
    rerun_lost: bool
    max_crashes: int


def check_names(options: RunOptions) -> None:
    """Refuse an option that there is not, as Python itself would.

    :raises TypeError: naming it.
    """
    for unknown in options.keys() - RunOptions.__annotations__.keys():
        raise TypeError(f"got an unexpected keyword argument '{unknown}'")


def fields_of(options: RunOptions) -> dict[str, Any]:
    """Turn options into the fields of a Task.

    :raises InvalidInput: naming the option that is none.
    """
    given: dict[str, Any] = dict(options)
    rate = parse_rate(given.pop("rate_limit", None), given.pop("rate_burst", 1))
    max_running, queues = _overlap(given.pop("max_running", None), given.pop("overlap", None))
    isolation = given.pop("isolation", "thread")
    if isolation not in [*Isolation]:
        raise InvalidInput('isolation must be "thread" or "process"', field="isolation")
    for field in ("jitter", "spread"):
        if field in given and not is_seconds(given[field], most=LONGEST_WAIT_S):
            raise InvalidInput(f"{field} must be a number of seconds, 0 or more", field=field)
    if "max_crashes" in given and not _is_count(given["max_crashes"], 1_000):
        raise InvalidInput("max_crashes must be a whole number from 1 to 1000", field="max_crashes")
    if not isinstance(given.get("retry"), Retry | None):
        raise InvalidInput("retry must be a Retry(...)", field="retry")
    return given | {
        "rate": rate,
        "max_running": max_running,
        "queues_overlap": queues,
        "isolation": Isolation(isolation),
    }


def _overlap(max_running: object, overlap: object) -> tuple[int | None, bool]:
    if overlap not in (None, "skip", "queue(1)", "allow"):
        raise InvalidInput('overlap must be "skip", "queue(1)" or "allow"', field="overlap")
    if max_running is None:
        return (1 if overlap in ("skip", "queue(1)") else None), overlap == "queue(1)"
    if not _is_count(max_running, MAX_RUNNING):
        raise InvalidInput(f"max_running must be a whole number from 1 to {MAX_RUNNING}", field="max_running")
    if overlap == "allow":
        raise InvalidInput('overlap="allow" has no max_running; leave one of them out', field="overlap")
    return int(str(max_running)), overlap == "queue(1)"


def wait_of(on_limit: object) -> float:
    """Return the seconds a run may wait for its units: `skip` is 0, `wait(n)` is n, `wait` a day.

    :raises InvalidInput: it is none of these.
    """
    if on_limit == "skip":
        return 0.0
    if on_limit == "wait":
        return FOREVER_S
    found = _WAIT(on_limit) if isinstance(on_limit, str) else None
    if found is None or not 0 < float(found[1]) <= LONGEST_WAIT_S:
        raise InvalidInput('on_limit must be "skip", "wait" or "wait(seconds)"', field="on_limit")
    return float(found[1])


class TimeLimits(NamedTuple):
    """Seconds until a run is told to end (soft), and until it is ended (hard); None is never."""

    hard: float | None = None
    soft: float | None = None


NO_LIMITS = TimeLimits()


def merged(call: TimeLimits, task: TimeLimits, config: TimeLimits) -> TimeLimits:
    """Return what holds: the call's word, else the task's, else the configuration's.

    :raises InvalidInput: no number of seconds, or the soft limit would come after the hard one.
    """
    levels = zip(call, task, config, strict=True)
    limits = TimeLimits(*[next((limit for limit in level if limit is not None), None) for level in levels])
    for field, limit in zip(("time_limit", "soft_time_limit"), limits, strict=True):
        if limit is not None and not (is_seconds(limit) and limit > 0):
            raise InvalidInput(f"{field} must be a number of seconds above 0, or None", field=field)
    if limits.soft is not None and limits.hard is not None and limits.soft > limits.hard:
        raise InvalidInput(
            f"soft_time_limit must be less than or equal to time_limit ({limits.soft:g} > {limits.hard:g})",
            field="soft_time_limit",
        )
    return limits


def is_seconds(value: object, *, most: float = math.inf) -> bool:
    """Say whether this is a finite number of seconds, 0 or more."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= float(str(value)) <= most and math.isfinite(float(str(value)))


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
