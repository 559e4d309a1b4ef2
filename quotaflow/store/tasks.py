"""Definitions of tasks: the code declares them, a person pauses them, nothing deletes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from operator import attrgetter
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import NotFound
from quotaflow.model import TaskKind
from quotaflow.store.locks import Lock, lock
from quotaflow.store.statements import insert_or_replace
from quotaflow.store.tables import tasks

_values = attrgetter(*tasks.c.keys())


@dataclass(frozen=True, slots=True)
class DeclaredTask:
    """A task as its decorator states it; `func` is `module:qualname`."""

    id: str
    name: str
    kind: TaskKind
    func: str
    cron: str | None = None
    timezone: str | None = None
    quota_name: str | None = None
    description: str | None = None
    rate_limit: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRow(DeclaredTask):
    """A task as SQL knows it: `enabled` while code declares it, `paused` while a person wants it to rest.

    `cron_override` and `rate_override` are a person's words in place of the code's; `skip_us` is a tick to leave out.
    """

    enabled: bool = True
    paused: bool = False
    cron_override: str | None = None
    registered_us: int = 0
    updated_us: int = 0
    rate_override: str | None = None
    skip_us: int | None = None

    @property
    def rate(self) -> str | None:
        """The rate limit that holds."""
        return self.rate_override or self.rate_limit

    def is_called(self, text: str) -> bool:
        """Say whether its id or name has this text in it, in any case."""
        folded = text.casefold()
        return folded in self.id.casefold() or folded in self.name.casefold()


_columns = [tasks.c[field.name] for field in fields(TaskRow)]


async def sync_tasks(connection: AsyncConnection, declared: Sequence[DeclaredTask], now_us: int) -> None:
    """Take over what the code declares; disable what it no longer declares. Pauses stay."""
    await lock(connection, Lock.DEFINITIONS)
    changed = decide(declared, await list_tasks(connection), now_us)
    await insert_or_replace(connection, tasks, [_values(row) for row in changed])


def decide(declared: Sequence[DeclaredTask], stored: Sequence[TaskRow], now_us: int) -> list[TaskRow]:
    """Return the rows that must change."""
    known = {row.id: row for row in stored}
    ids = {task.id for task in declared}
    here = [_take_over(task, known.get(task.id), now_us) for task in declared]
    gone = [replace(row, enabled=False) for row in stored if row.id not in ids]
    return [replace(row, updated_us=now_us) for row in (*here, *gone) if row != known.get(row.id)]


def _take_over(task: DeclaredTask, row: TaskRow | None, now_us: int) -> TaskRow:
    said = asdict(task)
    return replace(row or TaskRow(**said, registered_us=now_us), **said, enabled=True)


async def change_task(
    connection: AsyncConnection, task_id: str, values: Mapping[str, Any], now_us: int
) -> TaskRow:
    """Change what a person may decide of a task, and return it.

    :raises NotFound: no such task.
    """
    await lock(connection, Lock.DEFINITIONS)  # or a sync in between would write the old value back
    await connection.execute(tasks.update().where(tasks.c.id == task_id).values(**values, updated_us=now_us))
    return await get_task(connection, task_id)


async def overridden(connection: AsyncConnection) -> list[TaskRow]:
    """Return the tasks for which a person has said something else than the code."""
    query = select(*_columns).where(
        or_(tasks.c.cron_override.is_not(None), tasks.c.rate_override.is_not(None))
    )
    return [TaskRow(*row) for row in await connection.execute(query)]


async def get_task(connection: AsyncConnection, task_id: str) -> TaskRow:
    """Return a task.

    :raises NotFound: no such task.
    """
    row = (await connection.execute(select(*_columns).where(tasks.c.id == task_id))).one_or_none()
    if row is None:
        raise NotFound(f"no task has the id {task_id!r}")
    return TaskRow(*row)


async def list_tasks(connection: AsyncConnection) -> list[TaskRow]:
    """Return all tasks by id; there are as many as code ever declared."""
    return [TaskRow(*row) for row in await connection.execute(select(*_columns).order_by(tasks.c.id))]
