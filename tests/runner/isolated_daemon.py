"""A small daemon, on the loop that daemons have: one run in a process of its own, until somebody kills it."""

import asyncio
import json
import sys

import uvloop

from quotaflow.runner.processes import Job, Processes
from quotaflow.runner.registry import REGISTRY
from tests.runner import isolated_tasks


async def main(path: str) -> None:
    name = isolated_tasks.founds_a_family.__name__
    task = REGISTRY.get(name)
    assert task is not None
    job = Job(isolated_tasks.__name__, name, "run1", 1, None, None, None, json.dumps({"path": path}))
    await Processes("sqlite+aiosqlite://").run(task, job)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
