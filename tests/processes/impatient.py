"""A process whose callers give up at any moment; it tells how many units they hold, once nothing is on its way."""

import asyncio
import random
import sys
from pathlib import Path

from quotaflow import Quotaflow, Unavailable
from quotaflow.settings import load

CALLERS = 64


async def take(qf: Quotaflow, quota: str) -> int:
    """Take one unit after the other until there are none; some attempts are given up or fail."""
    held = 0
    while True:
        try:
            async with asyncio.timeout(random.uniform(0.0005, 0.02)):  # noqa: S311  chaos
                decision = await qf.acquire(quota)
        except (TimeoutError, Unavailable):
            continue
        if not decision.allowed:
            return held
        held += 1


async def main(url: str, data_dir: str) -> None:
    settings = load(
        Path(data_dir) / "config.toml", environ={}, redis__url=url, data_dir=data_dir, redis__deadline_s=20.0
    )
    async with Quotaflow.open(settings) as qf:
        print("ready", flush=True)
        while quota := (await asyncio.to_thread(sys.stdin.readline)).strip():
            held = await asyncio.gather(*[take(qf, quota) for _ in range(CALLERS)])
            while under_way := set(qf._base.batcher._under_way):
                await asyncio.wait(under_way)
            figures = qf._base.batcher.statistics()
            print(sum(held), figures["returned"], figures["unreturned"], flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
