"""What is asked of claim.lua, finish.lua and track.lua, as values, and how it is laid out."""

from enum import StrEnum
from typing import NamedTuple

from quotaflow.rates import Pace


class Mode(StrEnum):
    """What is asked for with a claim."""

    TICK = "tick"
    MISSED = "missed"
    TRIGGER = "trigger"
    DUE = "due"


class Claim(NamedTuple):
    """One tick, trigger or waiting run that wants to be admitted. `fact` is the journal line that the script completes.

    It starts no earlier than `not_before_us`, waits for its quota until `until_us`, and not at all after `expires_us`;
    0 is none of these. `max_running`: runs of its task at once; one too many waits if it `queues`.
    """

    mode: Mode
    task_id: str
    run_id: str
    fact: str
    at_us: int = 0
    cursor_us: int = 0
    quota_id: str | None = None
    cost_micro: int = 0
    allow_missing: bool = False
    is_prepaid: bool = False
    leg: str = "1"
    not_before_us: int = 0
    until_us: int = 0
    expires_us: int = 0
    max_running: int = 0
    queues: bool = False


class PutBack(NamedTuple):
    """A run is tried again at `due_us`. `fact` opens it, without a status; `paid`: its units are taken already.

    `cancelled` is the line that ends it instead if somebody has cancelled it.
    """

    due_us: int
    fact: str
    paid: bool
    cancelled: str


class Closing(NamedTuple):
    """The end of a run, or of an attempt. `expired` closes it only if nobody renewed its lease."""

    run_id: str
    fact: str
    task_id: str
    quota_id: str | None = None
    leg: str = "1"
    expired: bool = False
    again: PutBack | None = None


class Tracked(NamedTuple):
    """What Redis must know of a task. `skip_us`: a moment that is not to run; 0 for none."""

    task_id: str
    paused: bool = False
    skip_us: int = 0
    pace: Pace | None = None


def claim_args(claim: Claim) -> tuple[str, ...]:
    """Lay out the values of one item of claim.lua."""
    quota = "no" if claim.quota_id is None else "allow" if claim.allow_missing else "yes"
    return (
        claim.mode,
        str(claim.at_us),
        str(claim.cursor_us),
        claim.run_id,
        str(claim.cost_micro),
        quota,
        claim.run_id + (".open" if claim.leg == "1" else f".{claim.leg}.open"),
        claim.fact,
        _terms(claim),
    )


def _terms(claim: Claim) -> str:
    terms = (claim.not_before_us, claim.until_us, claim.expires_us, claim.max_running, int(claim.queues))
    return " ".join(map(str, (*terms, claim.leg))) if any(terms) or claim.leg != "1" else "-"


def pace_text(pace: Pace | None) -> str:
    """Write a pace as the scripts read it."""
    return "-" if pace is None else f"{pace.interval_us} {pace.burst}"
