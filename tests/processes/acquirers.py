"""A process that joins a running installation and asks for units, 200 callers at once, once per line it is sent."""

import asyncio
import sys
from pathlib import Path

from quotaflow import Quotaflow
from quotaflow.settings import load

CALLERS = 200


async def main(url: str, data_dir: str) -> None:
    settings = load(
        Path(data_dir) / "config.toml", environ={}, redis__url=url, data_dir=data_dir, redis__deadline_s=20.0
    )
    async with Quotaflow.open(settings) as qf:
        print("ready", flush=True)
        while quota := (await asyncio.to_thread(sys.stdin.readline)).strip():
            decisions = await asyncio.gather(*[qf.acquire(quota) for _ in range(CALLERS)])
            print(sum(decision.allowed for decision in decisions), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
