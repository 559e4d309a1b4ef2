"""A stand-in service, and a way to ask it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest
import tenacity
from tenacity.wait import wait_base

from quotaflow.balances import Asked
from quotaflow.examples.upstream_service import Account, Behaviour, UpstreamService
from quotaflow.settings_upstream import ProviderSettings
from quotaflow.timing import Clock, ManualClock, SystemClock
from quotaflow.upstream.asking import Ask, Asker
from quotaflow.upstream.providers import Provider, load

T = TypeVar("T")
NO_WAIT = tenacity.wait_none()


@dataclass
class Upstream:
    """A service that listens, and its keys."""

    service: UpstreamService
    url: str

    def provider(self, path: str = "/usage") -> Provider:
        return load({"t": ProviderSettings("t", "tavily", self.url + path)})["t"]

    def asks(self, path: str = "/usage") -> list[Ask]:
        provider = self.provider(path)
        return [Ask(f"id-{key}", provider, key) for key in self.service.accounts]

    def behave(self, *keys: str, **behaviour: object) -> None:
        self.service.behave(keys, Behaviour(**behaviour))  # type: ignore[arg-type]

    async def ask(
        self,
        asks: Sequence[Ask],
        *,
        clock: Clock | None = None,
        concurrency: int = 50,
        timeout_s: float = 5.0,
        attempts: int = 3,
        wait: wait_base = NO_WAIT,
        budget_s: float = 1800.0,
    ) -> list[Asked]:
        asker = Asker(
            clock or SystemClock(),
            concurrency=concurrency,
            timeout_s=timeout_s,
            attempts=attempts,
            wait=wait,
            budget_s=budget_s,
        )
        told: list[Asked] = []
        answers = await asker.ask(asks, told.append)
        assert sorted(told, key=lambda one: one.key_id) == sorted(answers, key=lambda one: one.key_id)
        return answers


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Give a service with one key, "key-0000"; a test adds its own."""
    service = UpstreamService({"key-0000": Account(plan_limit=1000, plan_usage=400)})
    async with service.listening() as url:
        yield Upstream(service, url)


async def advanced_until(clock: ManualClock, task: asyncio.Task[T], step_s: float) -> float:
    """Move the clock until the task ends, giving the network its time between; return what was slept."""
    async with asyncio.timeout(30):
        while not task.done():
            if clock._sleepers:
                await clock.advance(step_s)
            else:
                await asyncio.wait([task], timeout=0.005)
    return clock.mono_s()
