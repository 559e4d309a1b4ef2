"""Child: ticker, gate and admission alone. What is granted is counted and goes nowhere: no runner, no journal."""

import asyncio
from zoneinfo import ZoneInfo

import uvloop

from benchmarks.children import listen, params
from benchmarks.daemon import register
from quotaflow import Quotaflow
from quotaflow.control.gate import Gate
from quotaflow.control.rooms import Deciding
from quotaflow.limiter.claims import Tracked
from quotaflow.log import configure
from quotaflow.model import make_quota
from quotaflow.runner.pool import Inbox
from quotaflow.runner.registry import REGISTRY
from quotaflow.runs import Run
from quotaflow.schedule.cron import parse
from quotaflow.schedule.misfire import SKIP
from quotaflow.schedule.schedule import Schedule
from quotaflow.schedule.ticker import Ticker
from quotaflow.settings import Settings, load
from quotaflow.timing import SystemClock


class Endless(Inbox):
    """A runner that always has room, and counts."""

    def __init__(self) -> None:
        super().__init__(0)
        self.granted = 0

    def free(self) -> int:
        """It never is full."""
        return 1_000_000

    async def wait_free(self) -> None:
        """Never asked for."""

    def put(self, _run: Run) -> None:
        """Count a grant."""
        self.granted += 1


async def prepare(settings: Settings) -> None:
    """Let a daemon that owns the store make this Redis ready, and leave."""
    quota = make_quota(id="bench", capacity=1_000_000, refill_rate=1_000_000)
    async with Quotaflow.open(settings.model_copy(update={"quotas": (quota,)}), role="daemon"):
        pass


async def main(given: dict[str, object]) -> None:
    """Claim until the parent says stop."""
    configure("json", "warning")
    settings = load(None, environ={}, **given["settings"])  # type: ignore[arg-type]
    await prepare(settings)
    register(given["crons"], given["tasks"], given["limited_every"])  # type: ignore[arg-type]
    clock = SystemClock()
    base = Deciding(settings, REGISTRY, settings.redis.url, "daemon", clock, None)
    runner = Endless()
    async with asyncio.TaskGroup() as group:
        fence = group.create_task(base.fence.serve(_nothing))
        await base.fence.wait_ready(10)
        await base.quota_state.refresh_names()
        gate = Gate(REGISTRY, base.admission, base.quota_state, runner, clock, base.ids)
        ticker = Ticker(clock, base.ids, gate.claim, base.admission.cursors, runner, grace_s=60)
        cursors = await base.admission.track([Tracked(task.id) for task in REGISTRY])
        for task, cursor in zip(REGISTRY, cursors, strict=True):
            assert task.cron is not None
            ticker.put(Schedule(task.id, parse(task.cron), ZoneInfo("UTC"), SKIP, cursor.last_tick_us))
        ticking = group.create_task(ticker.run())
        await listen(lambda: {"granted": runner.granted})
        ticking.cancel()
        fence.cancel()
    await base.close()


async def _nothing(*_: object) -> None:
    """Recovery is not this process's business."""


if __name__ == "__main__":
    uvloop.run(main(params()))
