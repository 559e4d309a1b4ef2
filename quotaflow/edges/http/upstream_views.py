"""What answers about upstream keys carry: amounts in units, moments as text in UTC, never a secret."""

from dataclasses import asdict, dataclass

from quotaflow.balances import ImportReport, KeyView, Progress, RefreshReport, UpstreamKey
from quotaflow.edges.http.events import Event
from quotaflow.edges.http.token_views import units
from quotaflow.timing import iso, iso_or_none


@dataclass(frozen=True, slots=True)
class KeyShown:
    """An upstream key. `key` is the begin and the end of its secret, `source` where that is: env:, file: or encrypted.

    `status`, `remaining`, `reserved` and `cooldown_until` are live; while Redis does not know the key, as the last
    check found them, and `reserved` null. `plan_limit` and `used` are what its service said last.
    `failures`: checks in a row that brought no balance.
    """

    id: str
    provider: str
    name: str
    key: str
    source: str
    enabled: bool
    status: str
    plan_limit: float | None
    used: float | None
    remaining: float | None
    reserved: float | None
    cooldown_until: str | None
    last_checked_at: str | None
    last_error: str | None
    failures: int
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class TroubleShown:
    """Why nothing was learnt of one key."""

    id: str
    provider: str
    name: str
    error: str


@dataclass(frozen=True, slots=True)
class ReportShown:
    """What a refresh did; `provider` is null when it was for all."""

    provider: str | None
    started_at: str
    success: int
    failed: int
    total_keys: int
    elapsed_seconds: float
    errors: list[TroubleShown]


@dataclass(frozen=True, slots=True)
class RefreshShown:
    """How far the refresh is that goes on in some process, or what the last one of the day brought."""

    running: bool
    provider: str | None = None
    done: int = 0
    failed: int = 0
    total_keys: int = 0
    report: ReportShown | None = None


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row, counted from 1, was not stored."""

    row: int
    error: str


@dataclass(frozen=True, slots=True)
class ImportShown:
    """How many keys were stored, and which rows were not."""

    success: int
    failed: int
    errors: list[RowError]


@dataclass(frozen=True, slots=True)
class RotatedShown:
    """How many secrets were encrypted anew."""

    rotated: int


def key_shown(view: KeyView) -> KeyShown:
    """Show a key."""
    key, live = view.key, view.live
    cooldown_us = live.cooldown_until_us if live else key.cooldown_until_us
    return KeyShown(
        id=key.id,
        provider=key.provider,
        name=key.name,
        key=key.shown,
        source=source_of(key),
        enabled=key.enabled,
        status=view.status,
        plan_limit=units(key.plan_limit_micro),
        used=units(key.used_micro),
        remaining=units(view.remaining_micro),
        reserved=units(live.held_micro) if live else None,
        cooldown_until=iso_or_none(cooldown_us),
        last_checked_at=iso_or_none(key.checked_us),
        last_error=key.error,
        failures=key.failures,
        created_at=iso(key.created_us),
        updated_at=iso(key.updated_us),
    )


def source_of(key: UpstreamKey) -> str:
    """Say where the secret of a key is."""
    return key.sealed if key.sealed.startswith(("env:", "file:")) else "encrypted"


def report_shown(report: RefreshReport) -> ReportShown:
    """Show what a refresh did."""
    return ReportShown(
        provider=report.provider,
        started_at=iso(report.started_us),
        success=report.success,
        failed=report.failed,
        total_keys=report.total_keys,
        elapsed_seconds=report.elapsed_seconds,
        errors=[TroubleShown(one.id, one.provider, one.name, one.error) for one in report.errors],
    )


def refresh_shown(progress: Progress | None) -> RefreshShown:
    """Show how far a refresh is; None when there was none."""
    if progress is None:
        return RefreshShown(running=False)
    return RefreshShown(
        running=progress.report is None,
        provider=progress.provider,
        done=progress.done,
        failed=progress.failed,
        total_keys=progress.total_keys,
        report=None if progress.report is None else report_shown(progress.report),
    )


def event_of(progress: Progress) -> Event:
    """Make an event of how far a refresh is; its report is the last one."""
    if progress.report is not None:
        return Event("report", asdict(report_shown(progress.report)))
    return Event(
        "progress",
        {"done": progress.done, "failed": progress.failed, "total_keys": progress.total_keys},
    )


def import_shown(report: ImportReport) -> ImportShown:
    """Show what became of an import."""
    return ImportShown(report.success, report.failed, [RowError(*error) for error in report.errors])
