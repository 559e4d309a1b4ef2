"""Who looks after upstream keys, and when: by cron, after a loss, for a new mirror; two processes never do it twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from quotaflow import Quotaflow
from quotaflow.balances import UpstreamKey
from quotaflow.control.refreshing import Refresher
from quotaflow.control.upkeep import AGAIN_S, SAID_S, Upkeep
from quotaflow.control.upstream import UpstreamDesk
from quotaflow.errors import ConfigError, Unavailable
from quotaflow.examples.upstream_service import Account, Behaviour, UpstreamService, key_of
from quotaflow.settings import load
from quotaflow.settings_upstream import ProviderSettings, Upstream
from quotaflow.timing import ManualClock
from quotaflow.upstream.vault import new_key
from tests.flow.test_upstream import add, known, left
from tests.servers import ValkeyProcess

HOUR_S = 3600
KEY = UpstreamKey("k", "tavily", "main", "env:A", "f", "...", True, 0, 0)


class Diary:
    """Stands for desk and refresher, and writes down what they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.unknown: list[UpstreamKey] = []
        self.away = False

    async def settle(self) -> None:
        pass

    async def put_all(self) -> list[UpstreamKey]:
        if self.away:
            raise Unavailable("away")
        self.asked.append("put")
        return self.unknown

    async def check(self, keys: list[UpstreamKey]) -> None:
        self.asked.append(f"check {len(keys)}")

    async def refresh(self) -> None:
        self.asked.append("refresh")

    def told(self) -> list[str]:
        told, self.asked = self.asked, []
        return told


class Hour:
    """An upkeep whose clock can be set."""

    def __init__(self, cron: str = "7 * * * *") -> None:
        self.diary = Diary()
        self.clock = ManualClock(0)
        self.life = 1
        self.mirrors: frozenset[str] = frozenset()
        self.upkeep = Upkeep(
            cast("UpstreamDesk", self.diary),
            cast("Refresher", self.diary),
            lambda: self.life,
            lambda: self.mirrors,
            Upstream(refresh_cron=cron),
            "UTC",
            self.clock,
        )

    async def look(self, after_s: float = 0, *, held: bool = True) -> list[str]:
        await self.clock.advance(after_s)
        await self.upkeep.look(held=held)
        return self.diary.told()


async def test_all_are_refreshed_when_the_cron_says_so_and_once() -> None:
    hour = Hour()
    assert await hour.look() == ["put"]
    assert await hour.look(7 * 60 - 1) == []
    assert await hour.look(1) == ["refresh"]
    assert await hour.look(1) == []
    assert await hour.look(3 * HOUR_S) == ["refresh"], "hours that were slept through count once"


async def test_without_a_cron_nothing_is_refreshed_by_itself() -> None:
    hour = Hour(cron="")
    assert await hour.look() == ["put"]
    assert await hour.look(100 * HOUR_S) == []


async def test_only_who_has_the_duty_acts_and_who_takes_it_over_looks_first() -> None:
    hour = Hour()
    assert await hour.look(held=False) == []
    assert await hour.look(2 * HOUR_S, held=False) == []
    assert await hour.look() == ["put", "refresh"]
    assert await hour.look(held=False) == []
    assert await hour.look() == ["put"]


async def test_keys_nobody_knows_anything_of_are_asked_about_when_all_have_said_what_they_hold() -> None:
    hour = Hour(cron="")
    hour.diary.unknown = [KEY, KEY]
    assert await hour.look() == ["put"]
    assert await hour.look(SAID_S - 0.1) == []
    assert await hour.look(0.1) == ["check 2", "put"]
    hour.diary.unknown = [KEY]
    assert await hour.look(AGAIN_S) == ["check 2", "put"]
    hour.diary.unknown = []
    assert await hour.look(AGAIN_S) == ["check 1", "put"]
    assert await hour.look(AGAIN_S) == []


async def test_in_a_new_life_of_redis_it_begins_again_also_when_that_fails_at_first() -> None:
    hour = Hour(cron="")
    await hour.look()
    hour.life, hour.diary.away = 2, True
    with pytest.raises(Unavailable):
        await hour.look()
    hour.diary.away = False
    assert await hour.look() == ["put"]
    hour.life = 0
    assert await hour.look() == ["put"], "no life is known: whatever there is, is looked at again later"


async def test_a_quota_that_begins_to_mirror_is_given_what_there_is_at_once() -> None:
    hour = Hour(cron="")
    await hour.look()
    hour.mirrors = frozenset({"search"})
    assert await hour.look() == ["refresh"]
    assert await hour.look() == []
    hour.mirrors = frozenset()
    assert await hour.look() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Upstream(refresh_cron="61 * * * *"), "upstream.refresh_cron"),
        (
            Upstream(providers=(ProviderSettings("mine", "tavily", "http://x/", reset_cron="never"),)),
            'upstream provider "mine": reset_cron',
        ),
    ],
)
def test_a_cron_that_is_none_is_told_before_anything_starts(settings: Upstream, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Upkeep(
            cast("UpstreamDesk", None),
            cast("Refresher", None),
            int,
            frozenset,
            settings,
            "UTC",
            ManualClock(0),
        )


@pytest.fixture
async def pair(valkey: ValkeyProcess, postgres: str, tmp_path: Path) -> AsyncIterator[tuple[Any, ...]]:
    """Give two open Quotaflows on one PostgreSQL, and the service that they ask."""
    service = UpstreamService({key_of(number): Account(10) for number in range(3)}, latency_s=0.2)
    secret_key = new_key()
    async with service.listening() as url:
        settings = []
        for name in ("one", "two"):
            some = load(
                None,
                environ={"QUOTAFLOW_UPSTREAM__SECRET_KEY": secret_key},
                data_dir=str(tmp_path / name),
                redis__url=valkey.url,
                store__url=postgres,
                upstream__refresh_cron="",
            )
            provider = ProviderSettings("tavily", "tavily", f"{url}/usage")
            upstream = some.upstream.model_copy(update={"providers": (provider,)})
            settings.append(some.model_copy(update={"upstream": upstream}))
        async with Quotaflow.open(settings[0]) as one, Quotaflow.open(settings[1]) as two:
            yield service, one, two


async def test_two_processes_that_refresh_at_once_ask_once_and_hear_the_same(pair: tuple[Any, ...]) -> None:
    service, one, two = pair
    await add(one, [{"provider": "tavily", "secret": key_of(number)} for number in range(3)])
    asked = {key: account.requests for key, account in service.accounts.items()}
    reports = await asyncio.gather(*[qf.upstream.refresh() for qf in (one, two, one, two)])
    assert {(report.started_us, report.success) for report in reports} == {(reports[0].started_us, 3)}
    assert {key: account.requests for key, account in service.accounts.items()} == {
        key: count + 1 for key, count in asked.items()
    }


async def test_what_one_process_stores_and_holds_counts_in_the_other(pair: tuple[Any, ...]) -> None:
    service, one, two = pair
    await add(one, [{"provider": "tavily", "secret": key_of(0)}])
    assert await known(two)
    async with one.upstream.key("tavily", cost=4):
        assert await left(two) == [6]
        await two.upstream.refresh()
        assert await left(two) == [6], "the service cannot know of what is still under way"
    service.behave([key_of(0)], Behaviour())
    await two.upstream.refresh()
    assert await left(one) == [10], "it had not been spent after all"
