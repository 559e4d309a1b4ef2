"""A process for each run. Real ones: each needs a second or so to import what the daemon has imported already."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from quotaflow import Retry
from quotaflow.model import Reason, Status
from quotaflow.runner import processes
from quotaflow.runner.execute import Executor
from quotaflow.runner.pipes import MAX_LINE, MAX_LINES, Lines
from quotaflow.runner.processes import MARK, ProcessDied
from quotaflow.runs import Again, Outcome, Plan
from tests.runner import isolated_tasks as tasks
from tests.runner.runs import Notes, a_run, task_of

DEADLINE_S = 30

SOFT_TIMEOUT = (Status.SOFT_TIMEOUT, None, "SoftTimeLimitExceeded")


def ending(outcome: Outcome) -> tuple[Status, Reason | None, str | None]:
    return outcome.status, outcome.reason, outcome.error_type


async def isolated(
    executor: Executor, function: Callable[..., Any], args: dict[str, Any] | None = None, **options: Any
) -> Outcome:
    """Run a function as a task in a process of its own."""
    task = task_of(function, isolation="process", **options)
    return await executor.execute(task, a_run(plan=Plan(args=json.dumps(args) if args else None)))


def is_gone(pid: int) -> bool:
    """Say whether it is dead; who collects a child of the dead is not our business."""
    with contextlib.suppress(FileNotFoundError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def leavings() -> tuple[int, int, int]:
    """Count open files, asyncio tasks, and children that are dead and were not collected."""
    is_ours = f") Z {os.getpid()} "
    dead = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            dead += is_ours in stat.read_text()
    return sum(1 for _ in Path("/dev/fd").iterdir()), len(asyncio.all_tasks()), dead


async def family(path: Path) -> list[int]:
    """Wait until the task has told its own pid and those of the processes that it has started."""
    async with asyncio.timeout(DEADLINE_S):
        while not path.exists():
            await asyncio.sleep(0.02)
    return [int(pid) for pid in path.read_text().split()]


async def all_gone(pids: list[int]) -> bool:
    """Wait until a kill has been carried out."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            while not all(map(is_gone, pids)):
                await asyncio.sleep(0.02)
    return all(map(is_gone, pids))


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Compare what is there after a run with what was there before it."""
    before = leavings()
    yield
    await asyncio.sleep(0)
    assert leavings() == before


async def test_a_def_sees_its_arguments_its_context_and_no_secret_and_commits(
    executor: Executor, notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTAFLOW_ADMIN_TOKEN", "canary")
    monkeypatch.setenv("NOTIFY_SOCKET", "canary")
    monkeypatch.setenv("SHOP", "open")
    args = {"path": str(tmp_path / "seen"), "greeting": "hé\n" * 100_000}  # more than a pipe holds
    options = {"soft_time_limit": 400.0, "time_limit": 500.0}
    outcome = await isolated(executor, tasks.tells_what_it_sees, args, **options)
    assert ending(outcome) == (Status.OK, None, None), outcome.error
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["greeting"] == "hé\n" * 100_000
    assert seen["context"] == ["run1", 1, "2025-06-15 15:06:40+00:00", 500, 400]
    assert seen["environment"].pop("SHOP") == "open"
    assert "canary" not in seen["environment"].values()
    assert notes.url not in json.dumps([seen["environment"], seen["command"]])
    assert (seen["stdin"], seen["is_main_thread"], seen["is_leader"]) == ("", True, True)
    assert notes.committed() == ["plain"]


@pytest.mark.parametrize("function", [tasks.fails, tasks.fails_async])
async def test_an_error_is_told_rolled_back_and_judged_where_it_was_raised(
    executor: Executor, notes: Notes, function: Callable[..., Any]
) -> None:
    outcome = await isolated(executor, function, retry=tasks.AGAIN)
    assert ending(outcome) == (Status.FAILED, None, "LookupError")
    assert outcome.error == "no such user"
    assert outcome.again == Again(7, paid=False)
    assert notes.committed() == []


@pytest.mark.parametrize("function", [tasks.busy_until_told, tasks.waits_until_told])
async def test_a_function_that_is_told_to_end_may_save_its_progress(
    executor: Executor, notes: Notes, function: Callable[..., Any]
) -> None:
    outcome = await isolated(executor, function, soft_time_limit=0.05)
    assert ending(outcome) == (Status.OK, Reason.SOFT_LIMIT, None)
    assert notes.committed() == ["progress"]


@pytest.mark.parametrize("function", [tasks.sleeps, tasks.waits])
async def test_a_soft_limit_that_is_not_caught_ends_the_run(
    executor: Executor, notes: Notes, function: Callable[..., Any]
) -> None:
    outcome = await isolated(executor, function, soft_time_limit=0.05)
    assert ending(outcome) == SOFT_TIMEOUT
    assert outcome.error == "soft time limit of 0.05 s exceeded"
    assert notes.committed() == []


async def test_a_hard_limit_kills_the_process_even_while_it_starts(executor: Executor) -> None:
    outcome = await isolated(executor, tasks.sleeps, time_limit=0.1)
    assert ending(outcome) == (Status.HARD_TIMEOUT, None, "TimeoutError")
    assert outcome.latency_ms < DEADLINE_S * 1e3


async def test_a_run_that_is_ended_takes_all_with_it_that_it_has_started(
    executor: Executor, tmp_path: Path
) -> None:
    task = task_of(tasks.founds_a_family, isolation="process")
    ended_by: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
    run = a_run(plan=Plan(args=json.dumps({"path": str(tmp_path / "pids")})))
    running = asyncio.create_task(executor.execute(task, run, ended_by=ended_by))
    pids = await family(tmp_path / "pids")
    assert not any(map(is_gone, pids))
    ended_by.set_result(Status.CANCELLED)
    assert ending(await running) == (Status.CANCELLED, Reason.CANCELLED, None)
    assert await all_gone(pids)


async def test_a_daemon_that_stops_kills_it_and_stays_cancelled(executor: Executor, tmp_path: Path) -> None:
    args = {"path": str(tmp_path / "pids")}
    running = asyncio.create_task(isolated(executor, tasks.founds_a_family, args))
    pids = await family(tmp_path / "pids")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await all_gone(pids)


async def test_what_a_run_leaves_behind_neither_delays_nor_outlives_it(
    executor: Executor, tmp_path: Path
) -> None:
    outcome = await isolated(executor, tasks.leaves_a_family, {"path": str(tmp_path / "pids")})
    assert ending(outcome) == (Status.OK, None, None)
    pids = await family(tmp_path / "pids")
    assert len(pids) == 4
    assert await all_gone(pids)


async def test_a_thread_that_does_not_end_is_not_waited_for_long(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LEAVE_S", 0.1)
    assert ending(await isolated(executor, tasks.leaves_a_thread)) == (Status.OK, None, None)


@pytest.mark.parametrize(
    ("function", "error_type", "error"),
    [
        (tasks.exits, "SystemExit", "3"),
        (tasks.ends_at_once, "ProcessDied", "it ended with exit code 3"),
        (tasks.kills_itself, "ProcessDied", "it was killed by SIGKILL"),
        (tasks.reads_address_zero, "ProcessDied", "it was killed by SIGSEGV"),
        (tasks.eats_memory, "MemoryError", ""),
        (
            tasks.babbles_at_its_end,
            "ProcessDied",
            "what it said about its end cannot be read; it ended with exit code 0",
        ),
    ],
)
async def test_a_death_is_an_outcome(
    executor: Executor, function: Callable[..., Any], error_type: str, error: str
) -> None:
    """Whether it is tried again is up to the task, as with any error."""
    again = Retry(attempts=2, wait=tenacity.wait_fixed(9), on=ProcessDied)
    outcome = await isolated(executor, function, retry=again)
    assert (ending(outcome), outcome.error) == ((Status.FAILED, None, error_type), error)
    assert outcome.again == (Again(9, paid=False) if error_type == "ProcessDied" else None)


async def test_a_fork_that_returns_as_well_says_nothing(executor: Executor) -> None:
    assert ending(await isolated(executor, tasks.forks_and_both_return)) == (Status.OK, None, None)


async def test_a_module_that_only_the_parent_has_is_an_outcome(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job() -> None: ...

    monkeypatch.setattr(job, "__module__", "shop_that_is_not_there")
    outcome = await isolated(executor, job)
    assert ending(outcome) == (Status.FAILED, None, "ModuleNotFoundError")


async def test_the_program_itself_cannot_be_isolated(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job() -> None: ...

    monkeypatch.setattr(job, "__module__", "__main__")
    outcome = await isolated(executor, job)
    assert ending(outcome) == (Status.FAILED, None, "RegistrationError")
    assert outcome.error is not None
    assert "in a module that can be imported" in outcome.error


async def test_a_process_that_cannot_be_started_is_an_outcome(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    outcome = await isolated(executor, tasks.sleeps)
    assert ending(outcome) == (Status.FAILED, None, "FileNotFoundError")


async def test_output_lands_in_the_log_as_far_as_it_is_bounded(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quotaflow")
    assert ending(await isolated(executor, tasks.prints_much)) == (Status.OK, None, None)
    said: list[dict[str, Any]] = [dict(record.msg) for record in caplog.records]  # type: ignore[arg-type]
    assert all(line["event"] == "task.output" and line["run_id"] == "run1" for line in said)
    out = [line for line in said if line["stream"] == "stdout"]
    assert [line["line"] for line in out] == ["a line..."] * MAX_LINES + [""]
    assert out[-1]["cut_bytes"] == 10_000_000 - MAX_LINES * 10
    logged, endless = (line for line in said if line["stream"] == "stderr")
    assert "in the child's log" in logged["line"]
    assert (len(endless["line"]), endless["cut_bytes"]) == (MAX_LINE, 10_000_000 - MAX_LINE)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_however_they_arrive(size: int) -> None:
    text = "a\n\nhé\r\n".encode() + b"\xff\n" + b"x" * (MAX_LINE + 5) + b"\nlast"
    told: list[tuple[str, int]] = []
    lines = Lines(lambda line, cut: told.append((line, cut)))
    for start in range(0, len(text), size):
        lines.take(text[start : start + size])
    lines.end()
    assert told == [("a", 0), ("", 0), ("hé", 0), ("\\xff", 0), ("x" * MAX_LINE, 5), ("last", 0)]


async def test_many_that_are_cancelled_at_any_moment_leave_nothing_open(executor: Executor) -> None:
    """The fixture counts."""
    runs = [asyncio.create_task(isolated(executor, tasks.sleeps, task_id=str(n))) for n in range(20)]
    for number, running in enumerate(runs):
        asyncio.get_running_loop().call_later(number * 0.005, running.cancel)
    await asyncio.wait(runs)
    assert all(running.cancelled() for running in runs)


async def test_several_async_defs_at_once_commit_and_answer_for_themselves(
    executor: Executor, notes: Notes
) -> None:
    said = ["a", "b"]
    outcomes = await asyncio.gather(
        *[isolated(executor, tasks.writes, {"said": word}, task_id=word) for word in said]
    )
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 2
    assert sorted(notes.committed()) == said


async def test_it_dies_with_its_daemon(tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.runner.isolated_daemon", str(tmp_path / "pids")),
        env=os.environ | {MARK: "another"},
    )
    try:
        pids = await family(tmp_path / "pids")
    finally:
        daemon.kill()
        await daemon.wait()
    assert await all_gone(pids)
