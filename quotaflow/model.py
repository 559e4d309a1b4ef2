"""The nouns. Frozen values without I/O; amounts are integer micro-units, moments integer microseconds in UTC."""

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from quotaflow.errors import InvalidInput

MICRO = 1_000_000
MAX_UNITS = 9_000_000_000
MAX_MICRO = MAX_UNITS * MICRO  # 9e15 < 2**53: exact in a Lua double
MAX_ID_BYTES = 128

_PLAIN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}").fullmatch


class Reason(StrEnum):
    """Why a decision came out as it did."""

    GRANTED = "granted"
    LIMITED = "limited"  # not enough units now
    IMPOSSIBLE = "impossible"  # more than the capacity: never enough
    DISABLED = "disabled"
    MISSING = "missing"
    # The rest are reasons of runs only.
    PAUSED = "paused"
    MISFIRE = "misfire"  # the moment passed while no daemon could claim it
    CRASHED = "crashed"  # the daemon that ran it stopped renewing its lease
    SHUTDOWN = "shutdown"
    SOFT_LIMIT = "soft_limit"  # the task was told that its time is up and ended on its own terms


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


@dataclass(frozen=True, slots=True)
class Quota:
    """A named, shared limit: a token bucket that refills continuously."""

    id: str
    name: str
    capacity_micro: int
    refill_micro_s: int
    enabled: bool = True
    version: int = 1

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
    """What a quota holds at this moment, and what it has decided since it was defined."""

    quota_id: str
    remaining: float
    allowed: int
    limited: int
    clock_jumps: int
    version: int


class Word(StrEnum):
    """What a claim was answered; together with a number (see lua/claim.lua)."""

    GRANTED = "granted"
    LIMITED = "limited"
    IMPOSSIBLE = "impossible"
    DISABLED = "disabled"
    MISSING = "missing"
    PAUSED = "paused"
    MISSED = "missed"
    TAKEN = "taken"  # the cursor is elsewhere: the number says where
    EARLY = "early"  # the claimer's clock runs ahead by this many microseconds
    BACKLOG = "backlog"


class Answer(NamedTuple):
    """What became of a claim."""

    word: Word
    number: int


class Tick(NamedTuple):
    """One due moment of a task. It follows `cursor_us`; `runs` is False when it is only to be written down."""

    task_id: str
    run_id: str
    scheduled_for_us: int
    cursor_us: int
    runs: bool


class Run(NamedTuple):
    """One admitted execution of a task, on its way to a worker."""

    run_id: str
    task_id: str
    trigger: Trigger
    scheduled_for_us: int | None
    claimed_us: int
    quota_id: str | None
    cost_micro: int
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    run: Run
    status: Status
    started_us: int
    finished_us: int
    latency_ms: float
    reason: Reason | None = None
    error_type: str | None = None
    error: str | None = None


def amount_micro(value: object, *, field: str, minimum: int = 0) -> int:
    """Turn units into micro-units.

    :raises InvalidInput: for anything but a finite number in [minimum micro-units, 9e9 units].
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidInput(f"{field} must be a number, not {type(value).__name__}", field=field)
    if not math.isfinite(value):
        raise InvalidInput(f"{field} must be a finite number", field=field)
    if value < 0 or value > MAX_UNITS:
        least = f"{minimum / MICRO:f}" if minimum else "0"
        raise InvalidInput(f"{field} must be between {least} and {MAX_UNITS:,} units", field=field)
    micro = round(value * MICRO)
    if micro < minimum or (value > 0 and micro == 0):
        raise InvalidInput(f"{field} must be at least {max(minimum, 1) / MICRO:f} units", field=field)
    return micro


def cost_micro(value: object, *, field: str = "cost") -> int:
    """Turn a cost into micro-units; 0 looks without taking.

    :raises InvalidInput: also for what is not a multiple of 1e-6: a charge is never rounded.
    """
    if type(value) is int and 0 <= value <= MAX_UNITS:  # nearly every call; a twentieth of what follows
        return value * MICRO
    micro = amount_micro(value, field=field)
    if isinstance(value, Decimal | float) and micro / MICRO != float(value):
        raise InvalidInput(f"{field} must be a multiple of 0.000001", field=field)
    return micro


def wait_s(value: object, *, field: str = "wait") -> float:
    """Check how long somebody would wait.

    :raises InvalidInput: for anything but a finite number of seconds, 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{field} must be a number of seconds, not {type(value).__name__}", field=field)
    if not math.isfinite(value) or value < 0:
        raise InvalidInput(f"{field} must be a finite number of seconds, 0 or more", field=field)
    return float(value)


def make_quota(
    *,
    id: str,  # noqa: A002  the field's name everywhere a person meets it
    capacity: object,
    refill_rate: object,
    name: str | None = None,
    enabled: bool = True,
    version: int = 1,
) -> Quota:
    """Check the fields a person gives and make the value.

    :raises InvalidInput: naming the field.
    """
    return Quota(
        id=check_id(id),
        name=check_id(name, field="name") if name is not None else check_id(id),
        capacity_micro=amount_micro(capacity, field="capacity", minimum=1),
        refill_micro_s=amount_micro(refill_rate, field="refill_rate"),
        enabled=enabled,
        version=version,
    )


def check_id(value: object, *, field: str = "id") -> str:
    """Normalise an id to NFC; two ids that look the same are the same.

    :raises InvalidInput: empty, longer than 128 bytes, surrounding space, or control characters.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{field} must be text, not {type(value).__name__}", field=field)
    if _PLAIN_ID(value):
        return value
    text = value if value.isascii() else unicodedata.normalize("NFC", value)
    if not text or text != text.strip():
        raise InvalidInput(f"{field} must not be empty nor begin or end with space", field=field)
    if not text.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise InvalidInput(f"{field} must not contain control characters", field=field)
    if len(text.encode()) > MAX_ID_BYTES:
        raise InvalidInput(f"{field} must be at most {MAX_ID_BYTES} bytes of UTF-8", field=field)
    return text
