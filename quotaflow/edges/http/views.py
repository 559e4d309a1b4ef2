"""What answers carry: amounts in units, moments as text in UTC."""

import json
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

from quotaflow.amounts import MICRO
from quotaflow.control.quotas import QuotaView
from quotaflow.control.tasks import TaskView
from quotaflow.model import Override, QuotaKind, Reason, Status
from quotaflow.records import Trace
from quotaflow.store import TaskSummary
from quotaflow.timing import iso, iso_or_none

T = TypeVar("T")

_STATUS_CODES = {
    Status.OK: HTTPStatus.OK,
    Status.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Status.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    Status.DEAD: HTTPStatus.INTERNAL_SERVER_ERROR,
    Status.LOST: HTTPStatus.INTERNAL_SERVER_ERROR,
    Status.INTERRUPTED: HTTPStatus.SERVICE_UNAVAILABLE,
    Status.CANCELLED: HTTPStatus.SERVICE_UNAVAILABLE,
    Status.SOFT_TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    Status.HARD_TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A page; `next_cursor` is null at the end."""

    items: list[T]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaShown:
    """A quota. `remaining`, `allowed`, `limited`, `running` and `waiting` are live; null while Redis is away.

    `running`: runs and calls under way, where it has `max_concurrent`; `waiting`: runs in line for its units.
    `total` is what a prepaid one begins with, and again when it is reset; that and the next two are null for a bucket.
    `mirrors`: the provider whose upstream keys' balance it has.
    """

    id: str
    name: str
    kind: str
    capacity: float
    refill_rate: float
    enabled: bool
    version: int
    remaining: float | None
    allowed: int | None
    limited: int | None
    total: float | None = None
    reset_cron: str | None = None
    timezone: str | None = None
    max_concurrent: int | None = None
    running: int | None = None
    waiting: int | None = None
    mirrors: str | None = None


@dataclass(frozen=True, slots=True)
class OverrideShown:
    """What one key of a quota has instead of the quota's own."""

    quota_id: str
    key: str
    capacity: float
    refill_rate: float


@dataclass(frozen=True, slots=True)
class TryShown:
    """One attempt of a run that was made more than once."""

    started_at: str
    finished_at: str
    status: str
    error_type: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class TraceShown:
    """One run. `status_code` says its status as HTTP would; null while it is open or when nothing was to run."""

    run_id: str
    task_id: str
    quota_id: str | None
    trigger: str
    claimed_at: str
    scheduled_for: str | None
    started_at: str | None
    finished_at: str | None
    status: str
    status_code: int | None
    reason: str | None
    attempt: int
    latency_ms: float | None
    wait_ms: float | None
    cost: float
    error_type: str | None
    error: str | None
    instance_id: str | None
    due_at: str | None
    tries: list[TryShown]


@dataclass(frozen=True, slots=True)
class TaskShown:
    """A task. `enabled` while code declares it, `paused` while a person wants it to rest; `skip_at` is left out."""

    id: str
    name: str
    kind: str
    func: str
    description: str | None
    quota_name: str | None
    cron: str | None
    cron_override: str | None
    timezone: str | None
    enabled: bool
    paused: bool
    skip_at: str | None
    rate_limit: str | None
    rate_override: str | None
    next_runs: list[str]
    last_status: str | None
    last_run_id: str | None
    last_run_at: str | None
    summary: TaskSummary | None


@dataclass(frozen=True, slots=True)
class TaskSummaryShown:
    """How a task fared over its newest 10,000 runs; percentiles of the latency in milliseconds."""

    task_id: str
    name: str
    quota_name: str | None
    count: int
    ok: int
    failed: int
    limited: int
    skipped: int
    missed: int
    lost: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class TriggerShown:
    """A run that was admitted: it is running, or waiting until `due_at`."""

    run_id: str
    task_id: str
    status: str
    due_at: str | None = None


@dataclass(frozen=True, slots=True)
class CancelShown:
    """A run that somebody has cancelled; `was` is waiting or running."""

    run_id: str
    was: str


def quota_shown(view: QuotaView) -> QuotaShown:
    """Show a quota."""
    quota, level = view.quota, view.level
    return QuotaShown(
        id=quota.id,
        name=quota.name,
        kind=quota.kind,
        capacity=quota.capacity,
        refill_rate=quota.refill_rate,
        enabled=quota.enabled,
        version=quota.version,
        remaining=level.remaining if level else None,
        allowed=level.allowed if level else None,
        limited=level.limited if level else None,
        total=total_of(view),
        reset_cron=quota.reset_cron,
        timezone=quota.timezone,
        max_concurrent=quota.max_concurrent,
        running=level.running if level else None,
        waiting=level.waiting if level else None,
        mirrors=quota.mirrors,
    )


def total_of(view: QuotaView) -> float | None:
    """Return what a prepaid quota begins with; of a mirror, what its provider's keys may use in all."""
    if view.quota.mirrors is not None:
        return view.level.total if view.level else None
    return view.quota.capacity if view.quota.kind is QuotaKind.ALLOWANCE else None


def override_shown(override: Override) -> OverrideShown:
    """Show an override."""
    return OverrideShown(override.quota_id, override.key, override.capacity, override.refill_rate)


def task_shown(view: TaskView, last: Trace | None) -> TaskShown:
    """Show a task and its newest run."""
    row = view.row
    return TaskShown(
        id=row.id,
        name=row.name,
        kind=row.kind,
        func=row.func,
        description=row.description,
        quota_name=row.quota_name,
        cron=row.cron,
        cron_override=row.cron_override,
        timezone=row.timezone,
        enabled=row.enabled,
        paused=row.paused,
        skip_at=iso_or_none(row.skip_us if row.skip_us in view.next_us else None),
        rate_limit=row.rate_limit,
        rate_override=row.rate_override,
        next_runs=[iso(moment) for moment in view.next_us],
        last_status=last.status if last else None,
        last_run_id=last.run_id if last else None,
        last_run_at=iso(last.claimed_us) if last else None,
        summary=view.summary,
    )


def summary_shown(view: TaskView) -> TaskSummaryShown | None:
    """Show how a task fared."""
    if view.summary is None:
        return None
    row = view.row
    return TaskSummaryShown(row.id, row.name, row.quota_name, **asdict(view.summary))


def trace_shown(row: Trace) -> TraceShown:
    """Show a run."""
    return TraceShown(
        run_id=row.run_id,
        task_id=row.task_id,
        quota_id=row.quota_id,
        trigger=row.trigger,
        claimed_at=iso(row.claimed_us),
        scheduled_for=iso_or_none(row.scheduled_for_us),
        started_at=iso_or_none(row.started_us),
        finished_at=iso_or_none(row.finished_us),
        status=row.status,
        status_code=status_code(row.status, row.reason),
        reason=row.reason,
        attempt=row.attempt,
        latency_ms=row.latency_ms,
        wait_ms=row.wait_ms,
        cost=row.cost_micro / MICRO,
        error_type=row.error_type,
        error=row.error,
        instance_id=row.instance_id,
        due_at=iso_or_none(row.due_us),
        tries=tries_shown(row.tries),
    )


def tries_shown(tries: str | None) -> list[TryShown]:
    """Show the attempts of a run."""
    return [
        TryShown(iso(started), iso(finished), status, error_type, error)
        for started, finished, status, error_type, error in json.loads(tries or "[]")
    ]


def status_code(status: Status, reason: Reason | None) -> int | None:
    """Say a status as HTTP would. A run without a usable quota was refused, as one without units was."""
    if status is Status.SKIPPED and reason in (Reason.DISABLED, Reason.MISSING):
        return int(HTTPStatus.TOO_MANY_REQUESTS)
    code = _STATUS_CODES.get(status)
    return None if code is None else int(code)
