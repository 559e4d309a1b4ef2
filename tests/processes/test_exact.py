"""Two processes at once never get more than there is."""

from contextlib import AsyncExitStack

import pytest

from quotaflow import Quotaflow
from quotaflow.model import make_quota
from tests.flow.conftest import MakeSettings, make_settings, registry
from tests.processes.support import line, python, tell
from tests.servers import ValkeyProcess

__all__ = ["make_settings", "registry"]

CAPACITY = 100


@pytest.mark.timeout(120)
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
