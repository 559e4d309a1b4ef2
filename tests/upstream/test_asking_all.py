"""What holds for a call as a whole: the time it may take, and the proxy of the environment."""

import asyncio
import dataclasses
import sys

import pytest
import tenacity

from quotaflow.balances import Asked
from quotaflow.examples.upstream_service import Account
from quotaflow.timing import ManualClock
from quotaflow.upstream.asking import Ask, Asker
from tests.upstream.conftest import Upstream, advanced_until
from tests.upstream.test_asking import CANARY, KEY, RIGHT


async def test_after_the_budget_no_other_turn_comes_and_who_is_under_way_finishes(upstream: Upstream) -> None:
    clock = ManualClock()
    upstream.service.accounts |= {f"key-{number:04d}": Account(1000) for number in range(1, 4)}
    upstream.behave(KEY, mode="fail_before", count=2)
    asking = upstream.ask(upstream.asks(), clock=clock, concurrency=1, wait=tenacity.wait_fixed(1000))
    task = asyncio.create_task(asking)
    assert await advanced_until(clock, task, 1000) == 2000
    late = "not asked: the refresh took longer than 1,800 s"
    unasked = [Asked(f"id-key-{number:04d}", None, late) for number in range(1, 4)]
    assert task.result() == [Asked(f"id-{KEY}", RIGHT), *unasked]
    assert [account.requests for account in upstream.service.accounts.values()] == [3, 0, 0, 0]


async def test_the_budget_begins_anew_with_each_call(upstream: Upstream) -> None:
    clock = ManualClock()
    asker = Asker(clock, concurrency=1, timeout_s=5, attempts=1, budget_s=10)
    for _ in range(2):
        (answer,) = await asker.ask(upstream.asks(), lambda _: None)
        assert answer.usage == RIGHT
        await clock.advance(11)


async def test_the_environments_proxy_is_used(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)
    provider = dataclasses.replace(upstream, url="http://elsewhere.invalid").provider()
    (answer,) = await upstream.ask([Ask("a", provider, KEY)], attempts=1)
    assert answer.usage == RIGHT


@pytest.mark.parametrize(
    ("proxy", "error"),
    [
        (f"socks5://me:{CANARY}@proxy:1080", "ImportError"),
        (f"nonsense://me:{CANARY}@proxy", "ValueError"),
        (f"http://me:{CANARY}@[::1", "InvalidURL"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_the_error_of_each_key(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, proxy: str, error: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    monkeypatch.setenv("ALL_PROXY", proxy)
    upstream.service.accounts |= {f"key-{number:04d}": Account(1000) for number in range(1, 5)}
    words = f"no client can be made ({error}); look at the proxy settings of the environment"
    answers = await upstream.ask(upstream.asks(), concurrency=2)
    assert answers == [Asked(f"id-{key}", None, words) for key in upstream.service.accounts]
