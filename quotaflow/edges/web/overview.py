"""/: how it goes: what was decided, what runs out, what runs next, what waits, who is there, and what is wrong."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.amounts import MICRO
from quotaflow.control.forecasts import HOUR_US, LOW, NearEnd, near_their_end
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.web.render import render
from quotaflow.errors import Unavailable
from quotaflow.limiter.instances import Instance
from quotaflow.limiter.waiting import MOST_WAITERS
from quotaflow.store import MinuteFigures

DAY_US = 24 * HOUR_US
MINUTE_US = 60 * MICRO
LOOKED_AT = 50  # quotas, those with the least left: to read the last hour of one takes 0.5 ms
SHOWN = 10  # quotas near their end, and runs to come
INSTANCES = 50  # shown; those that were there within an hour are known

FIRST_TASK = """from quotaflow import LimitTask

@LimitTask(id="hello", name="Hello", quota_name="external_api", cron="*/5 * * * *")
async def hello() -> None:
    print("hello")"""
FIRST_MODULE = '[tasks]\nmodules = ["my_tasks"]'
FIRST_CALL = 'decision = await qf.acquire("external_api")'

T = TypeVar("T")


class Totals(NamedTuple):
    """What was decided, and how many runs failed."""

    allowed: int
    limited: int
    failed: int


class Queue(NamedTuple):
    """Something that waits: how many there are, and may be."""

    name: str
    length: int
    cap: int


@dataclass(slots=True)
class Asking:
    """Asks; what cannot be answered now is None, and `away` says why."""

    away: list[str] = field(default_factory=list)

    async def asked(self, question: Awaitable[T]) -> T | None:
        """Return the answer, if there is one."""
        try:
            return await question
        except Unavailable as error:
            if str(error) not in self.away:
                self.away.append(str(error))
            return None


async def show(request: Request) -> Response:
    """Show how it goes. Each part that Redis or SQL cannot tell says so; the others are there."""
    here = context_of(request)
    now_us = here.clock.wall_us()
    asking = Asking()
    stored, live, ready = await asyncio.gather(
        _stored(here, asking, now_us),
        _live(here, asking, now_us),
        here.vitals.readiness(here.flow.statistics),
    )
    return render(
        request, "overview.html", problems=list(dict.fromkeys([*ready.problems, *asking.away])), rpo=ready.rpo,
        now_us=now_us, shown=SHOWN, own=here.flow.instance_id,
        first={"task": FIRST_TASK, "module": FIRST_MODULE, "call": FIRST_CALL}, **stored, **live,
    )  # fmt: skip


async def _stored(here: Context, asking: Asking, now_us: int) -> dict[str, Any]:
    """Return what SQL knows."""
    store = here.flow.store
    minutes, faults, upcoming = await asyncio.gather(
        asking.asked(store.minutes(now_us - DAY_US, now_us)),
        asking.asked(store.faults()),
        asking.asked(here.flow.tasks.upcoming(SHOWN)),
    )
    hour = [minute for minute in minutes or () if minute.minute_us > now_us - HOUR_US]
    return {
        "minutes": minutes and [minute for minute in minutes if any(minute[1:5])],
        "chart": _chart(minutes or (), now_us),
        "hour": _totals(hour),
        "day": _totals(minutes or ()),
        "faults": faults,
        "upcoming": upcoming,
        "is_new": upcoming == [] and await asking.asked(_is_new(here)),
    }


async def _live(here: Context, asking: Asking, now_us: int) -> dict[str, Any]:
    """Return what Redis knows."""
    statistics = here.flow.statistics
    near, waiting, instances = await asyncio.gather(
        asking.asked(_near(here, now_us)),
        asking.asked(statistics.queues()),
        asking.asked(statistics.instances.all()),
    )
    return {
        "near": near,
        "lag_s": waiting and waiting["flush_lag_s"],
        "queues": waiting and _queues(here, waiting),
        "instances": instances and _newest(instances),
    }


async def _is_new(here: Context) -> bool:
    """Say whether nobody has made or declared anything yet."""
    quotas = (await here.flow.store.list_quotas(limit=1)).items
    return not quotas and not await here.flow.store.list_tasks()


async def _near(here: Context, now_us: int) -> list[NearEnd] | None:
    """Return the quotas near their end; None while nobody knows what they hold."""
    store = here.flow.store
    views = await here.flow.quotas.views(await store.emptiest_quotas(LOW, LOOKED_AT))
    if views and all(view.level is None for view in views):
        return None
    minutes = await store.minutes_of([view.quota.id for view in views], now_us - HOUR_US, now_us)
    return near_their_end(views, minutes, now_us)


def _queues(here: Context, waiting: dict[str, Any]) -> list[Queue]:
    runner = here.flow.work_statistics()["runner"]
    waiting_max = here.flow.settings.runner.waiting_max
    return [
        Queue("Decisions not yet in SQL", waiting["log_queue_len"], waiting["log_queue_cap"]),
        Queue("Levels not yet in SQL", waiting["sync_queue_len"], waiting["sync_queue_cap"]),
        Queue("Runs about to start here", runner["queue_len"], runner["queue_cap"]),
        Queue("Runs waiting for their turn", waiting["waiting_runs"], waiting_max),
        Queue("Calls waiting here", waiting["waiting_calls"], MOST_WAITERS),
    ]


def _newest(instances: Sequence[Instance]) -> list[Instance]:
    return sorted(instances, key=lambda instance: instance.beat_us, reverse=True)[:INSTANCES]


def _totals(minutes: Sequence[MinuteFigures]) -> Totals:
    return Totals(
        allowed=sum(minute.allowed for minute in minutes),
        limited=sum(minute.limited for minute in minutes),
        failed=sum(minute.failed for minute in minutes),
    )


def _chart(minutes: Sequence[MinuteFigures], now_us: int) -> dict[str, list[int]]:
    """Return a value for every minute of the day: where nothing happened a line would go straight over it."""
    known = {minute.minute_us: minute for minute in minutes}
    last_us = now_us - now_us % MINUTE_US
    times = range(last_us - DAY_US + MINUTE_US, last_us + 1, MINUTE_US)
    none = MinuteFigures(0, 0, 0, 0, 0, None)
    shown = [known.get(minute_us, none) for minute_us in times]
    return {
        "times": [minute_us // MICRO for minute_us in times],
        "allowed": [minute.allowed for minute in shown],
        "limited": [minute.limited for minute in shown],
        "failed": [minute.failed for minute in shown],
    }


routes = [Route("/", show, methods=["GET"])]
