"""Memory of one schedule on the ticker."""

from benchmarks.children import child
from benchmarks.report import Report

COUNT = 50_000
ASKED_BYTES = 2_048


async def measure(report: Report) -> None:
    """Measure in fresh processes."""
    found: dict[str, dict[str, object]] = {}
    for with_tasks in (False, True):
        figures: dict[str, object] = {}
        for trace in (True, False):
            answer = await _once(with_tasks, trace)
            figures["traced bytes" if trace else "resident bytes"] = round(answer)
            if not with_tasks:
                kind = "traced" if trace else "resident"
                report.at_most(f"memory: {kind} per schedule", answer, ASKED_BYTES, "bytes")
        found["schedule and task" if with_tasks else "schedule"] = figures
    report.show(f"Memory of each of {COUNT:,} schedules", found)


async def _once(with_tasks: bool, trace: bool) -> float:
    async with child("memory", count=COUNT, with_tasks=with_tasks, trace=trace) as measured:
        return float(measured.greeting["bytes_each"])
