"""/api/upstream-keys/refresh: ask services for the balances of their keys, and look how far that is."""

from fastapi import APIRouter, Request, Response

from quotaflow.balances import Progress
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.events import LOOK_S, SENT, Events, streamed, wants_events
from quotaflow.edges.http.upstream_shapes import RefreshWish
from quotaflow.edges.http.upstream_views import (
    RefreshShown,
    ReportShown,
    event_of,
    refresh_shown,
    report_shown,
)
from quotaflow.errors import Unavailable

router = APIRouter(tags=["upstream keys"], prefix="/api/upstream-keys/refresh")


@router.post("", response_model=ReportShown, responses=SENT, openapi_extra=takes(RefreshWish))
async def refresh(here: Here, request: Request) -> ReportShown | Response:
    """Ask for the balances of all enabled keys, or of one provider's, and answer when all have been asked about.

    With `Accept: text/event-stream`: events `progress`, then `report` or `error`. Leaving early does not end it.
    """
    provider = (await read(request, RefreshWish)).provider
    if not wants_events(request):
        return report_shown(await here.flow.upstream.refresh(provider))
    await here.flow.upstream.expect(provider)  # what is wrong is answered by its status, not by an event
    return streamed(here.vitals, _begun(here, provider))


@router.get("", response_model=RefreshShown, responses=SENT)
async def watch(here: Here, request: Request) -> RefreshShown | Response:
    """Show how far the refresh is that goes on in some process, or what the last one of the day brought.

    With `Accept: text/event-stream`: events `progress` until it is over, then `report`.
    """
    if not wants_events(request):
        return refresh_shown(await here.flow.upstream.progress())
    return streamed(here.vitals, _going_on(here))


async def _begun(here: Context, provider: str | None) -> Events:
    async for progress in here.flow.upstream.refreshing(provider):
        yield event_of(progress)


async def _going_on(here: Context) -> Events:
    shown: Progress | None = None
    while (now := await here.flow.upstream.progress()) is not None and now.report is None:
        if now != shown:
            yield event_of(now)
            shown = now
        await here.clock.sleep(LOOK_S)
    if now is not None:
        yield event_of(now)
    elif shown is not None:
        raise Unavailable("the refresh is not heard of any more: its process has ended, or Redis is away")
