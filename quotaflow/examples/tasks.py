"""Six ways to work under a quota. Cron expressions have six fields here, seconds first, so that something happens."""

import asyncio
import os
import random
import shutil
from pathlib import Path

import httpx
from sqlalchemy import Column, DateTime, Float, Integer, MetaData, String, Table, func, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from quotaflow import LentKey, LimitCallTask, LimitTask, Quotaflow, SchedulerTask, TaskContext

CITIES = ("Oslo", "Lima", "上海")

weather_tables = MetaData()
readings = Table(
    "weather_readings",
    weather_tables,
    Column("id", Integer, primary_key=True),
    Column("city", String(100), nullable=False),
    Column("celsius", Float, nullable=False),
    Column("read_at", DateTime, nullable=False, server_default=func.now()),
)

disk_tables = MetaData()
samples = Table(
    "disk_samples",
    disk_tables,
    Column("id", Integer, primary_key=True),
    Column("free_gb", Float, nullable=False),
    Column("read_at", DateTime, nullable=False, server_default=func.now()),
)


@LimitCallTask(id="fetch_weather", name="Ask for the weather", quota_name="Weather service", max_wait=5)
async def fetch_weather(client: httpx.AsyncClient, city: str) -> float:
    """Ask once. Each call takes a unit first, and waits for it in line: the service never has to refuse."""
    answer = await client.get("/weather", params={"city": city})
    answer.raise_for_status()
    return float(answer.json()["celsius"])


@SchedulerTask(id="watch_weather", name="Watch the weather", cron="*/3 * * * * *", time_limit=10)
async def watch_weather(session: AsyncSession) -> None:
    """Ask for every city, then write the rows: committed on return, rolled back when anything raises."""
    url = os.environ.get("WEATHER_URL", "http://127.0.0.1:8765")
    async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client:
        degrees = await asyncio.gather(*[fetch_weather(client, city) for city in CITIES])
    connection = await session.connection()
    await connection.run_sync(weather_tables.create_all)  # the first time; afterwards it only looks
    rows = [{"city": city, "celsius": celsius} for city, celsius in zip(CITIES, degrees, strict=True)]
    await session.execute(insert(readings), rows)


@LimitTask(id="search_news", name="Search the news", quota_name="Searches", cron="*/5 * * * * *")
async def search_news() -> None:
    """Search with the key that has the most left, or the next when the service refuses it.

    The quota mirrors what all keys have: when nothing is left, the runs are refused before anybody is asked.
    """
    url = os.environ.get("SEARCH_URL", "http://127.0.0.1:8766")

    async def search(key: LentKey) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client:
            answer = await client.post("/search", headers={"Authorization": f"Bearer {key.secret}"})
            answer.raise_for_status()

    await Quotaflow.current().upstream.call("search_service", search)


@LimitTask(id="measure_disk", name="Measure the disk", quota_name="Disk checks", cron="* * * * * *")
def measure_disk(session: Session) -> None:
    """Write down the free space. A plain `def` runs in a thread. More is due than its quota has: see the 429s."""
    disk_tables.create_all(session.connection())
    session.execute(insert(samples).values(free_gb=shutil.disk_usage(Path.cwd()).free / 1e9))


@SchedulerTask(id="collect_payments", name="Collect payments", cron="* * * * * *", timezone="Asia/Shanghai")
async def collect_payments(context: TaskContext) -> None:
    """Fail now and then, as networks do; always for the same ticks, so that a failure can be looked at again."""
    await asyncio.sleep(0.02)
    if random.Random(str(context.scheduled_for)).random() < 0.4:  # noqa: PLR2004, S311
        raise ConnectionError("the bank hung up")
