"""The bounded inbox and the workers that empty it. When the inbox is full nothing more is claimed."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from quotaflow.log import Event, get_logger
from quotaflow.model import Reason, Status
from quotaflow.runner.endings import Ending, reason_of, text_of
from quotaflow.runner.execute import Executor
from quotaflow.runner.registry import Task
from quotaflow.runs import Again, Outcome, Run
from quotaflow.timing import Clock

log = get_logger(room="runner")

FindTask = Callable[[str], Task | None]


class Outbox(Protocol):
    """Where outcomes go."""

    def deliver(self, outcome: Outcome) -> None:
        """Hand over an outcome. It is never refused: it has happened."""
        ...

    async def wait_free(self) -> None:
        """Return when not too many are waiting to be written."""
        ...


class Inbox:
    """Admitted runs, first come first served. The bound is kept by whoever admits: it asks `free` first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._runs: deque[Run] = deque()
        self._expected = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def free(self) -> int:
        """How many more it takes; none once closed."""
        return 0 if self._closed else max(0, self._size - len(self._runs) - self._expected)

    @contextmanager
    def expecting(self, runs: int) -> Iterator[None]:
        """Keep room for runs that are being claimed."""
        self._expected += runs
        try:
            yield
        finally:
            self._expected -= runs
            self._room.set()

    async def wait_free(self) -> None:
        """Return when it takes one more; never once closed."""
        while not self.free():
            self._room.clear()
            await self._room.wait()

    def put(self, run: Run) -> None:
        """Add an admitted run. It was charged already, so it is never turned away."""
        self._runs.append(run)
        self._arrived.set()

    async def get(self) -> Run | None:
        """Take the oldest; None once it is closed and empty."""
        while not self._runs:
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        self._room.set()
        return self._runs.popleft()

    def take(self, is_meant: Callable[[Run], bool]) -> Run | None:
        """Take one out, wherever it stands."""
        run = next(filter(is_meant, self._runs), None)
        if run is not None:
            self._runs.remove(run)
            self._room.set()
        return run

    def close(self) -> None:
        """Take nothing new; what is in it can still be taken out."""
        self._closed = True
        self._arrived.set()

    def drain(self) -> list[Run]:
        """Take everything out at once."""
        runs = list(self._runs)
        self._runs.clear()
        return runs


@dataclass(slots=True)
class Active:
    """A run in a worker. `ended_by` is how somebody ends it."""

    run: Run
    ended_by: "asyncio.Future[Status]"


