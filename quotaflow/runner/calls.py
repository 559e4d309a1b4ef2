"""Calls that take units first: the wrapper that LimitCallTask puts around a function."""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from quotaflow.errors import NotOpen
from quotaflow.runner.registry import Task

P = ParamSpec("P")
R = TypeVar("R")


class Ticket(Protocol):
    """An admitted call."""

    def done(self, error: BaseException | None) -> None:
        """Trace how the call ended; called once, on the loop."""
        ...


class Calls(Protocol):
    """What an open Quotaflow does for calls."""

    loop: asyncio.AbstractEventLoop

    async def admit(self, task: Task) -> Ticket:
        """Wait for the units in arrival order.

        :raises QuotaExceeded: the wait would be longer than `max_wait`.
        """
        ...


_open: list[Calls] = []


def opened(calls: Calls) -> None:
    """Serve decorated functions from now on; the one opened last serves."""
    _open.append(calls)


def closed(calls: Calls) -> None:
    """Stop serving."""
    _open.remove(calls)


def _current(task: Task, loop: asyncio.AbstractEventLoop | None) -> Calls:
    """Return what was opened last, on this event loop when there is one: its connections work nowhere else."""
    for calls in reversed(_open):
        if loop is None or calls.loop is loop:
            return calls
    raise NotOpen(f'"{task.id}" needs an open Quotaflow: call it inside `async with Quotaflow.open(...)`')


def limited(task: Task, function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function; its signature and result type stay."""
    wrapper = _async_wrapper if inspect.iscoroutinefunction(function) else _sync_wrapper
    return cast("Callable[P, R]", wrapper(task, function))


def _async_wrapper(task: Task, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        ticket = await _current(task, asyncio.get_running_loop()).admit(task)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            ticket.done(error)
            raise
        ticket.done(None)
        return result

    return call


def _sync_wrapper(task: Task, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        calls = _current(task, None)
        if _on_a_loop():
            raise NotOpen(
                f'"{task.id}" is a plain def and would block the event loop while it waits: make it `async def`, '
                f"or call it with `await asyncio.to_thread({function.__name__}, ...)`"
            )
        ticket = asyncio.run_coroutine_threadsafe(calls.admit(task), calls.loop).result()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _tell(calls.loop, ticket, error)
            raise
        _tell(calls.loop, ticket, None)
        return result

    return call


def _tell(loop: asyncio.AbstractEventLoop, ticket: Ticket, error: BaseException | None) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile; the caller still gets the result
        loop.call_soon_threadsafe(ticket.done, error)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
