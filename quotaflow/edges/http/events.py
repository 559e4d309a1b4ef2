"""Server-Sent Events: an answer that goes on until all is told, the client leaves, or the process stops."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import StreamingResponse

from quotaflow.edges.http.problems import of_error
from quotaflow.edges.http.vitals import Stage, Vitals

MEDIA_TYPE = "text/event-stream"
SENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}
}  # OpenAPI
LOOK_S = 0.1  # between looks at what there is to tell, and whether the process stops
SILENT_S = 5.0  # then a comment says that somebody is here


class Event(NamedTuple):
    """One event; `data` is written as JSON."""

    name: str
    data: object


Events = AsyncGenerator[Event, None]


def wants_events(request: Request) -> bool:
    """Say whether the client asked for events instead of one document."""
    return MEDIA_TYPE in request.headers.get("accept", "").lower()


def streamed(vitals: Vitals, events: Events) -> StreamingResponse:
    """Answer with events as they come; an error among them is the last one, its data a problem."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy keeps them back
    return StreamingResponse(_written(vitals, events), media_type=MEDIA_TYPE, headers=headers)


async def _written(vitals: Vitals, events: Events) -> AsyncIterator[str]:
    texts: list[str] = []
    telling = asyncio.create_task(_tell(events, texts.append))
    silent_s = 0.0
    try:
        while not telling.done() and vitals.stage is not Stage.STOPPING:
            await asyncio.wait([telling], timeout=LOOK_S)
            silent_s = 0.0 if texts else silent_s + LOOK_S
            if silent_s >= SILENT_S:
                texts.append(":\n\n")
            if texts:
                yield "".join(texts)
                texts.clear()
    finally:
        telling.cancel()


async def _tell(events: Events, write: Callable[[str], Any]) -> None:
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                write(_text(event.name, json.dumps(event.data)))
    except Exception as error:  # noqa: BLE001  answered like every other route's
        write(_text("error", bytes(of_error(error, "a stream of events").body).decode()))


def _text(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
