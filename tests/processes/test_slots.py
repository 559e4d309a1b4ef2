"""Never more than N at the same time, counted from outside, while connections are killed."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from quotaflow import Quotaflow
from quotaflow.model import make_quota
from quotaflow.settings import load
from tests.processes.holders import CALLERS, TIMES
from tests.processes.support import line, python, tell
from tests.processes.test_exact import kill_connections
from tests.servers import ValkeyProcess

MOST = 3


@pytest.mark.parametrize("chaos", [False, True])
async def test_two_processes_never_hold_more_than_there_are(
    valkey: ValkeyProcess, tmp_path: Path, *, chaos: bool
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    settings = load(config, environ={}, redis__url=valkey.url, data_dir=str(tmp_path))
    async with contextlib.AsyncExitStack() as stack:
        qf = await stack.enter_async_context(Quotaflow.open(settings, role="daemon"))
        await qf.quotas.create(make_quota(id="q", capacity=1, refill_rate=0, max_concurrent=MOST))
        processes = [
            await stack.enter_async_context(python("tests.processes.holders", valkey.url, str(tmp_path)))
            for _ in range(2)
        ]
        killing = asyncio.create_task(kill_connections(valkey)) if chaos else None
        for process in processes:
            tell(process, "q")
        held = []
        for process in processes:
            while (said := await line(process)) != "done":
                began, ended = said.split()
                held.append((float(began), float(ended)))
        if killing:
            killing.cancel()
        assert len(held) == 2 * CALLERS * TIMES
        assert at_once(held) == MOST
        while (level := (await qf.quotas.get("q")).level) is None:
            await asyncio.sleep(0.01)  # a look can lose its connection, too
        assert chaos or level.running == 0


def at_once(held: list[tuple[float, float]]) -> int:
    """Return how many there were at the same time, at the most."""
    edges = sorted([(began, 1) for began, _ in held] + [(ended, -1) for _, ended in held])
    now = most = 0
    for _, edge in edges:
        now += edge
        most = max(most, now)
    return most
