"""A daemon process: tasks due every second, counted by SQL alone."""

import asyncio
import sys
from pathlib import Path

from quotaflow import LimitTask, Quotaflow, SchedulerTask
from quotaflow.settings import load


def declare(tasks: int) -> None:
    for number in range(tasks):
        decorate = (
            SchedulerTask(id=f"t{number}", name=f"T{number}", cron="* * * * * *", misfire="catchup(1000)")
            if number % 2
            else LimitTask(
                id=f"t{number}",
                name=f"T{number}",
                cron="* * * * * *",
                quota_name="api",
                misfire="catchup(1000)",
            )
        )

        async def work() -> None:
            await asyncio.sleep(0)

        work.__qualname__ = f"work{number}"
        decorate(work)


async def main(redis_url: str, store_url: str, data_dir: str, tasks: int) -> None:
    declare(tasks)
    flags = {"redis__url": redis_url, "data_dir": data_dir, "store__url": store_url}
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    config = Path(data_dir) / "config.toml"
    config.write_text('[[quotas]]\nid = "api"\ncapacity = 100\nrefill_rate = 10\n')
    settings = load(config, environ={}, **{key: value for key, value in flags.items() if value})
    async with Quotaflow.open(settings, role="daemon") as qf, qf.working():
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
