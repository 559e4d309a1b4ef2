"""The nouns of work: a tick or trigger is claimed, answered by a word, becomes a run, and ends in an outcome."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from quotaflow.model import Reason, Status, Trigger


class Word(StrEnum):
    """What a claim was answered; together with a number (see lua/claim.lua)."""

    GRANTED = "granted"
    LIMITED = "limited"
    IMPOSSIBLE = "impossible"
    DISABLED = "disabled"
    MISSING = "missing"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    PAUSED = "paused"
    SKIP = "skip"
    OVERLAP = "overlap"
    BUSY = "busy"
    FULL = "full"
    WAITING = "waiting"  # it is put into `due`: the number says until when
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


class Plan(NamedTuple):
    """What is particular to one run. Moments in microseconds, limits in seconds; None and 0 for nothing.

    `args`: arguments by name, as JSON. `until_us`: how long it may wait for its quota. `expires_us`: when it is not
    worth starting any more. `crashes`: how often a daemon died of it; below `max_crashes` it is run again.
    `spent_micro`: what was charged so far; `is_paid`: this attempt is not charged any more. `put_back`: how often it
    was admitted and could not begin. `tries`: how earlier attempts ended, as JSON.
    """

    args: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    until_us: int = 0
    expires_us: int = 0
    crashes: int = 0
    max_crashes: int = 0
    spent_micro: int = 0
    is_paid: bool = False
    put_back: int = 0
    tries: str | None = None


PLAIN = Plan()


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
    plan: Plan = PLAIN
    since_us: int = 0  # when it began to wait, if it did

    @property
    def leg(self) -> str:
        """Which admission of the run this is: its attempt, and how often it was put back before it began."""
        return f"{self.attempt}.{self.plan.put_back}" if self.plan.put_back else str(self.attempt)

    @property
    def charged_micro(self) -> int:
        """What it has cost so far, with this attempt."""
        return self.plan.spent_micro + (0 if self.plan.is_paid else self.cost_micro)


@dataclass(frozen=True, slots=True)
class Again:
    """A run is worth another attempt after `after_s` seconds; `paid`: it is not charged for it."""

    after_s: float
    paid: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, or one attempt of it."""

    run: Run
    status: Status
    started_us: int
    finished_us: int
    latency_ms: float
    reason: Reason | None = None
    error_type: str | None = None
    error: str | None = None
    again: Again | None = None
