"""The nouns. Frozen values without I/O; amounts are integer micro-units, moments integer microseconds in UTC."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from quotaflow.amounts import MICRO, amount_micro, check_id, prepaid_micro, slot_count
from quotaflow.errors import InvalidInput


class Reason(StrEnum):
    """Why a decision came out as it did."""

    GRANTED = "granted"
    LIMITED = "limited"  # not enough units now
    IMPOSSIBLE = "impossible"  # more than the capacity: never enough
    DISABLED = "disabled"
    MISSING = "missing"
    EXHAUSTED = "exhausted"  # too little is left of a prepaid allowance
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # its request id was cancelled before the command came
    # The rest are reasons of runs only.
    PAUSED = "paused"
    MISFIRE = "misfire"  # the moment passed while no daemon could claim it
    CRASHED = "crashed"  # the daemon that ran it stopped renewing its lease
    SHUTDOWN = "shutdown"
    SOFT_LIMIT = "soft_limit"  # the task was told that its time is up and ended on its own terms
    SKIP = "skip"  # somebody asked to leave this one out
    OVERLAP = "overlap"  # as many runs of its task as may are running
    BUSY = "busy"  # the same, under its quota
    RATE = "rate"  # it waits for its turn by the rate limit of its task
    DELAYED = "delayed"  # it was asked to start later
    RETRY = "retry"  # it failed and will be tried again
    FULL = "full"  # too many runs are waiting


class Status(StrEnum):
    """Where a run stands. The first three are open, all others final."""

    WAITING = "waiting"
    RUNNING = "running"
    STUCK = "stuck"
    OK = "ok"
    FAILED = "failed"
    LIMITED = "limited"
    SKIPPED = "skipped"
    MISSED = "missed"
    SOFT_TIMEOUT = "soft_timeout"
    HARD_TIMEOUT = "hard_timeout"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    LOST = "lost"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Nothing changes a final status any more."""
        return self not in (Status.WAITING, Status.RUNNING, Status.STUCK)


OPEN = tuple(status for status in Status if not status.is_final)
FAILURES = (Status.FAILED, Status.SOFT_TIMEOUT, Status.HARD_TIMEOUT, Status.DEAD)


class Trigger(StrEnum):
    """What started a run."""

    CRON = "cron"
    MANUAL = "manual"
    CALL = "call"


class TaskKind(StrEnum):
    """Which decorator made a task."""

    SCHEDULER = "scheduler"
    LIMIT = "limit"
    CALL = "call"


class QuotaKind(StrEnum):
    """How a quota comes by its units."""

    BUCKET = "bucket"  # they refill continuously
    ALLOWANCE = "allowance"  # prepaid: what is used is gone until somebody recharges it, or a period begins


# What a person gives for a quota, beside id, name and enabled: what must be there, and what may.
KIND_FIELDS = {
    QuotaKind.BUCKET: (("capacity", "refill_rate"), ("max_concurrent",)),
    QuotaKind.ALLOWANCE: (("total",), ("reset_cron", "timezone", "mirrors")),
}


def needed_fields(kind: QuotaKind, given: Collection[str]) -> tuple[str, ...]:
    """Return the fields that a quota of this kind must have; of a mirror the provider says the total."""
    return tuple(field for field in KIND_FIELDS[kind][0] if not (field == "total" and "mirrors" in given))


def foreign_fields(kind: QuotaKind) -> set[str]:
    """Return the fields that a quota of this kind does not have."""
    every = {field for needed, more in KIND_FIELDS.values() for field in (*needed, *more)}
    return every.difference(*KIND_FIELDS[kind])


@dataclass(frozen=True, slots=True)
class Quota:
    """A named, shared limit: a token bucket that refills continuously, or a prepaid allowance.

    Of an allowance `capacity_micro` is the total, with which it begins and begins again when `reset_cron` is due.
    `max_concurrent`: runs and calls under way under a bucket at the same time; None is no limit.
    `mirrors`: an allowance that has what the upstream keys of this provider have left; each refresh corrects it.
    """

    id: str
    name: str
    capacity_micro: int
    refill_micro_s: int
    enabled: bool = True
    version: int = 1
    kind: QuotaKind = QuotaKind.BUCKET
    reset_cron: str | None = None
    timezone: str | None = None
    max_concurrent: int | None = None
    mirrors: str | None = None

    @property
    def capacity(self) -> float:
        """The most it can hold, in units."""
        return self.capacity_micro / MICRO

    @property
    def refill_rate(self) -> float:
        """Units per second."""
        return self.refill_micro_s / MICRO


