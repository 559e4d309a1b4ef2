"""Two processes at once never get more than there is, and nothing is lost."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from quotaflow import Quotaflow
from quotaflow.model import make_quota
from tests.flow.conftest import MakeSettings, make_settings, registry
from tests.processes.support import line, python, tell
from tests.servers import ValkeyProcess

__all__ = ["make_settings", "registry"]

CAPACITY = 100
UNITS = 500  # of a round in chaos: 128 callers take four each, which takes about a third of a second


@pytest.mark.timeout(300)
async def test_400_callers_in_two_processes_get_exactly_the_capacity_20_times_over(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    settings = make_settings(valkey.url)
    async with Quotaflow.open(settings) as qf, AsyncExitStack() as stack:
        arguments = ("tests.processes.acquirers", valkey.url, str(settings.data_dir))
        (settings.data_dir / "config.toml").write_text("")
        processes = [await stack.enter_async_context(python(*arguments)) for _ in range(2)]
        for number in range(20):
            quota = f"round{number}"
            await qf.quotas.create(make_quota(id=quota, capacity=CAPACITY, refill_rate=0))
            for process in processes:
                tell(process, quota)
            granted = [int(await line(process)) for process in processes]
            assert sum(granted) == CAPACITY, granted
            level = (await qf.quotas.get(quota)).level
            assert level is not None
            assert (level.remaining, level.allowed, level.limited) == (0, CAPACITY, 400 - CAPACITY)


@pytest.mark.timeout(300)
async def test_callers_who_give_up_and_connections_that_die_lose_no_unit_50_times_over(
    valkey: ValkeyProcess, make_settings: MakeSettings
) -> None:
    settings = make_settings(valkey.url)
    async with Quotaflow.open(settings) as qf, AsyncExitStack() as stack:
        arguments = ("tests.processes.impatient", valkey.url, str(settings.data_dir))
        (settings.data_dir / "config.toml").write_text("")
        processes = [await stack.enter_async_context(python(*arguments)) for _ in range(2)]
        killing = asyncio.create_task(kill_connections(valkey))
        stack.callback(killing.cancel)
        returned = 0
        for number in range(50):
            quota = f"round{number}"
            await qf.quotas.create(make_quota(id=quota, capacity=UNITS, refill_rate=0))
            # Its definition can lose its connection, too; then it is only in SQL until somebody looks after it.
            await in_force(qf, quota)
            for process in processes:
                tell(process, quota)
            answers = [[int(word) for word in (await line(process)).split()] for process in processes]
            held, returned, unreturned = (sum(column) for column in zip(*answers, strict=True))
            assert unreturned == 0
            assert held <= UNITS
            assert held + await in_force(qf, quota) == UNITS, answers
        assert returned > 0


async def kill_connections(valkey: ValkeyProcess) -> None:
    """Hang up on everybody, again and again."""
    with valkey.client() as client:
        while True:
            await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311  chaos
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def in_force(qf: Quotaflow, quota: str) -> float:
    """Return what is left, as soon as Redis has the quota and a look at it does not lose its connection."""
    async with asyncio.timeout(30):
        while (level := (await qf.quotas.get(quota)).level) is None:
            await asyncio.sleep(0.005)
    return level.remaining
