"""/api/events: tells a page that there is something new to look at; the page then asks for what it shows."""

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.events import SENT, Event, streamed
from quotaflow.edges.http.guard import is_still_in
from quotaflow.edges.http.pulse import LOOK_S

router = APIRouter(tags=["health"])

ALWAYS = 5  # looks: then it is told anyway, because buckets refill and time passes without anything happening


@router.get("/api/events", response_class=StreamingResponse, responses=SENT)
async def events(here: Here, request: Request) -> StreamingResponse:
    """Stream `changed` when quotas, runs or tasks have changed, at the latest every 5 s; ends when signed out."""
    return streamed(here.vitals, _changes(here, request))


async def _changes(here: Context, request: Request) -> AsyncGenerator[Event, None]:
    seen: object = None
    quiet = 0
    while await is_still_in(request):
        now = await here.pulse.feel()
        quiet += 1
        if now != seen or quiet >= ALWAYS:
            yield Event("changed", {})
            seen, quiet = now, 0
        await here.clock.sleep(LOOK_S)
