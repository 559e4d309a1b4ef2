"""The examples do what their sentences say."""

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from quotaflow import TaskContext, examples
from quotaflow.control.tasks import plans_of
from quotaflow.examples.weather_service import BURST, PER_SECOND, WeatherService
from quotaflow.runner.registry import REGISTRY
from quotaflow.settings import load

CONFIG = Path(examples.__file__).with_name("config.toml")


@pytest.fixture
def tasks() -> Iterator[ModuleType]:
    """Give the module, alone in the registry; afterwards the registry is as before."""
    before = list(REGISTRY)
    REGISTRY.clear()
    module = importlib.import_module("quotaflow.examples.tasks")
    yield importlib.reload(module)
    REGISTRY.clear()
    for task in before:
        REGISTRY.add(task)


def test_the_configuration_names_the_tasks_and_has_every_quota_they_ask_for(tasks: ModuleType) -> None:
    settings = load(CONFIG, environ={}, data_dir="/nowhere")
    assert settings.tasks.modules == (tasks.__name__,)
    assert {task.quota_name for task in REGISTRY if task.quota_name} == {
        quota.name for quota in settings.quotas
    }
    assert {plan.task.id for plan in plans_of(REGISTRY, settings)} == {
        *("watch_weather", "measure_disk", "collect_payments", "search_news")
    }


def test_our_quota_stays_below_what_the_service_takes() -> None:
    quota = next(quota for quota in load(CONFIG, environ={}).quotas if quota.id == "weather_api")
    assert quota.capacity <= BURST
    assert quota.refill_rate < PER_SECOND


def test_the_service_refuses_who_comes_too_fast_and_serves_who_waits() -> None:
    service = WeatherService()
    codes = [service.answer("/weather?city=Oslo", 100.0)[0].split()[0] for _ in range(int(BURST) + 1)]
    assert codes == ["200"] * int(BURST) + ["429"]
    assert service.refused == 1
    assert service.answer("/weather?city=Oslo", 100.0 + 1 / PER_SECOND)[0] == "200 OK"


async def test_the_service_speaks_http() -> None:
    async with (
        WeatherService().listening() as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        answer = await client.get("/weather", params={"city": "上海"})
        assert (answer.status_code, answer.json()["city"]) == (200, "上海")
        codes = [(await client.get("/weather")).status_code for _ in range(4)]
        assert 429 in codes


async def test_payments_fail_now_and_then_and_always_for_the_same_ticks(tasks: ModuleType) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(seconds=number) for number in range(20)]
    outcomes = [[await fails(tasks, moment) for moment in moments] for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert {True, False} == set(outcomes[0])


async def fails(tasks: ModuleType, moment: datetime) -> bool:
    context = TaskContext(run_id="r", attempt=1, scheduled_for=moment, timelimit=(None, None))
    try:
        await tasks.collect_payments(context)
    except ConnectionError:
        return True
    return False
