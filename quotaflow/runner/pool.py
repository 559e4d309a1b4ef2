"""The bounded inbox and the workers that empty it. When the inbox is full nothing more is claimed."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import anyio

from quotaflow.log import Event, get_logger
from quotaflow.model import Outcome, Reason, Run, Status
from quotaflow.runner.endings import text_of
from quotaflow.runner.execute import Executor
from quotaflow.runner.registry import Task
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
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._runs)

    def free(self) -> int:
        """How many more it takes; none once closed."""
        return 0 if self._closed else max(0, self._size - len(self._runs))

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

    def close(self) -> None:
        """Take nothing new; what is in it can still be taken out."""
        self._closed = True
        self._arrived.set()

    def drain(self) -> list[Run]:
        """Take everything out at once."""
        runs = list(self._runs)
        self._runs.clear()
        return runs


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
    ) -> None:
        self.inbox = Inbox(queue_size)
        self._clock = clock
        self._executor = executor
        self._find = find
        self._outbox = outbox
        self._concurrency = concurrency
        self._queue_size = queue_size
        self._active: dict[str, Run] = {}
        self._scope = anyio.CancelScope()
        self.finished = 0

    def open_runs(self) -> list[str]:
        """Return the ids of all runs that are here: waiting for a worker or in one."""
        return [*self._active, *[run.run_id for run in self.inbox._runs]]  # noqa: SLF001  same room

    def statistics(self) -> dict[str, int]:
        """Return how full it is."""
        return {
            "queue_len": len(self.inbox),
            "queue_cap": self._queue_size,
            "running": len(self._active),
            "concurrency": self._concurrency,
            "finished": self.finished,
        }

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
                self._outbox.deliver(self._interrupted(run, self._clock.wall_us()))

    def interrupt(self) -> None:
        """Cancel what is running and end what waits; each becomes an outcome `interrupted`."""
        self.inbox.close()
        self._scope.cancel()

    async def _work(self) -> None:
        while not self._scope.cancel_called:
            await self._outbox.wait_free()
            run = await self.inbox.get()
            if run is None:
                return
            self._active[run.run_id] = run
            started_us = self._clock.wall_us()
            try:
                self._outbox.deliver(await self._outcome_of(run, started_us))
            except asyncio.CancelledError:
                self._outbox.deliver(self._interrupted(run, started_us))
                raise
            finally:
                del self._active[run.run_id]
                self.finished += 1

    async def _outcome_of(self, run: Run, started_us: int) -> Outcome:
        task = self._find(run.task_id)
        if task is None:  # its module was not imported here; a claim for it can only come from a bug
            return self._failed(run, started_us, LookupError("the task is not registered in this process"))
        try:
            return await self._executor.execute(task, run)
        except Exception as error:  # noqa: BLE001  a bug of ours costs this run and not the worker
            return self._failed(run, started_us, error)

    def _failed(self, run: Run, started_us: int, error: Exception) -> Outcome:
        log.error(Event.RUN_FAILED, task_id=run.task_id, run_id=run.run_id, exc_info=error)
        ended = self._ended(run, Status.FAILED, started_us)
        return replace(ended, error_type=type(error).__name__, error=text_of(error))

    def _interrupted(self, run: Run, started_us: int) -> Outcome:
        return replace(self._ended(run, Status.INTERRUPTED, started_us), reason=Reason.SHUTDOWN)

    def _ended(self, run: Run, status: Status, started_us: int) -> Outcome:
        now_us = self._clock.wall_us()
        return Outcome(run, status, started_us, now_us, max(0.0, (now_us - started_us) / 1e3))
