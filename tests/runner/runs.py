"""An application database whose rows are counted from outside, and short ways to a run."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import TextClause, text

from quotaflow import SchedulerTask
from quotaflow.model import Trigger
from quotaflow.runner.execute import Executor
from quotaflow.runner.registry import REGISTRY, Task
from quotaflow.runs import Outcome, Run


class Notes:
    """A database of the application's own: one table, and a way to look at it past all sessions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite+aiosqlite:///{path}"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE notes (said TEXT UNIQUE)")

    def committed(self) -> list[str]:
        """Return what anybody else can see."""
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            return [said for (said,) in connection.execute("SELECT said FROM notes ORDER BY rowid")]


def note(said: str) -> TextClause:
    """Write a row."""
    return text("INSERT INTO notes VALUES (:said)").bindparams(said=said)


def task_of(function: Callable[..., Any], task_id: str = "t", **options: Any) -> Task:
    """Register a function as a task and return what the registry has."""
    SchedulerTask(id=task_id, name="T", cron="@daily", **options)(function)
    task = REGISTRY.get(task_id)
    assert task is not None
    return task


def a_run(run_id: str = "run1", task_id: str = "t", **more: Any) -> Run:
    """Make an admitted run."""
    fields: dict[str, Any] = {
        "trigger": Trigger.CRON,
        "scheduled_for_us": 1_750_000_000_000_000,
        "claimed_us": 1_750_000_000_000_500,
        "quota_id": None,
        "cost_micro": 0,
    }
    return Run(run_id, task_id, **(fields | more))


async def outcome_of(executor: Executor, function: Callable[..., Any], **options: Any) -> Outcome:
    """Run a function as a task, once."""
    return await executor.execute(task_of(function, **options), a_run())


async def loop_turns(count: int = 10) -> None:
    """Let everything that can go on without waiting go on."""
    for _ in range(count):
        await asyncio.sleep(0)
