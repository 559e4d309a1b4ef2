"""Tasks for people: what the code declares, kept in SQL, scheduled here, paused everywhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from zoneinfo import ZoneInfo

from quotaflow.control.pending import Pending
from quotaflow.control.timeline import Band, Zoned, due_within, upcoming
from quotaflow.errors import ConfigError, InvalidInput
from quotaflow.facts import text_of
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.claims import Tracked
from quotaflow.model import TaskKind
from quotaflow.operators import Actor, by_of
from quotaflow.rates import Pace, pace_of, rate_text
from quotaflow.runner.options import TimeLimits
from quotaflow.runner.registry import Registry, Task, limits_of
from quotaflow.schedule.cron import Cron, load_zone, next_after, parse
from quotaflow.schedule.misfire import Misfire, parse_misfire
from quotaflow.schedule.schedule import Schedule
from quotaflow.schedule.ticker import Ticker
from quotaflow.settings import Settings
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


def plans_of(registry: Registry, settings: Settings) -> list[Plan]:
    """Read every schedule, and what holds together with the configuration.

    :raises ConfigError: one line for each that cannot be read, naming the place.
    """
    plans, problems = [], []
    config = TimeLimits(settings.runner.time_limit or None, settings.runner.soft_time_limit or None)
    for task in registry:
        try:
            limits_of(task, config)
            if task.cron is not None:
                plans.append(plan_of(task, task.cron, settings.scheduler.timezone))
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
        default_rate: str | None,
        paces: dict[str, Pace],
    ) -> None:
        """`paces` is where the rates are kept that hold now, for whoever starts runs."""
        self._default_rate = default_rate
        self._registry = registry
        self._store = store
        self._admission = admission
        self._ticker = ticker
        self._clock = clock
        self._default_zone = default_zone
        self._paces = paces
        self._crons: dict[str, str] = {}  # expressions that are in force in place of the code's
        self._pending = Pending()

    async def declare(self, plans: Sequence[Plan]) -> None:
        """Write down what the code declares and put every schedule on the ticker, each at its cursor."""
        declared = [_declared(task, self._default_zone, self._default_rate) for task in self._registry]
        await self._store.sync_tasks(declared)
        rows = {row.id: row for row in await self._store.list_tasks()}
        tracked = [self._tracked(rows[task.id]) for task in self._registry if task.kind is not TaskKind.CALL]
        found = await self._admission.track(tracked)
        cursors = {task.task_id: cursor for task, cursor in zip(tracked, found, strict=True)}
        for plan in plans:
            override = rows[plan.task.id].cron_override
            cron = parse(override) if override else plan.cron
            if override:
                self._crons[plan.task.id] = override
            last_tick_us = cursors[plan.task.id].last_tick_us
            self._ticker.put(Schedule(plan.task.id, cron, plan.zone, plan.misfire, last_tick_us))

    def _tracked(self, row: TaskRow) -> Tracked:
        pace = pace_of(row.rate)
        self._keep_pace(row.id, pace)
        return Tracked(row.id, row.paused, row.skip_us or 0, pace)

    def _keep_pace(self, task_id: str, pace: Pace | None) -> None:
        self._paces.pop(task_id, None)
        if pace is not None:
            self._paces[task_id] = pace

    async def get(self, task_id: str, *, moments: int = 5) -> TaskView:
        """Return one task.

        :raises NotFound: no such task.
        """
        return (await self._views([await self._store.get_task(task_id)], moments))[0]

    async def all(self, *, moments: int = 1) -> list[TaskView]:
        """Return every task that code ever declared."""
        return await self._views(await self._store.list_tasks(), moments)

    async def page(
        self, cursor: str | None, limit: int, *, text: str | None = None
    ) -> tuple[list[TaskView], str | None]:
        """Return a page of tasks, ordered by id, and the cursor of the next; with `text` those that are called so.

        Without summaries: each reads up to 10,000 rows.
        """
        rows = sorted(await self._store.list_tasks(), key=lambda row: row.id)
        called = [row for row in rows if text is None or row.is_called(text)]
        left = [row for row in called if cursor is None or row.id > cursor]
        views = [TaskView(row, None, self._next(row, 1)) for row in left[:limit]]
        return views, views[-1].row.id if len(left) > limit else None

    def due(self, rows: Iterable[TaskRow], since_us: int, until_us: int) -> dict[str, list[Band]]:
        """Return when each of these tasks that has a schedule is due, paused ones too; see `due_within`."""
        return due_within(self._zoned(rows), since_us, until_us)

    async def upcoming(self, count: int) -> list[tuple[int, TaskRow]]:
        """Return the next ticks of all tasks that are not paused, soonest first, without those to be left out."""
        rows = {row.id: row for row in await self._store.list_tasks() if not row.paused}
        ticks = upcoming(self._zoned(rows.values()), self._clock.wall_us())
        kept = ((at_us, rows[task_id]) for at_us, task_id in ticks if at_us != rows[task_id].skip_us)
        return list(islice(kept, count))

    def _zoned(self, rows: Iterable[TaskRow]) -> dict[str, Zoned]:
        """Return the expressions in force and their zones, of tasks that code declares."""
        return {
            row.id: (parse(cron), load_zone(row.timezone or self._default_zone))
            for row in rows
            if row.enabled and (cron := row.cron_override or row.cron)
        }

    async def pause(self, task_id: str, *, paused: bool, actor: Actor | None = None) -> TaskView:
        """Pause or resume a task on all daemons; its ticks are then skipped with a trace, and what waits waits on."""
        await self._store.change_task(task_id, by=by_of(actor), paused=paused)
        with self._pending.later(task_id):
            await self._admission.pause(task_id, paused=paused)
            if not paused:
                await self._wake(task_id)
        return await self.get(task_id)

    async def skip_next(self, task_id: str, *, skip: bool = True, actor: Actor | None = None) -> TaskView:
        """Leave out the next tick, whichever daemon claims it; or take that back.

        :raises InvalidInput: a task without a schedule.
        """
        row = await self._store.get_task(task_id)
        moments = self._next(row, 1)
        if not moments:
            raise InvalidInput(f'"{task_id}" has no next tick to skip', field="skip_next")
        return await self.skip(task_id, moments[0] if skip else None, actor=actor)

    async def skip(self, task_id: str, skip_us: int | None, *, actor: Actor | None = None) -> TaskView:
        """Leave out the tick of this moment, in microseconds; None leaves out none."""
        await self._store.change_task(task_id, by=by_of(actor), skip_us=skip_us)
        with self._pending.later(task_id):
            await self._admission.skip(task_id, skip_us or 0)
        return await self.get(task_id)

    async def set_cron(self, task_id: str, cron: str | None, *, actor: Actor | None = None) -> TaskView:
        """Run a task by another expression; None goes back to the one in the code.

        :raises InvalidInput: an expression that cannot be read, or a task without a schedule.
        """
        row = await self._store.get_task(task_id)
        if row.cron is None:
            raise InvalidInput(f'"{task_id}" has no schedule to change', field="cron")
        if cron is not None:
            parse(cron)
        row = await self._store.change_task(task_id, by=by_of(actor), cron_override=cron)
        await self._admission.track([self._tracked(row)], from_now=True)
        await self.follow()
        return await self.get(task_id)

    async def due_by(self, task_id: str, cron: str | None, *, moments: int = 5) -> tuple[int, ...]:
        """Return when a task would be due by another expression; None is the one in the code.

        :raises InvalidInput: an expression that cannot be read.
        """
        return self._next(replace(await self._store.get_task(task_id), cron_override=cron), moments)

    async def set_rate(self, task_id: str, rate: str | None, *, actor: Actor | None = None) -> TaskView:
        """Let a task start more or less often, on all daemons; "0/s" is no limit, None goes back to the code's.

        :raises InvalidInput: a rate that cannot be read, or a task that only calls have.
        """
        row = await self._store.get_task(task_id)
        if row.kind is TaskKind.CALL:
            raise InvalidInput(f'"{task_id}" is called by code; its quota limits it', field="rate_limit")
        text = None if rate is None else rate_text(rate)
        row = await self._store.change_task(task_id, by=by_of(actor), rate_override=text)
        with self._pending.later(task_id):
            await self._admission.pace(task_id, self._tracked(row).pace)
            await self._wake(task_id)
        return await self.get(task_id)

    async def _wake(self, task_id: str) -> None:
        """Have those looked at now, in their order, who wait for something that may be there by now."""
        for waits in ("line", "paced"):
            await self._admission.wake(f" task={text_of(task_id)} ", waits)

    async def follow(self) -> None:
        """Take over what was changed here or by another daemon, and what Redis could not take when it was changed."""
        await self._pending.settle(self._put)
        rows = {row.id: row for row in await self._store.overridden_tasks()}
        for task in self._registry:
            row = rows.get(task.id)
            rate = row.rate if row else _rate_text(task, self._default_rate)
            self._keep_pace(task.id, pace_of(rate))
            cron = row.cron_override if row else None
            if task.cron is not None and cron != self._crons.get(task.id):
                await self._reschedule(task, cron)

    async def _put(self, task_id: str) -> None:
        """Put into force what a person decided of a task, but for its schedule: `follow` looks at that."""
        task = self._tracked(await self._store.get_task(task_id))
        await self._admission.pause(task_id, paused=task.paused)
        await self._admission.skip(task_id, task.skip_us)
        await self._admission.pace(task_id, task.pace)
        await self._wake(task_id)

    async def _reschedule(self, task: Task, override: str | None) -> None:
        plan = plan_of(task, override or str(task.cron), self._default_zone)
        (last_tick_us,) = await self._admission.cursors([task.id])
        self._ticker.put(Schedule(task.id, plan.cron, plan.zone, plan.misfire, last_tick_us))
        self._crons.pop(task.id, None)
        if override:
            self._crons[task.id] = override

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


def _rate_text(task: Task, default: str | None) -> str | None:
    """Write a rate as SQL keeps it; a burst is in it."""
    if task.rate is not None:
        return task.rate.text
    return default if task.kind is not TaskKind.CALL else None


def _declared(task: Task, default_zone: str, default_rate: str | None) -> DeclaredTask:
    return DeclaredTask(
        id=task.id,
        name=task.name,
        kind=task.kind,
        func=task.path,
        cron=task.cron,
        timezone=(task.timezone or default_zone) if task.cron else None,
        quota_name=task.quota_name,
        description=task.description,
        rate_limit=_rate_text(task, default_rate),
    )
