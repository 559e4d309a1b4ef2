"""A process that joins a running installation and holds slots: many callers, who say from when to when they had one."""

import asyncio
import sys
from pathlib import Path

from quotaflow import Quotaflow, Unavailable
from quotaflow.settings import load
from quotaflow.timing import SystemClock

CALLERS, TIMES, HOLD_S = 12, 6, 0.02


async def hold(qf: Quotaflow, quota: str) -> None:
    """Hold a slot some times; who loses the connection while it asks, asks again."""
    clock, times = SystemClock(), 0
    while times < TIMES:
        try:
            async with qf.slot(quota, wait=30):
                began_s = clock.mono_s()
                await asyncio.sleep(HOLD_S)
                print(began_s, clock.mono_s(), flush=True)
                times += 1
        except Unavailable:
            continue


async def main(url: str, data_dir: str) -> None:
    """Open, say so, and begin when told which quota."""
    config = Path(data_dir) / "config.toml"
    settings = load(config, environ={}, redis__url=url, data_dir=data_dir, redis__deadline_s=5.0)
    async with Quotaflow.open(settings) as qf:
        print("ready", flush=True)
        quota = (await asyncio.to_thread(sys.stdin.readline)).strip()
        await asyncio.gather(*[hold(qf, quota) for _ in range(CALLERS)])
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
