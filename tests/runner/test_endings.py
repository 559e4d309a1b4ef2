"""Every run ends in one way, and its outcome says in which. No ending reaches the worker as an error."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from quotaflow.model import Status
from quotaflow.runner.execute import Executor
from quotaflow.runner.sessions import Sessions
from quotaflow.runs import Outcome
from quotaflow.timing import ManualClock
from tests.runner.runs import a_run, outcome_of, task_of

RunRaising = Callable[[BaseException], Awaitable[Outcome]]


@pytest.fixture(params=["async def", "def"])
def run_raising(request: pytest.FixtureRequest, executor: Executor) -> RunRaising:
    """Give a function that runs both kinds of task, each raising what it is told to."""

    async def run(error: BaseException) -> Outcome:
        async def job() -> None:
            raise error

        def plain() -> None:
            raise error

        return await outcome_of(executor, job if request.param == "async def" else plain)

    return run


class ApiError(Exception):
    """An application's own error."""


class WordlessError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError


class UnheardOf(BaseException):
    """Not an Exception."""


async def test_a_run_that_returns_is_ok(executor: Executor) -> None:
    async def job() -> int:
        return 3

    run = a_run()
    outcome = await executor.execute(task_of(job), run)
    assert (outcome.run, outcome.status, outcome.reason) == (run, Status.OK, None)
    assert (outcome.error_type, outcome.error) == (None, None)


async def test_a_run_that_raises_has_failed_with_type_and_text(run_raising: RunRaising) -> None:
    outcome = await run_raising(ApiError("no such symbol: 600519"))
    assert (outcome.status, outcome.reason) == (Status.FAILED, None)
    assert (outcome.error_type, outcome.error) == ("ApiError", "no such symbol: 600519")


async def test_a_long_text_is_cut_to_2000_characters(run_raising: RunRaising) -> None:
    outcome = await run_raising(ApiError("价" * 5_000))
    assert outcome.error == "价" * 2_000


async def test_a_text_that_cannot_be_read_does_not_hide_the_failure(run_raising: RunRaising) -> None:
    outcome = await run_raising(WordlessError())
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "WordlessError")
    assert outcome.error == "its text cannot be read: ValueError"


async def test_a_text_that_cannot_be_encoded_is_escaped(run_raising: RunRaising) -> None:
    """A file name that is not UTF-8 comes into Python with half a surrogate pair."""
    outcome = await run_raising(FileNotFoundError("\udcff.csv" + "x" * 1_990))
    assert outcome.error == "\\udcff.csv" + "x" * 1_990
    outcome = await run_raising(FileNotFoundError("\udcff" * 2_000))
    assert outcome.error == "\\udcff" * 333 + "\\u"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SystemExit(3), "SystemExit"),
        (UnheardOf("?"), "UnheardOf"),
        (GeneratorExit(), "GeneratorExit"),
        (TimeoutError("the API"), "TimeoutError"),
        (ExceptionGroup("two", [ApiError(), ApiError()]), "ExceptionGroup"),
        (BaseExceptionGroup("one", [UnheardOf()]), "BaseExceptionGroup"),
    ],
)
async def test_what_is_no_exception_fails_only_the_run(
    run_raising: RunRaising, error: BaseException, name: str
) -> None:
    outcome = await run_raising(error)
    assert (outcome.status, outcome.error_type, outcome.error) == (Status.FAILED, name, str(error))


async def test_a_stop_iteration_is_a_failure_and_not_a_hang(run_raising: RunRaising) -> None:
    async with asyncio.timeout(30):
        outcome = await run_raising(StopIteration(1))
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "RuntimeError")
    assert outcome.error == "coroutine raised StopIteration"


async def test_a_plain_function_that_returns_a_coroutine_has_failed(executor: Executor) -> None:
    """Nobody would await it, and the run would look fine."""

    async def real() -> None: ...

    def job() -> Any:
        return real()

    outcome = await outcome_of(executor, job)
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "TypeError")
    assert "decorate the `async def` itself" in str(outcome.error)


async def cancels_itself_and_waits() -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]
    await asyncio.sleep(10)


async def cancels_itself_and_returns() -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]


async def raises_cancelled() -> None:
    raise asyncio.CancelledError


async def awaits_something_cancelled() -> None:
    child = asyncio.ensure_future(asyncio.sleep(10))
    child.cancel()
    await child


@pytest.mark.parametrize(
    "job",
    [cancels_itself_and_waits, cancels_itself_and_returns, raises_cancelled, awaits_something_cancelled],
)
@pytest.mark.parametrize("limits", [{}, {"soft_time_limit": 5, "time_limit": 6}])
async def test_a_task_that_cancels_itself_is_cancelled_and_nothing_else_is(
    executor: Executor, job: Callable[[], Any], limits: dict[str, float]
) -> None:
    outcome = await outcome_of(executor, job, **limits)
    assert (outcome.status, outcome.error_type) == (Status.CANCELLED, "CancelledError")
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_reaches_the_task_and_is_raised(executor: Executor) -> None:
    heard: list[str] = []
    begun = asyncio.Event()

    async def job() -> None:
        begun.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # its own cleanup is not cut off
            heard.append("cleaned up")
            raise

    running = asyncio.create_task(outcome_of(executor, job))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert heard == ["cleaned up"]


SHOP: contextvars.ContextVar[str] = contextvars.ContextVar("SHOP", default="none")


async def test_context_variables_of_a_run_do_not_leak_into_the_next(executor: Executor) -> None:
    seen: list[str] = []

    async def job() -> None:
        seen.append(SHOP.get())
        SHOP.set("async")

    def plain() -> None:
        seen.append(SHOP.get())
        SHOP.set("plain")

    for _ in range(2):
        await executor.execute(task_of(job), a_run())
        await executor.execute(task_of(plain, "plain"), a_run())
    assert (seen, SHOP.get()) == (["none"] * 4, "none")


async def test_what_surrounds_the_executor_is_seen_by_the_run(executor: Executor) -> None:
    seen: list[str] = []

    def plain() -> None:
        seen.append(SHOP.get())

    token = SHOP.set("outside")
    try:
        await outcome_of(executor, plain)
    finally:
        SHOP.reset(token)
    assert seen == ["outside"]


async def test_times_are_taken_from_both_clocks(sessions: Sessions) -> None:
    clock = ManualClock(start_us=5_000_000)

    async def job() -> None:
        await clock.advance(1.5)

    outcome = await Executor(clock, sessions).execute(task_of(job), a_run())
    assert (outcome.started_us, outcome.finished_us, outcome.latency_ms) == (5_000_000, 6_500_000, 1_500)


async def test_no_asyncio_task_is_left_when_a_run_has_ended(executor: Executor) -> None:
    async def job() -> None:
        await asyncio.sleep(0)

    outcome = await outcome_of(executor, job, soft_time_limit=1, time_limit=2)
    assert (outcome.status, outcome.reason) == (Status.OK, None)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_task_cannot_pretend_that_a_person_ends_the_process(run_raising: RunRaising) -> None:
    """A person's Ctrl-C is a signal, which the daemon hears itself."""
    outcome = await run_raising(KeyboardInterrupt())
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "KeyboardInterrupt")


async def test_a_run_is_named_in_the_list_of_asyncio_tasks(executor: Executor) -> None:
    names: list[str] = []

    async def job() -> None:
        names.append(asyncio.current_task().get_name())  # type: ignore[union-attr]

    await outcome_of(executor, job)
    assert names == ["t run1"]
