"""What the journal carries to SQL. Moments are in microseconds, amounts in micro-units."""

from dataclasses import dataclass, field
from typing import NamedTuple

from quotaflow.ledger import LedgerEntry, WorkOutcome
from quotaflow.model import Reason, Status, Trigger


class Trace(NamedTuple):
    """One run, from its claim to its end. The fields are the columns of `traces`, in their order.

    `error` is cut to 2,000 characters and `error_type` to 200 when written. `cost_micro` is what was charged.
    A tuple, because the flusher makes one per fact: a frozen dataclass of 20 fields takes 8 times as long.
    """

    run_id: str
    task_id: str
    trigger: Trigger
    status: Status
    claimed_us: int
    quota_id: str | None = None
    scheduled_for_us: int | None = None
    started_us: int | None = None
    finished_us: int | None = None
    reason: Reason | None = None
    attempt: int = 1
    latency_ms: float | None = None
    wait_ms: float | None = None
    cost_micro: int = 0
    error_type: str | None = None
    error: str | None = None
    instance_id: str | None = None
    due_us: int | None = None
    tries: str | None = None
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A fact that could not be stored, as it came; `error` says why."""

    event_id: str
    payload: str
    error: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Facts to write in one transaction.

    `opened`: claims, as running, waiting, limited, skipped or missed rows; a run that is known stays as it is.
    `closed`: rows with every column; they end or move on a run that is open, and stand for one that is unknown.
    `ledger`: changes of allowances, in the order in which they happened. `outcomes`: of work that was paid for.
    """

    opened: list[Trace] = field(default_factory=list)
    closed: list[Trace] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    outcomes: list[WorkOutcome] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What did not go as it should; zero when the batch had been written before.

    `double_claims`: runs whose tick another run owns; `dead`: new dead letters, with those of double claims.
    `orphans`: changes of a life of Redis that is over; what they took must be taken again. The same each time.
    """

    double_claims: int = 0
    dead: int = 0
    orphans: tuple[LedgerEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a quota held at a moment, in units, and its counters since it was defined."""

    quota_id: str
    remaining: float
    allowed: int
    limited: int
    clock_jumps: int
    version: int
    synced_us: int
