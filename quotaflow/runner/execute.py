"""One run, from start to outcome: give it what it asks for, hold it to its limits, name its ending."""

import asyncio
import contextlib
import inspect
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio

from quotaflow.errors import InvalidInput
from quotaflow.log import Event, get_logger
from quotaflow.model import Reason, Status
from quotaflow.runner.endings import Ending, ending_of, reason_of
from quotaflow.runner.injection import Gift, TaskContext
from quotaflow.runner.limits import SoftLimit
from quotaflow.runner.options import NO_LIMITS, Isolation, TimeLimits
from quotaflow.runner.processes import Job, Processes
from quotaflow.runner.registry import Task, limits_of
from quotaflow.runner.sessions import Sessions
from quotaflow.runner.threads import in_thread
from quotaflow.runs import Again, Outcome, Run
from quotaflow.timing import Clock

log = get_logger(room="runner")

CLEANUP_S = 5.0  # how long a cancelled `async def` may take to end; then it is stuck, and left to itself


class Executor:
    """Runs task functions: `async def` on the loop, plain `def` in threads, and in processes who asked for it."""

    def __init__(
        self,
        clock: Clock,
        sessions: Sessions,
        *,
        limits: TimeLimits = NO_LIMITS,
        processes: Processes | None = None,
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._limits = limits
        self._processes = processes or Processes(sessions.url)

    async def execute(
        self,
        task: Task,
        run: Run,
        *,
        ended_by: "asyncio.Future[Status] | None" = None,
        on_stuck: Callable[[Outcome, "asyncio.Task[Ending]"], None] | None = None,
    ) -> Outcome:
        """Run to the end and say how it ended. Only a cancellation from outside is raised.

        The function has an asyncio task of its own: neither its context variables nor a cancellation that it
        inflicts on itself reach the worker.

        :param ended_by: somebody may end it, and names the status.
        :param on_stuck: is told when it was cancelled and does not end; the outcome is then `stuck`.
        """
        started_us, started_s = self._clock.wall_us(), self._clock.mono_s()

        def outcome(ending: Ending) -> Outcome:
            return self._outcome(task, run, ending, started_us, started_s)

        try:
            limits = limits_of(task, self._limits, TimeLimits(run.plan.time_limit, run.plan.soft_time_limit))
        except InvalidInput as error:
            return outcome(ending_of(error))
        given_up = threading.Event()
        body = asyncio.create_task(self._body(task, run, limits, given_up), name=f"{task.id} {run.run_id}")
        try:
            waited: list[asyncio.Future[Any]] = [body] if ended_by is None else [body, ended_by]
            await asyncio.wait(waited, timeout=limits.hard, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not body.done():
                await self._give_up(body, given_up)
                raise
            # It ended in this very instant, and as it says; the pool knows by itself that it was interrupted.
        if body.done():
            return outcome(_result(body))
        final = outcome(self._given_up_as(task, run, limits, ended_by))
        if not await self._give_up(body, given_up) and on_stuck is not None:
            on_stuck(final, body)
        return final

    def _given_up_as(
        self, task: Task, run: Run, limits: TimeLimits, ended_by: "asyncio.Future[Status] | None"
    ) -> Ending:
        if ended_by is not None and ended_by.done():
            return Ending(ended_by.result(), reason=reason_of(ended_by.result()))
        error = TimeoutError(f"time limit of {limits.hard:g} s exceeded")
        late = ending_of(error, self._delay_s(task, run, error))
        return Ending(Status.HARD_TIMEOUT, None, late.error_type, late.error, late.delay_s)

    def _outcome(self, task: Task, run: Run, ending: Ending, started_us: int, started_s: float) -> Outcome:
        again = None
        if ending.delay_s is not None and task.retry is not None:
            again = Again(ending.delay_s, paid=not task.retry.charge_each)
        return Outcome(
            run=run,
            status=ending.status,
            started_us=started_us,
            finished_us=self._clock.wall_us(),
            latency_ms=(self._clock.mono_s() - started_s) * 1e3,
            reason=ending.reason,
            error_type=ending.error_type,
            error=ending.error,
            again=again,
        )

    async def _give_up(self, body: "asyncio.Task[Ending]", given_up: threading.Event) -> bool:
        """Cancel it and wait for its cleanup. Whatever it does from here on is rolled back. False: it does not end."""
        given_up.set()
        body.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([body], timeout=CLEANUP_S)
        if not body.done():
            log.error(Event.RUN_STUCK, run=body.get_name())
        return body.done()

    async def _body(self, task: Task, run: Run, limits: TimeLimits, given_up: threading.Event) -> Ending:
        try:
            if task.isolation is Isolation.PROCESS:
                return await self._processes.run(task, job_of(task, run, limits))
            told = await self._call(task, _context(run, limits), _args(run), given_up)
        except BaseException as error:  # noqa: BLE001  whatever else a task raises is its ending
            return ending_of(error, self._delay_s(task, run, error))
        return Ending(Status.OK, reason=Reason.SOFT_LIMIT if told else None)

    def _delay_s(self, task: Task, run: Run, error: BaseException) -> float | None:
        if task.retry is None:
            return None
        return task.retry.delay_s(
            run.attempt, error, datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)
        )

    async def _call(
        self, task: Task, context: TaskContext, args: dict[str, Any], given_up: threading.Event
    ) -> bool:
        """Call the function; True when its soft limit told it to end and it returned."""
        if not inspect.iscoroutinefunction(task.function):
            await in_thread(partial(self._call_plain, task, context, args, given_up))
            return False
        _, soft_time_limit = context.timelimit
        if soft_time_limit is None:
            await self._call_async(task, context, args, given_up)
            return False
        soft = SoftLimit(self._call_async(task, context, args, given_up), soft_time_limit)
        await soft
        return soft.told

    async def _call_async(
        self, task: Task, context: TaskContext, args: dict[str, Any], given_up: threading.Event
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            given = dict(args)
            for want in task.wants:
                if want.gift is Gift.CONTEXT:
                    given[want.parameter] = context
                else:
                    session = self._sessions.open_async(want.type, given_up)
                    given[want.parameter] = await stack.enter_async_context(session)
            await task.function(**given)

    def _call_plain(
        self, task: Task, context: TaskContext, args: dict[str, Any], given_up: threading.Event
    ) -> None:
        with contextlib.ExitStack() as stack:
            given = dict(args)
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


def _result(body: "asyncio.Task[Ending]") -> Ending:
    """Read how it ended; a function that cancels itself in its last step cancels the whole task."""
    return ending_of(asyncio.CancelledError()) if body.cancelled() else body.result()


def _args(run: Run) -> dict[str, Any]:
    return dict(json.loads(run.plan.args)) if run.plan.args else {}


def _context(run: Run, limits: TimeLimits) -> TaskContext:
    at_us = run.scheduled_for_us
    return TaskContext(
        run_id=run.run_id,
        attempt=run.attempt,
        scheduled_for=None if at_us is None else datetime.fromtimestamp(at_us / 1e6, UTC),
        timelimit=(limits.hard, limits.soft),
    )


def job_of(task: Task, run: Run, limits: TimeLimits) -> Job:
    """Say what a process of its own needs to know."""
    module, _, qualname = task.path.partition(":")
    return Job(
        module=module,
        qualname=qualname,
        run_id=run.run_id,
        attempt=run.attempt,
        scheduled_for_us=run.scheduled_for_us,
        time_limit=limits.hard,
        soft_time_limit=limits.soft,
        args=run.plan.args,
    )
