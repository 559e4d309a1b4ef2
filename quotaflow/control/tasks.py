"""Tasks for people: what the code declares, kept in SQL, scheduled here, paused everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from quotaflow.errors import ConfigError, InvalidInput
from quotaflow.limiter.admission import Admission
from quotaflow.runner.registry import Registry, Task
from quotaflow.schedule.cron import Cron, load_zone, next_after, parse
from quotaflow.schedule.misfire import Misfire, parse_misfire
from quotaflow.schedule.schedule import Schedule
from quotaflow.schedule.ticker import Ticker
from quotaflow.store import DeclaredTask, Store, TaskRow, TaskSummary
from quotaflow.timing import Clock


@dataclass(frozen=True, slots=True)
class Plan:
    """A task's schedule, read and checked."""

    task: Task
    cron: Cron
    zone: ZoneInfo
    misfire: Misfire


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task, how its last runs went, and when it is due (UTC microseconds)."""

    row: TaskRow
    summary: TaskSummary | None
    next_us: tuple[int, ...]


def plans_of(registry: Registry, default_zone: str) -> list[Plan]:
    """Read every schedule.

    :raises ConfigError: one line for each that cannot be read, naming the place.
    """
    plans, problems = [], []
    for task in registry:
        if task.cron is None:
            continue
        try:
            plans.append(plan_of(task, task.cron, default_zone))
        except InvalidInput as error:
            problems.append(f'{task.where}: task "{task.id}": {error}')
    if problems:
        raise ConfigError("\n".join(problems))
    return plans


def plan_of(task: Task, cron: str, default_zone: str) -> Plan:
    """Read one schedule.

    :raises InvalidInput: naming what cannot be read.
    """
    return Plan(task, parse(cron), load_zone(task.timezone or default_zone), parse_misfire(task.misfire))


class TaskDesk:
    """Shows tasks and changes when they run."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        admission: Admission,
        ticker: Ticker,
        clock: Clock,
        default_zone: str,
    ) -> None:
        self._registry = registry
        self._store = store
        self._admission = admission
        self._ticker = ticker
        self._clock = clock
        self._default_zone = default_zone
        self._overrides: dict[str, str] = {}  # expressions that are in force in place of the code's

    async def declare(self, plans: Sequence[Plan]) -> None:
        """Write down what the code declares and put every schedule on the ticker, each at its cursor."""
        await self._store.sync_tasks([_declared(task, self._default_zone) for task in self._registry])
        rows = {row.id: row for row in await self._store.list_tasks()}
        cursors = await self._admission.track([(plan.task.id, rows[plan.task.id].paused) for plan in plans])
        for plan, cursor in zip(plans, cursors, strict=True):
            override = rows[plan.task.id].cron_override
            cron = parse(override) if override else plan.cron
            if override:
                self._overrides[plan.task.id] = override
            self._ticker.put(Schedule(plan.task.id, cron, plan.zone, plan.misfire, cursor.last_tick_us))

    async def get(self, task_id: str, *, moments: int = 5) -> TaskView:
        """Return one task.

        :raises NotFound: no such task.
        """
        return (await self._views([await self._store.get_task(task_id)], moments))[0]

    async def all(self, *, moments: int = 1) -> list[TaskView]:
        """Return every task that code ever declared."""
        return await self._views(await self._store.list_tasks(), moments)

    async def pause(self, task_id: str, *, paused: bool) -> TaskView:
        """Pause or resume a task on all daemons; its ticks are then skipped with a trace."""
        await self._store.set_paused(task_id, paused)
        await self._admission.pause(task_id, paused=paused)
        return await self.get(task_id)

    async def set_cron(self, task_id: str, cron: str | None) -> TaskView:
        """Run a task by another expression; None goes back to the one in the code.

        :raises InvalidInput: an expression that cannot be read, or a task without a schedule.
        """
        row = await self._store.get_task(task_id)
        if row.cron is None:
            raise InvalidInput(f'"{task_id}" has no schedule to change', field="cron")
        if cron is not None:
            parse(cron)
        await self._store.set_cron_override(task_id, cron)
        await self._admission.track([(task_id, row.paused)], from_now=True)
        await self.follow()
        return await self.get(task_id)

    async def follow(self) -> None:
        """Take over expressions that were changed here or by another daemon."""
        overrides = await self._store.cron_overrides()
        for task_id in {*overrides, *self._overrides}:
            task, override = self._registry.get(task_id), overrides.get(task_id)
            if task is None or task.cron is None or self._overrides.get(task_id) == override:
                continue
            plan = plan_of(task, override or task.cron, self._default_zone)
            (last_tick_us,) = await self._admission.cursors([task_id])
            self._ticker.put(Schedule(task_id, plan.cron, plan.zone, plan.misfire, last_tick_us))
            self._overrides.pop(task_id, None)
            if override:
                self._overrides[task_id] = override

    async def _views(self, rows: Sequence[TaskRow], moments: int) -> list[TaskView]:
        summaries = await self._store.summarize([row.id for row in rows])
        return [TaskView(row, summaries.get(row.id), self._next(row, moments)) for row in rows]

    def _next(self, row: TaskRow, moments: int) -> tuple[int, ...]:
        cron = row.cron_override or row.cron
        if cron is None or not row.enabled:
            return ()
        expression, zone = parse(cron), load_zone(row.timezone or self._default_zone)
        found, moment = [], self._clock.wall_us()
        for _ in range(moments):
            moment = next_after(expression, zone, moment)
            found.append(moment)
        return tuple(found)


def _declared(task: Task, default_zone: str) -> DeclaredTask:
    return DeclaredTask(
        id=task.id,
        name=task.name,
        kind=task.kind,
        func=task.path,
        cron=task.cron,
        timezone=(task.timezone or default_zone) if task.cron else None,
        quota_name=task.quota_name,
        description=task.description,
    )
