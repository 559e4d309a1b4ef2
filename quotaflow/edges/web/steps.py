"""What happened to one run, step by step, and as bars on a line. Pure."""

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from quotaflow.amounts import MICRO
from quotaflow.model import Reason, Status
from quotaflow.records import Trace

THINNEST = 0.5  # percent: a bar that can still be seen


@dataclass(frozen=True, slots=True)
class Step:
    """A wait, or the attempt of this number; `ended_us` is None while it goes on.

    When an attempt that is under way began is known `roughly`: SQL learns it with its end.
    """

    began_us: int
    ended_us: int | None
    number: int = 0
    status: Status = Status.WAITING
    reason: Reason | None = None
    error_type: str | None = None
    error: str | None = None
    roughly: bool = False

    @property
    def took_s(self) -> float | None:
        """How long it was, in seconds."""
        return None if self.ended_us is None or self.roughly else (self.ended_us - self.began_us) / MICRO


class Bar(NamedTuple):
    """A step on the line; where it begins and how long it is, in percent."""

    step: Step
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Line:
    """Steps on a line of time."""

    began_us: int
    ended_us: int
    bars: list[Bar]


def steps_of(trace: Trace) -> list[Step]:
    """Return what happened from the claim on: each attempt after the wait for it, and what it waits for now."""
    steps: list[Step] = []
    free_us = trace.claimed_us
    for attempt in _attempts(trace):
        if attempt.began_us > free_us:
            steps.append(Step(free_us, attempt.began_us, reason=Reason.RETRY if steps else None))
        steps.append(attempt)
        free_us = attempt.ended_us or attempt.began_us
    if trace.status is Status.WAITING:
        steps.append(Step(free_us, None, reason=trace.reason))
    elif trace.status in (Status.RUNNING, Status.STUCK) and not _has_own(trace):
        steps.append(Step(free_us, None, trace.attempt, trace.status, roughly=True))
    elif trace.finished_us is not None and trace.finished_us > free_us and not _has_own(trace):
        steps.append(Step(free_us, trace.finished_us, reason=Reason.RETRY if steps else None))
    return steps


def _attempts(trace: Trace) -> list[Step]:
    """Return the attempts that began, oldest first; of those after the first also the last one is among `tries`."""
    told = [
        Step(began, ended, 0, Status(status), error_type=error_type, error=error)
        for began, ended, status, error_type, error in json.loads(trace.tries or "[]")
    ]
    if trace.started_us is not None:
        told = [step for step in told if step.began_us != trace.started_us]
        told.append(
            Step(
                trace.started_us,
                trace.finished_us,
                0,
                trace.status,
                trace.reason,
                trace.error_type,
                trace.error,
            )
        )
    newest = trace.attempt if _has_own(trace) else trace.attempt - 1
    return [replace(step, number=newest - len(told) + place) for place, step in enumerate(told, 1)]


def _has_own(trace: Trace) -> bool:
    """Say whether the attempt that is the run's newest has begun, as far as is known."""
    return trace.started_us is not None


def line_of(trace: Trace, steps: list[Step], now_us: int) -> Line | None:
    """Put the steps on a line that begins when the run was due; None for a run of which nothing took any time."""
    if not steps:
        return None
    began_us = min(trace.scheduled_for_us or trace.claimed_us, trace.claimed_us)
    ends = [now_us if step.ended_us is None else step.ended_us for step in steps]
    whole = max(*ends, began_us + 1) - began_us
    bars = []
    for step, ended_us in zip(steps, ends, strict=True):
        width = max(THINNEST, 100 * (ended_us - step.began_us) / whole)
        x = min(100 * (step.began_us - began_us) / whole, 100 - THINNEST)
        bars.append(Bar(step, round(x, 3), round(min(width, 100 - x), 3)))
    return Line(began_us, began_us + whole, bars)
