"""Traces are found newest first by what people ask for; recovery finds where to go on."""

import pytest

from quotaflow.errors import InvalidInput, NotFound
from quotaflow.model import Status, TaskKind, Trigger
from quotaflow.records import Batch, DeadLetter
from quotaflow.store import DeclaredTask, Store, TaskSummary, TraceFilter
from tests.store.rows import START_US, claim, ended

NOW = START_US + 1_000


async def write(store: Store, *rows: object) -> None:
    await store.write_batch(Batch(closed=rows))  # type: ignore[arg-type]


async def listed(store: Store, wanted: TraceFilter) -> list[str]:
    return [row.run_id for row in (await store.list_traces(wanted)).items]


async def test_pages_go_back_in_time_and_show_each_trace_once(store: Store) -> None:
    """Several claims share a microsecond; new ones arrive between two pages."""
    rows = [claim(f"r{number}", claimed_us=NOW + number // 3, scheduled_for_us=number) for number in range(9)]
    await write(store, *rows[::-1])
    seen, cursor = [], None
    for _ in range(5):
        page = await store.list_traces(cursor=cursor, limit=2)
        seen += [row.run_id for row in page.items]
        cursor = page.next_cursor
        await write(store, claim(f"new{len(seen)}", claimed_us=NOW + 100, scheduled_for_us=100 + len(seen)))
    assert seen == [f"r{number}" for number in reversed(range(9))]
    assert cursor is None


async def test_a_page_that_is_just_full_is_the_last(store: Store) -> None:
    await write(store, claim("a"), claim("b"))
    assert (await store.list_traces(limit=2)).next_cursor is None


async def test_a_cursor_that_no_page_gave_is_refused(store: Store) -> None:
    for cursor in ("", "x", "12", ".r1", "12.", "-1.r1", "1e3.r1", "9" * 30 + ".r1", "１.r1"):
        with pytest.raises(InvalidInput, match="cursor"):
            await store.list_traces(cursor=cursor)


async def test_every_filter_finds_its_rows_and_they_combine(store: Store) -> None:
    base = claim("base", claimed_us=NOW)
    odd = {
        "task": base._replace(run_id="task", task_id="other", claimed_us=NOW + 1),
        "quota": base._replace(run_id="quota", quota_id="other", scheduled_for_us=2, claimed_us=NOW + 2),
        "status": base._replace(
            run_id="status", status=Status.MISSED, scheduled_for_us=3, claimed_us=NOW + 3
        ),
        "trigger": base._replace(
            run_id="trigger", trigger=Trigger.MANUAL, scheduled_for_us=None, claimed_us=NOW + 4
        ),
        "text": base._replace(run_id="text", error="100% Größe_x", scheduled_for_us=5, claimed_us=NOW + 5),
    }
    await write(store, base, *odd.values())
    assert await listed(store, TraceFilter()) == ["text", "trigger", "status", "quota", "task", "base"]
    assert await listed(store, TraceFilter(task_id="other")) == ["task"]
    assert await listed(store, TraceFilter(quota_id="other")) == ["quota"]
    assert await listed(store, TraceFilter(status=Status.MISSED)) == ["status"]
    assert await listed(store, TraceFilter(trigger=Trigger.MANUAL)) == ["trigger"]
    assert await listed(store, TraceFilter(since_us=NOW + 1, until_us=NOW + 3)) == ["quota", "task"]
    assert await listed(store, TraceFilter(text="0% g")) == ["text"]
    assert await listed(store, TraceFilter(text="e_x")) == ["text"]
    assert await listed(store, TraceFilter(text="0_ g")) == []
    assert await listed(store, TraceFilter(task_id="t", quota_id="q", since_us=NOW + 4)) == [
        "text",
        "trigger",
    ]
    assert await listed(store, TraceFilter(task_id="t", status=Status.OK)) == []


async def test_a_moment_beyond_the_calendar_is_bad_input(store: Store) -> None:
    with pytest.raises(InvalidInput):
        await store.list_traces(TraceFilter(since_us=10**18))


async def test_a_trace_that_does_not_exist_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no trace has the run id 'x'"):
        await store.get_trace("x")


async def test_a_summary_counts_and_ranks(store: Store) -> None:
    statuses = [*[Status.OK] * 18, Status.FAILED, Status.HARD_TIMEOUT, Status.LOST]
    runs = [
        ended(claim(f"r{number}", scheduled_for_us=number), status, latency_ms=float(number + 1))
        for number, status in enumerate(statuses)
    ]
    never = [
        claim(f"n{number}", status=status, scheduled_for_us=100 + number)
        for number, status in enumerate(
            [Status.LIMITED, Status.SKIPPED, Status.SKIPPED, Status.MISSED, Status.RUNNING]
        )
    ]
    await write(store, *runs, *never)
    found = await store.summarize(["t", "unknown"])
    assert found["t"] == TaskSummary(
        count=26, ok=18, failed=2, limited=1, skipped=2, missed=1, lost=1, p50_ms=11.0, p95_ms=20.0
    )
    assert found["unknown"] == TaskSummary(0, 0, 0, 0, 0, 0, 0, p50_ms=None, p95_ms=None)


async def test_a_summary_looks_at_the_newest_runs_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quotaflow.store.summaries.NEWEST", 2)
    rows = [
        ended(claim(f"r{n}", claimed_us=NOW + n, scheduled_for_us=n), latency_ms=float(n))
        for n in (3, 1, 4, 2)
    ]
    await write(store, *rows)
    found = (await store.summarize(["t"]))["t"]
    assert (found.count, found.p50_ms, found.p95_ms) == (2, 3.0, 4.0)


async def test_a_summary_of_a_stretch_of_time_begins_with_its_first_moment_and_ends_before_its_last(
    store: Store,
) -> None:
    rows = [
        ended(claim(f"r{n}", claimed_us=NOW + n, scheduled_for_us=n), latency_ms=float(n)) for n in range(5)
    ]
    await write(store, *rows)

    async def found(since_us: int | None, until_us: int | None) -> tuple[int, float | None, float | None]:
        summary = (await store.summarize(["t"], since_us, until_us))["t"]
        return summary.count, summary.p50_ms, summary.p95_ms

    assert await found(NOW + 1, NOW + 3) == (2, 1.0, 2.0)
    assert await found(NOW + 3, None) == (2, 3.0, 4.0)
    assert await found(None, NOW + 1) == (1, 0.0, 0.0)
    assert await found(NOW + 5, NOW + 9) == (0, None, None)


async def test_recovery_finds_the_last_tick_of_every_registered_task(store: Store) -> None:
    tasks = [DeclaredTask(name, name, TaskKind.SCHEDULER, f"app:{name}") for name in ("a", "b", "never")]
    await store.sync_tasks(tasks)
    ticks = [("a", 5), ("a", 9), ("a", 7), ("b", 3), ("b", None), ("never", None), ("unregistered", 1)]
    await write(
        store, *[claim(f"r{n}", task_id=task, scheduled_for_us=at) for n, (task, at) in enumerate(ticks)]
    )
    assert await store.last_ticks() == {"a": 9, "b": 3}


async def test_recovery_finds_the_runs_that_have_not_ended(store: Store) -> None:
    open_rows = [
        claim(status, status=status, claimed_us=NOW - number, scheduled_for_us=number)
        for number, status in enumerate([Status.WAITING, Status.RUNNING, Status.STUCK])
    ]
    await write(store, *open_rows, *[ended(claim(f"{s}"), s) for s in Status if s.is_final])
    assert await store.open_runs() == open_rows[::-1]


async def test_rows_are_counted_for_the_statistics(store: Store) -> None:
    assert (await store.counts()).traces == {}
    thief = claim("thief", scheduled_for_us=claim("a").scheduled_for_us)
    batch = Batch(
        opened=[claim("a"), claim("b"), thief], closed=[ended(claim("c"))], dead=[DeadLetter("1", "", "x")]
    )
    await store.write_batch(batch)
    counts = await store.counts()
    assert counts.traces == {Status.RUNNING: 2, Status.OK: 1}
    assert (counts.dead_letters, counts.double_claims) == (2, 1)
    assert await store.faults() == (2, 1)