class Pool:
    """A fixed number of workers. Every run that enters leaves as an outcome, whatever happens to it."""

    def __init__(
        self,
        clock: Clock,
        executor: Executor,
        find: FindTask,
        outbox: Outbox,
        *,
        concurrency: int,
        queue_size: int,
        is_stale: Callable[[Run], Reason | None] = lambda _: None,
    ) -> None:
        """`is_stale` says why a run has waited here too long to start now: it goes back where it came from."""
        self.inbox = Inbox(queue_size)
        self._is_stale = is_stale
        self._clock = clock
        self._executor = executor
        self._find = find
        self._outbox = outbox
        self._concurrency = concurrency
        self._queue_size = queue_size
        self._active: dict[tuple[str, str], Active] = {}
        self._stuck: dict[asyncio.Task[Ending], Outcome] = {}  # it keeps them alive: the loop itself does not
        self._scope = anyio.CancelScope()
        self.finished = 0

    def open_runs(self) -> list[Run]:
        """Return all runs that are here: waiting for a worker, in one, or stuck."""
        active = [active.run for active in self._active.values()]
        return [*active, *self.inbox, *[outcome.run for outcome in self._stuck.values()]]

    def statistics(self) -> dict[str, int]:
        """Return how full it is."""
        return {
            "queue_len": len(self.inbox),
            "queue_cap": self._queue_size,
            "running": len(self._active),
            "stuck": len(self._stuck),
            "concurrency": self._concurrency,
            "finished": self.finished,
        }

    def stuck_runs(self) -> list[Run]:
        """Return the runs that were cancelled and do not end. Each has been given a new worker."""
        return [outcome.run for outcome in self._stuck.values()]

    async def run(self) -> None:
        """Work until the inbox is closed and empty, or `interrupt`."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    for _ in range(self._concurrency):
                        group.start_soon(self._work)
        finally:
            self.inbox.close()
            for run in self.inbox.drain():
                self._outbox.deliver(self._ended(run, Status.INTERRUPTED, Reason.SHUTDOWN))
            for body in list(self._stuck):
                self._unstick(body)  # nobody will wait for it any longer

    def interrupt(self) -> None:
        """Cancel what is running and end what waits; each becomes an outcome `interrupted`."""
        self.inbox.close()
        self._scope.cancel()

    def end(self, run_id: str, status: Status, leg: str | None = None) -> bool:
        """End one run, or this leg of it; False if it is not here."""

        def is_meant(run: Run) -> bool:
            return run.run_id == run_id and leg in (None, run.leg)

        run = self.inbox.take(is_meant)
        if run is not None:
            self._outbox.deliver(self._ended(run, status, reason_of(status)))
            return True
        found = [active for active in self._active.values() if is_meant(active.run)]
        for active in found:
            if not active.ended_by.done():
                active.ended_by.set_result(status)
        return bool(found)

    async def _work(self) -> None:
        while not self._scope.cancel_called:
            await self._outbox.wait_free()
            run = await self.inbox.get()
            if run is None:
                return
            active = Active(run, asyncio.get_running_loop().create_future())
            self._active[run.run_id, run.leg] = active
            started_us = self._clock.wall_us()
            try:
                outcome = await self._outcome_of(active, started_us)
                if outcome is not None:
                    self._outbox.deliver(outcome)
            except asyncio.CancelledError:
                self._outbox.deliver(self._ended(run, Status.INTERRUPTED, Reason.SHUTDOWN, started_us))
                raise
            finally:
                del self._active[run.run_id, run.leg]
                self.finished += 1

    async def _outcome_of(self, active: Active, started_us: int) -> Outcome | None:
        run = active.run
        task = self._find(run.task_id)
        if task is None:  # its module was not imported here; a claim for it can only come from a bug
            return self._failed(run, started_us, LookupError("the task is not registered in this process"))
        if (reason := self._is_stale(run)) is not None:
            return replace(self._ended(run, Status.WAITING, reason), again=Again(0.0, paid=True))
        stuck: list[Outcome] = []

        def on_stuck(outcome: Outcome, body: "asyncio.Task[Ending]") -> None:
            stuck.append(outcome)
            self._keep(outcome, body)

        try:
            outcome = await self._executor.execute(task, run, ended_by=active.ended_by, on_stuck=on_stuck)
        except Exception as error:  # noqa: BLE001  a bug of ours costs this run and not the worker
            return self._failed(run, started_us, error)
        return None if stuck else outcome

    def _keep(self, outcome: Outcome, body: "asyncio.Task[Ending]") -> None:
        """Say that a run is stuck; its end is told when it comes."""
        self._stuck[body] = outcome
        self._outbox.deliver(replace(outcome, status=Status.STUCK, again=None))
        body.add_done_callback(self._unstick)

    def _unstick(self, body: "asyncio.Task[Ending]") -> None:
        outcome = self._stuck.pop(body, None)
        if outcome is not None:
            self._outbox.deliver(replace(outcome, finished_us=self._clock.wall_us()))

    def _failed(self, run: Run, started_us: int, error: Exception) -> Outcome:
        log.error(Event.RUN_FAILED, task_id=run.task_id, run_id=run.run_id, exc_info=error)
        ended = self._ended(run, Status.FAILED, None, started_us)
        return replace(ended, error_type=type(error).__name__, error=text_of(error))

    def _ended(
        self, run: Run, status: Status, reason: Reason | None, started_us: int | None = None
    ) -> Outcome:
        now_us = self._clock.wall_us()
        started_us = now_us if started_us is None else started_us
        return Outcome(run, status, started_us, now_us, max(0.0, (now_us - started_us) / 1e3), reason)
