"""One run, from start to outcome: give it what it asks for, hold it to its limits, name its ending."""

import asyncio
import contextlib
import inspect
import threading
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio

from quotaflow.log import Event, get_logger
from quotaflow.model import Outcome, Reason, Run, Status
from quotaflow.runner.endings import Ending, ending_of, text_of
from quotaflow.runner.injection import Gift, TaskContext
from quotaflow.runner.limits import SoftLimit
from quotaflow.runner.registry import Task
from quotaflow.runner.sessions import Sessions
from quotaflow.runner.threads import in_thread
from quotaflow.timing import Clock

log = get_logger(room="runner")

CLEANUP_S = 5.0  # how long a cancelled `async def` may take to end; then it is left to itself


class Executor:
    """Runs task functions; plain `def` ones in threads, so that they never block the loop."""

    def __init__(self, clock: Clock, sessions: Sessions) -> None:
        self._clock = clock
        self._sessions = sessions
        self._stubborn: set[asyncio.Task[Ending]] = set()

    async def execute(self, task: Task, run: Run) -> Outcome:
        """Run to the end and say how it ended. Only a cancellation from outside is raised.

        The function has an asyncio task of its own: neither its context variables nor a cancellation that it
        inflicts on itself reach the worker.
        """
        started_us, started_s = self._clock.wall_us(), self._clock.mono_s()
        given_up = threading.Event()
        body = asyncio.create_task(self._body(task, run, given_up), name=f"{task.id} {run.run_id}")
        try:
            await asyncio.wait([body], timeout=task.time_limit)
        except asyncio.CancelledError:
            if not body.done():
                await self._give_up(body, given_up)
                raise
            # It ended in this very instant, and as it says; the pool knows by itself that it was interrupted.
        if not body.done():
            await self._give_up(body, given_up)
        ending = _too_long(task) if given_up.is_set() else _result(body)
        return self._outcome(run, ending, started_us, started_s)

    def _outcome(self, run: Run, ending: Ending, started_us: int, started_s: float) -> Outcome:
        return Outcome(
            run=run,
            status=ending.status,
            started_us=started_us,
            finished_us=self._clock.wall_us(),
            latency_ms=(self._clock.mono_s() - started_s) * 1e3,
            reason=ending.reason,
            error_type=type(ending.error).__name__ if ending.error is not None else None,
            error=text_of(ending.error) if ending.error is not None else None,
        )

    async def _give_up(self, body: asyncio.Task[Ending], given_up: threading.Event) -> None:
        """Cancel it and wait for its cleanup. Whatever it does from here on is rolled back."""
        given_up.set()
        body.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([body], timeout=CLEANUP_S)
        if not body.done():
            log.error(Event.RUN_FAILED, run=body.get_name(), error="was cancelled and does not end")
            self._stubborn.add(body)  # the loop itself keeps no task alive
            body.add_done_callback(self._stubborn.discard)

    async def _body(self, task: Task, run: Run, given_up: threading.Event) -> Ending:
        try:
            told = await self._call(task, _context(task, run), given_up)
        except KeyboardInterrupt:  # a person ends the process
            raise
        except BaseException as error:  # noqa: BLE001  whatever else a task raises is its ending
            return ending_of(error)
        return Ending(Status.OK, reason=Reason.SOFT_LIMIT if told else None)

    async def _call(self, task: Task, context: TaskContext, given_up: threading.Event) -> bool:
        """Call the function; True when its soft limit told it to end and it returned."""
        if not inspect.iscoroutinefunction(task.function):
            await in_thread(partial(self._call_plain, task, context, given_up))
            return False
        if task.soft_time_limit is None:
            await self._call_async(task, context, given_up)
            return False
        soft = SoftLimit(self._call_async(task, context, given_up), task.soft_time_limit)
        await soft
        return soft.told

    async def _call_async(self, task: Task, context: TaskContext, given_up: threading.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            given: dict[str, Any] = {}
            for want in task.wants:
                if want.gift is Gift.CONTEXT:
                    given[want.parameter] = context
                else:
                    session = self._sessions.open_async(want.type, given_up)
                    given[want.parameter] = await stack.enter_async_context(session)
            await task.function(**given)

    def _call_plain(self, task: Task, context: TaskContext, given_up: threading.Event) -> None:
        with contextlib.ExitStack() as stack:
            given: dict[str, Any] = {}
            for want in task.wants:
                if want.gift is Gift.CONTEXT:
                    given[want.parameter] = context
                else:
                    session = self._sessions.open_sync(want.type, given_up)
                    given[want.parameter] = stack.enter_context(session)
            result = task.function(**given)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(
                    "it returned a coroutine, which nobody awaits; decorate the `async def` itself"
                )


def _result(body: asyncio.Task[Ending]) -> Ending:
    """Read how it ended; a function that cancels itself in its last step cancels the whole task."""
    return Ending(Status.CANCELLED, error=asyncio.CancelledError()) if body.cancelled() else body.result()


def _too_long(task: Task) -> Ending:
    return Ending(Status.HARD_TIMEOUT, error=TimeoutError(f"time limit of {task.time_limit:g} s exceeded"))


def _context(task: Task, run: Run) -> TaskContext:
    at_us = run.scheduled_for_us
    return TaskContext(
        run_id=run.run_id,
        attempt=run.attempt,
        scheduled_for=None if at_us is None else datetime.fromtimestamp(at_us / 1e6, UTC),
        timelimit=(task.time_limit, task.soft_time_limit),
    )