@dataclass(frozen=True, slots=True)
class Override:
    """What one key of a quota has instead of the quota's own capacity and rate."""

    quota_id: str
    key: str
    capacity_micro: int
    refill_micro_s: int

    @property
    def capacity(self) -> float:
        """The most its bucket can hold, in units."""
        return self.capacity_micro / MICRO

    @property
    def refill_rate(self) -> float:
        """Units per second."""
        return self.refill_micro_s / MICRO


class Decision(NamedTuple):
    """The answer to one request. For several quotas at once it speaks of the one that decided it.

    `remaining` in units; `retry_after` and `reset_after` in seconds, None when it never comes.
    """

    allowed: bool
    quota_id: str
    remaining: float
    retry_after: float | None
    reset_after: float | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Level:
    """What a quota holds at this moment, and what it has decided since it was defined.

    `running`: how many hold one of its slots; None where it has none. `waiting`: runs in line for its units.
    `total`: of an allowance, what it had when it began or was recharged last.
    """

    quota_id: str
    remaining: float
    allowed: int
    limited: int
    clock_jumps: int
    version: int
    running: int | None = None
    waiting: int = 0
    total: float | None = None


def make_quota(
    *,
    id: str,  # noqa: A002  the field's name everywhere a person meets it
    capacity: object = None,
    refill_rate: object = None,
    total: object = None,
    name: str | None = None,
    enabled: bool = True,
    version: int = 1,
    kind: QuotaKind = QuotaKind.BUCKET,
    reset_cron: str | None = None,
    timezone: str | None = None,
    max_concurrent: object = None,
    mirrors: object = None,
) -> Quota:
    """Check the fields a person gives and make the value; a cron expression is read by whoever acts on it.

    :param total: of an allowance, where a bucket has capacity and refill_rate; not of one that mirrors a provider.
    :raises InvalidInput: naming the field.
    """
    if kind is QuotaKind.BUCKET and (reset_cron or timezone):
        raise InvalidInput("reset_cron and timezone are for a quota of kind allowance", field="reset_cron")
    if kind is not QuotaKind.BUCKET and max_concurrent is not None:
        raise InvalidInput("max_concurrent is for a quota of kind bucket", field="max_concurrent")
    if mirrors is not None:
        check_mirror(kind, total, reset_cron)
        total = 0
    holds, held = ("capacity", capacity) if total is None else ("total", total)
    read = amount_micro if kind is QuotaKind.BUCKET else prepaid_micro
    return Quota(
        id=check_id(id),
        name=check_id(name, field="name") if name is not None else check_id(id),
        capacity_micro=read(held, field=holds, minimum=0 if mirrors is not None else 1),
        refill_micro_s=amount_micro(refill_rate, field="refill_rate") if total is None else 0,
        enabled=enabled,
        version=version,
        kind=kind,
        reset_cron=reset_cron,
        timezone=timezone,
        max_concurrent=None if max_concurrent is None else slot_count(max_concurrent),
        mirrors=None if mirrors is None else check_id(mirrors, field="mirrors"),
    )


def check_mirror(kind: QuotaKind, total: object, reset_cron: str | None) -> None:
    """Check what a person gives beside `mirrors`: the provider says how much there is, and when it begins again.

    :raises InvalidInput: naming the field.
    """
    if kind is not QuotaKind.ALLOWANCE:
        raise InvalidInput("mirrors is for a quota of kind allowance", field="mirrors")
    for field, value in (("total", total), ("reset_cron", reset_cron)):
        if value is not None:
            raise InvalidInput(f"{field} is not for a quota that mirrors a provider", field=field)
