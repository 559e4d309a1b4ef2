"""How it goes, for people, probes and Prometheus: /livez, /readyz, /stats, /metrics, /api/stats."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.metrics import MEDIA_TYPE, render
from quotaflow.timing import iso

router = APIRouter(tags=["health"])


@router.get("/livez", response_class=JSONResponse)
async def livez() -> JSONResponse:
    """Say that the process answers; nothing else is looked at."""
    return JSONResponse({"alive": True})


@router.get("/readyz", response_class=JSONResponse, responses={503: {"description": "not now; says why"}})
async def readyz(here: Here) -> JSONResponse:
    """Say whether this process can decide and write down what it decides, and what a crash of Redis can cost."""
    ready = await here.vitals.readiness(here.flow.statistics)
    body = {"ready": ready.is_ready, "problems": ready.problems, "rpo": ready.rpo}
    return JSONResponse(body, 200 if ready.is_ready else 503)


@router.get("/stats", response_class=JSONResponse)
async def small_stats(here: Here) -> JSONResponse:
    """Show the figures of the write-behind queues. Open to this machine; from elsewhere with the token."""
    return JSONResponse(await here.flow.statistics.small())


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(here: Here) -> Response:
    """Show figures in Prometheus' text format. Open to this machine; from elsewhere with the token."""
    figures = await here.flow.statistics.everything()
    text = render(figures, _work(here), await here.flow.upstream_statistics())
    return Response(text, media_type=MEDIA_TYPE)


@router.get("/api/stats", response_class=JSONResponse)
async def stats(here: Here) -> JSONResponse:
    """Show all figures: queues, decisions, traces, upstream keys, and what a crash of Redis can take back."""
    figures = await here.flow.statistics.everything()
    instances = [_instance(entry) for entry in figures["instances"]]
    upstream = await here.flow.upstream_statistics()
    return JSONResponse({**figures, "instances": instances, **_work(here), "upstream": upstream})


def _work(here: Context) -> dict[str, Mapping[str, float]]:
    return {**here.flow.work_statistics(), "loop": here.vitals.figures()}


def _instance(entry: dict[str, Any]) -> dict[str, Any]:
    moments = {"started_at": iso(entry["started_us"]), "beat_at": iso(entry["beat_us"])}
    return {key: value for key, value in entry.items() if not key.endswith("_us")} | moments
