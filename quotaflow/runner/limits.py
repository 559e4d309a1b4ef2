"""The soft time limit: an exception that a coroutine can catch, raised inside the asyncio task that it runs in."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class SoftTimeLimitExceeded(asyncio.CancelledError):
    """The task's soft time limit has passed: save progress and end. Raised at the coroutine's current await.

    It derives from CancelledError so that `except Exception` does not swallow it. Raised in the block of an
    `asyncio.TaskGroup` it leaves the group as an exception group before Python 3.13: catch it with `except*`.
    """


class SoftLimit(Generic[R]):
    """Awaits a coroutine and turns one cancellation of its own into SoftTimeLimitExceeded.

    The timer cancels the surrounding task; that one cancellation is taken back (`uncancel`) and thrown into the
    coroutine under its own name. A cancellation from anywhere else passes through as it is.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, R], seconds: float) -> None:
        self._coroutine = coroutine
        self._seconds = seconds
        self._pending = False
        self._others = 0  # cancellations that were there before ours
        self._timer: asyncio.Handle | None = None
        self.told = False

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._pending = True
        self._others = task.cancelling()
        task.cancel()

    def __await__(self) -> Generator[Any, Any, R]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  an await always runs in a task
        self._timer = task.get_loop().call_later(self._seconds, self._expire, task)
        error: BaseException | None = None
        value: Any = None
        try:
            while True:
                try:
                    step = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
                value, error = None, None
                try:
                    value = yield step
                except asyncio.CancelledError as cancelled:
                    error = self._renamed(task, cancelled)
                except BaseException as other:  # noqa: BLE001  whatever is thrown in belongs to the coroutine
                    error = other
        finally:
            self._timer.cancel()
            if self._pending:  # something that the coroutine awaited has swallowed it
                task.uncancel()

    def _renamed(self, task: asyncio.Task[Any], cancelled: asyncio.CancelledError) -> asyncio.CancelledError:
        if not self._pending:
            return cancelled
        self._pending = False
        if task.uncancel() > self._others:  # somebody cancelled after us: theirs goes first, ours is next
            self._timer = task.get_loop().call_soon(self._expire, task)
            return cancelled
        self.told = True
        return SoftTimeLimitExceeded(f"soft time limit of {self._seconds:g} s exceeded")
