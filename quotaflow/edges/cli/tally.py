"""What the demo did, by several witnesses: every tick has its trace; Redis, HTTP and SQL agree."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quotaflow.control.tasks import TaskView
from quotaflow.edges.cli.client import Daemon
from quotaflow.flow import Quotaflow
from quotaflow.model import Status
from quotaflow.records import Trace
from quotaflow.schedule.cron import load_zone, next_after, parse
from quotaflow.store import TraceFilter
from quotaflow.timing import Clock

PAGE = 1_000
MOST_PAGES = 10  # 10,000 traces of a task: almost three hours of one that is due each second
AGREE_S = 10.0  # counters reach SQL within a second
LOOK_EVERY_S = 0.1

Counters = tuple[int, int]  # allowed, limited


@dataclass(frozen=True, slots=True)
class Since:
    """Moments in microseconds: when the demo opened, and when its tasks stood."""

    opened_us: int
    steady_us: int


@dataclass(frozen=True, slots=True)
class TaskTally:
    """How often a task was due, and what became of it; calls and triggers are due when they come."""

    task_id: str
    due: int
    by_status: Mapping[Status, int]

    @property
    def agrees(self) -> bool:
        """Every tick has its trace, and every run has ended."""
        return self.due == sum(count for status, count in self.by_status.items() if status.is_final)


@dataclass(frozen=True, slots=True)
class QuotaTally:
    """A quota's counters as three witnesses have them; None who has not heard of it."""

    quota_id: str
    redis: Counters
    http: Counters | None
    sql: Counters | None

    @property
    def agrees(self) -> bool:
        """All say the same."""
        return self.redis == self.http == self.sql


@dataclass(frozen=True, slots=True)
class Tally:
    """Everything counted. `left`: facts that SQL does not have yet, so that the counts are not final."""

    left: int
    tasks: Sequence[TaskTally]
    quotas: Sequence[QuotaTally]

    @property
    def agrees(self) -> bool:
        """Nothing was lost."""
        counted = all(task.agrees for task in self.tasks) and all(quota.agrees for quota in self.quotas)
        return counted and not self.left


async def tally(qf: Quotaflow, daemon: Daemon, since: Since, clock: Clock) -> Tally:
    """Count, again and again until the last batch is in SQL, for at most 10 s."""
    until_s = clock.mono_s() + AGREE_S
    while True:
        stats = await asyncio.to_thread(daemon.ask, "GET", "/api/stats")
        counted = Tally(stats["log_queue_len"], await _tasks(qf, since), await _quotas(qf, stats["quotas"]))
        if counted.agrees or clock.mono_s() > until_s:
            return counted
        await clock.sleep(LOOK_EVERY_S)


async def _tasks(qf: Quotaflow, since: Since) -> list[TaskTally]:
    return [
        tally_task(view, await _traces(qf, view.row.id, since.opened_us), since.steady_us)
        for view in await qf.tasks.all()
        if view.row.enabled
    ]


async def _traces(qf: Quotaflow, task_id: str, since_us: int) -> list[Trace]:
    rows: list[Trace] = []
    cursor = None
    for _ in range(MOST_PAGES):
        page = await qf.store.list_traces(TraceFilter(task_id=task_id, since_us=since_us), cursor, limit=PAGE)
        rows += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return rows


def tally_task(view: TaskView, rows: Sequence[Trace], steady_us: int) -> TaskTally:
    """Count traces against the schedule. If somebody changed the task meanwhile, only the traces are known."""
    moments = sorted(row.scheduled_for_us for row in rows if row.scheduled_for_us is not None)
    due = len(rows)
    if moments and view.row.updated_us < steady_us:
        due += _due_between(view, moments[0], moments[-1]) - len(moments)
    return TaskTally(view.row.id, due, Counter(row.status for row in rows))


def _due_between(view: TaskView, first_us: int, last_us: int) -> int:
    cron = parse(view.row.cron_override or view.row.cron)
    zone = load_zone(view.row.timezone)
    count, moment_us = 1, first_us
    while moment_us < last_us:
        moment_us = next_after(cron, zone, moment_us)
        count += 1
    return count


async def _quotas(qf: Quotaflow, stats: Mapping[str, Mapping[str, int]]) -> list[QuotaTally]:
    http = {quota_id: (each["allowed"], each["limited"]) for quota_id, each in stats.items()}
    sql = {each.quota_id: (each.allowed, each.limited) for each in await qf.store.snapshots()}
    return [
        QuotaTally(
            level.quota_id, (level.allowed, level.limited), http.get(level.quota_id), sql.get(level.quota_id)
        )
        for level in (await qf.quotas.levels()).values()
    ]
