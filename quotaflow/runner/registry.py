"""What was decorated. One registry per process, filled by imports; a task's id is unique in it."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from quotaflow.errors import InvalidInput, RegistrationError
from quotaflow.model import TaskKind
from quotaflow.rates import Rate
from quotaflow.runner.injection import Want
from quotaflow.runner.options import NO_LIMITS, Isolation, TimeLimits, merged
from quotaflow.runner.retry import Retry


@dataclass(frozen=True, slots=True)
class Task:
    """A decorated function and what its decorator says. Times in seconds."""

    id: str
    name: str
    kind: TaskKind
    function: Callable[..., Any]
    where: str  # file:line, for messages
    wants: tuple[Want, ...] = ()
    cron: str | None = None
    timezone: str | None = None
    quota_name: str | None = None
    description: str | None = None
    cost_micro: int = 0
    misfire: str = "skip"
    allow_missing: bool = False
    soft_time_limit: float | None = None
    time_limit: float | None = None
    max_wait: float = 0.0
    rate: Rate | None = None
    retry: Retry | None = None
    jitter: float = 0.0
    spread: float = 0.0
    max_running: int | None = None
    queues_overlap: bool = False
    rerun_lost: bool = False
    max_crashes: int = 3
    isolation: Isolation = Isolation.THREAD

    @property
    def is_plain(self) -> bool:
        """Its ticks have no terms of their own: a later start, a wait for units, another try after a crash."""
        return not (self.max_wait or self.jitter or self.spread or self.rerun_lost)

    @property
    def can_be_told(self) -> bool:
        """A soft limit can be raised inside it."""
        return self.isolation is Isolation.PROCESS or inspect.iscoroutinefunction(self.function)

    @property
    def path(self) -> str:
        """`module:qualname` of the function."""
        return f"{self.function.__module__}:{self.function.__qualname__}"


def limits_of(task: Task, config: TimeLimits, call: TimeLimits = NO_LIMITS) -> TimeLimits:
    """Return the time limits that hold for a run: the call's, else the task's, else the configuration's.

    The configuration's soft limit is left out where nothing can raise it: in a thread.

    :raises InvalidInput: soft above hard, or a soft limit asked for by the call that nothing can raise.
    """
    if not task.can_be_told:
        if call.soft is not None:
            raise InvalidInput(
                f'"{task.id}" runs in a thread and cannot be interrupted softly', field="soft_time_limit"
            )
        config = TimeLimits(config.hard, None)
    return merged(call, TimeLimits(task.time_limit, task.soft_time_limit), config)


class Registry:
    """Tasks by id."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Register a task.

        :raises RegistrationError: another function has this id; names both places. The same function again, as after
            a reload of its module, replaces itself.
        """
        earlier = self._tasks.get(task.id)
        if earlier is not None and (earlier.path, earlier.where) != (task.path, task.where):
            raise RegistrationError(
                f'task id "{task.id}" is used twice: {earlier.path} ({earlier.where}) and {task.path} ({task.where})'
            )
        self._tasks[task.id] = task

    def get(self, task_id: str) -> Task | None:
        """Return the task with this id."""
        return self._tasks.get(task_id)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    def clear(self) -> None:
        """Forget all tasks, so that modules can be imported anew."""
        self._tasks.clear()


REGISTRY = Registry()
