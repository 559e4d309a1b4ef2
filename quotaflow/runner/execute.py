"""One run, from start to outcome: give it what it asks for, hold it to its limits, name its ending."""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio.to_thread

from quotaflow.model import Outcome, Reason, Run, Status
from quotaflow.runner.injection import Gift, TaskContext, Want
from quotaflow.runner.limits import SoftLimit, SoftTimeLimitExceeded
from quotaflow.runner.registry import Task
from quotaflow.runner.sessions import Sessions
from quotaflow.timing import Clock

MAX_ERROR = 2_000  # characters of an error kept in a trace


class Executor:
    """Runs task functions; plain `def` ones in worker threads, so that they never block the loop."""

    def __init__(self, clock: Clock, sessions: Sessions, *, threads: int) -> None:
        self._clock = clock
        self._sessions = sessions
        self._threads = anyio.CapacityLimiter(threads)

    async def execute(self, task: Task, run: Run) -> Outcome:
        """Run to the end and say how it ended. Only a cancellation from outside is raised."""
        started_us, started_s = self._clock.wall_us(), self._clock.mono_s()
        ended = partial(self._outcome, run, started_us, started_s)
        current = asyncio.current_task()
        try:
            async with asyncio.timeout(task.time_limit) as hard:
                told = await self._body(task, run)
        except SoftTimeLimitExceeded as error:
            return ended(Status.SOFT_TIMEOUT, error=error)
        except asyncio.CancelledError as error:
            if current is not None and current.cancelling():
                raise
            return ended(Status.CANCELLED, error=error)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a task raises is its outcome
            return ended(Status.HARD_TIMEOUT if hard.expired() else Status.FAILED, error=error)
        return ended(Status.OK, reason=Reason.SOFT_LIMIT if told else None)

    def _outcome(
        self,
        run: Run,
        started_us: int,
        started_s: float,
        status: Status,
        *,
        reason: Reason | None = None,
        error: BaseException | None = None,
    ) -> Outcome:
        return Outcome(
            run=run,
            status=status,
            started_us=started_us,
            finished_us=self._clock.wall_us(),
            latency_ms=(self._clock.mono_s() - started_s) * 1e3,
            reason=reason,
            error_type=type(error).__name__ if error is not None else None,
            error=str(error)[:MAX_ERROR] if error is not None else None,
        )

    async def _body(self, task: Task, run: Run) -> bool:
        """Call the function; True when its soft limit told it to end and it returned."""
        context = TaskContext(
            run_id=run.run_id,
            attempt=run.attempt,
            scheduled_for=_moment(run.scheduled_for_us),
            timelimit=(task.time_limit, task.soft_time_limit),
        )
        if not inspect.iscoroutinefunction(task.function):
            await self._in_thread(task, context)
            return False
        if task.soft_time_limit is None:
            await self._in_loop(task, context)
            return False
        soft = SoftLimit(self._in_loop(task, context), task.soft_time_limit)
        await soft
        return soft.expired

    async def _in_loop(self, task: Task, context: TaskContext) -> None:
        async with contextlib.AsyncExitStack() as stack:
            given: dict[str, Any] = {}
            for want in task.wants:
                if want.gift is Gift.CONTEXT:
                    given[want.parameter] = context
                else:
                    given[want.parameter] = await stack.enter_async_context(self._sessions.open_async(want.type))
            await task.function(**given)

    async def _in_thread(self, task: Task, context: TaskContext) -> None:
        abandoned = threading.Event()
        call = partial(self._call, task.function, task.wants, context, abandoned)
        try:
            await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def _call(
        self, function: Callable[..., Any], wants: tuple[Want, ...], context: TaskContext, abandoned: threading.Event
    ) -> None:
        with contextlib.ExitStack() as stack:
            given: dict[str, Any] = {}
            for want in wants:
                if want.gift is Gift.CONTEXT:
                    given[want.parameter] = context
                else:
                    given[want.parameter] = stack.enter_context(self._sessions.open_sync(want.type, abandoned))
            function(**given)


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else datetime.fromtimestamp(microseconds / 1e6, UTC)
