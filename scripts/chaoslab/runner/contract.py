"""What the 200 tasks promise: declared from this table, and checked against it."""

from typing import NamedTuple

SMALL, ROOMY = "small", "roomy"
CAPACITY, REFILL = 10, 12  # units of the small quota, and units per second
QUOTAS = f"""
[[quotas]]
id = "{SMALL}"
capacity = {CAPACITY}
refill_rate = {REFILL}
[[quotas]]
id = "{ROOMY}"
capacity = 1000
refill_rate = 1000
"""
DRAIN = "CHAOS_DRAIN"  # the variable with which nothing is due any more
RETRY_S = 0.2  # before the second attempt; twice as long before each later one
CRASHES = 3


class Kind(NamedTuple):
    """Tasks of one kind. `step`: seconds from tick to tick, 0 for tasks that are only triggered."""

    many: int
    step: int = 1
    body_s: tuple[float, float] = (0.0, 0.02)
    fails: float = 0.0  # the chance of an attempt
    misfire: str = "skip"
    quota: str | None = None
    on_limit: str = "skip"
    rate: tuple[float, int] | None = None  # starts per second, and at once
    attempts: int = 1
    overlap: str | None = None  # then one at a time
    reruns: bool = False
    jitter: float = 0.0
    spread: float = 0.0
    hard: float | None = None
    soft: float | None = None
    in_thread: bool = False


KINDS = {
    "plain": Kind(24),
    "caught-up": Kind(24, step=2, misfire="catchup(20)"),
    "skipping": Kind(16, quota=SMALL),
    "patient": Kind(12, step=2, quota=SMALL, on_limit="wait(20)"),
    "charged-again": Kind(4, step=4, quota=SMALL, fails=0.3, attempts=3),
    "five": Kind(8, misfire="catchup(60)", rate=(5, 1)),
    "two": Kind(8, misfire="catchup(60)", rate=(2, 3)),
    "alone": Kind(10, overlap="skip", body_s=(1.2, 1.6)),
    "in-line": Kind(8, overlap="queue(1)", body_s=(1.1, 1.4)),
    "retried": Kind(20, step=2, fails=0.4, attempts=3),
    "rerun": Kind(14, step=2, body_s=(0.2, 1.0), reruns=True),
    "rerun-retried": Kind(6, step=2, body_s=(0.1, 0.6), fails=0.3, attempts=3, reruns=True),
    "hard": Kind(6, step=2, body_s=(0.2, 0.5), hard=0.3),
    "soft": Kind(4, step=2, body_s=(0.2, 0.5), soft=0.3),
    "jittered": Kind(12, step=2, jitter=1.5),
    "spread": Kind(12, step=2, spread=1.9),
    "threaded": Kind(4, in_thread=True),
    "asked": Kind(8, step=0, quota=ROOMY, body_s=(0.0, 0.5)),
}


def task_ids(kind: str) -> list[str]:
    """Return the ids of its tasks."""
    return [f"{kind}.{number}" for number in range(KINDS[kind].many)]


def kind_of(task_id: str) -> Kind:
    """Return what a task promises."""
    return KINDS[task_id.partition(".")[0]]
