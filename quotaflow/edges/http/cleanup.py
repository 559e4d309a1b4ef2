"""/api/cleanup: how the removal of old rows stands, and its trigger."""

from dataclasses import dataclass

from fastapi import APIRouter, Request

from quotaflow.control.cleanup import CleanupState
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Here
from quotaflow.edges.http.moments import go_duration
from quotaflow.edges.http.shapes import CleanupWish
from quotaflow.settings import Retention
from quotaflow.timing import iso_or_none

router = APIRouter(tags=["cleanup"])


@dataclass(frozen=True, slots=True)
class CleanupShown:
    """How it stands. `last_cleanup_count` is of the last one that came to its end, `total_cleaned_count` of all."""

    enabled: bool
    retention_days: int
    cleanup_interval: str
    batch_size: int
    last_cleanup_time: str | None
    last_cleanup_count: int
    total_cleaned_count: int
    next_cleanup_time: str | None
    running: bool


@dataclass(frozen=True, slots=True)
class CleanupStarted:
    """`started` is false when one was at work already."""

    started: bool


@router.get("/api/cleanup/stats")
async def cleanup_stats(here: Here) -> CleanupShown:
    """Show how long rows are kept, when they were last removed, and when they are next; by any daemon."""
    cleanup = here.flow.cleanup
    return shown(cleanup.settings, await cleanup.state())


@router.post(
    "/api/cleanup/run",
    status_code=202,
    openapi_extra=takes(CleanupWish),
    responses={503: {"description": "`cleanup_disabled`: the settings say so, and `force` was not given"}},
)
async def run_cleanup(here: Here, request: Request) -> CleanupStarted:
    """Remove old rows now. `days`: other than the settings say; `force`: also when they say never."""
    wish = await read(request, CleanupWish)
    return CleanupStarted(await here.flow.cleanup.start(wish.days, force=wish.force))


def shown(settings: Retention, state: CleanupState) -> CleanupShown:
    """Make the answer."""
    return CleanupShown(
        enabled=settings.enabled,
        retention_days=settings.days,
        cleanup_interval=go_duration(settings.every_hours * 3600),
        batch_size=settings.batch,
        last_cleanup_time=iso_or_none(state.record.last_us),
        last_cleanup_count=state.record.last_count,
        total_cleaned_count=state.record.total_count,
        next_cleanup_time=iso_or_none(state.next_us),
        running=state.is_running,
    )
