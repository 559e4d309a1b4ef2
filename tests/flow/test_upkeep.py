"""Who looks after upstream keys, and when: by cron, after a loss, for a mirror; two processes never do it twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from quotaflow import Quotaflow
from quotaflow.balances import UpstreamKey
from quotaflow.control.reconciling import Reconciler
from quotaflow.control.refreshing import Refresher
from quotaflow.control.upkeep import AGAIN_S, LATE_S, SAID_S, Upkeep
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
    """Stands for desk, refresher and reconciler, and writes down what they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.nobody_knows: list[UpstreamKey] = []
        self.away = False

    async def settle(self) -> None:
        pass

    async def unknown(self) -> list[UpstreamKey]:
        self.asked.append("look")
        if self.away:
            raise Unavailable("away")
        return self.nobody_knows

    async def correct(self, provider: str) -> None:
        if self.away:
            raise Unavailable("away")
        self.asked.append(f"mirror {provider}")

    def check(self, keys: list[UpstreamKey]) -> None:
        self.asked.append(f"check {len(keys)}")

    def start(self, provider: str | None) -> None:
        self.asked.append(f"refresh {provider}")


class Hour:
    """An upkeep whose clock can be set."""

    def __init__(self, cron: str = "7 * * * *", **provider: Any) -> None:
        self.diary = Diary()
        self.clock = ManualClock(0)
        self.life = 1
        self.mirrors: frozenset[tuple[str, str]] = frozenset()
        tavily = ProviderSettings("tavily", "tavily", "http://x/", **provider)
        self.upkeep = Upkeep(
            cast("UpstreamDesk", self.diary),
            cast("Refresher", self.diary),
            cast("Reconciler", self.diary),
            lambda: self.life,
            lambda: self.mirrors,
            Upstream(refresh_cron=cron, providers=(tavily,)),
            "UTC",
            self.clock,
        )

    async def look(self, after_s: float = 0, *, held: bool = True) -> list[str]:
        """Look, after some seconds; returns what was begun, without the looks at the pools."""
        await self.clock.advance(after_s)
        await self.upkeep.look(held=held)
        told, self.diary.asked = self.diary.asked, []
        return [word for word in told if word != "look"]


async def test_all_are_refreshed_when_the_cron_says_so_and_once() -> None:
    hour = Hour()
    assert await hour.look(7 * 60 - 1) == []
    assert await hour.look(1) == ["refresh None"]
    assert await hour.look(1) == []
    assert await hour.look(3 * HOUR_S) == ["refresh None"], "hours that were slept through count once"


async def test_a_provider_is_refreshed_when_its_plans_begin_again() -> None:
    hour = Hour(cron="", reset_cron="0 0 * * *")
    assert await hour.look(24 * HOUR_S) == []
    assert await hour.look(LATE_S) == ["refresh tavily"], "services are not on time to the second"
    assert await hour.look(23 * HOUR_S) == []


async def test_without_a_cron_nothing_is_refreshed_by_itself() -> None:
    assert await Hour(cron="").look(100 * HOUR_S) == []


async def test_only_who_has_the_duty_acts_and_who_takes_it_over_looks_first() -> None:
    hour = Hour()
    hour.diary.nobody_knows = [KEY]
    assert await hour.look(2 * HOUR_S, held=False) == []
    assert await hour.look() == ["refresh None"]
    assert await hour.look(SAID_S) == ["check 1"]
    assert await hour.look(AGAIN_S, held=False) == []
    assert await hour.look() == []
    assert await hour.look(SAID_S) == ["check 1"]


async def test_keys_nobody_knows_anything_of_are_asked_about_when_all_have_said_what_they_hold() -> None:
    hour = Hour(cron="")
    hour.diary.nobody_knows = [KEY, KEY]
    await hour.look()
    assert await hour.look(SAID_S - 0.1) == []
    assert await hour.look(0.1) == ["check 2"]
    hour.diary.nobody_knows = [KEY]
    assert await hour.look(AGAIN_S - 0.1) == []
    assert await hour.look(0.1) == ["check 1"]


async def test_a_key_is_asked_about_less_often_the_more_often_that_failed_and_at_last_each_hour() -> None:
    hour = Hour(cron="")
    await hour.look()
    waits_s = []
    for failures in (1, 2, 3, 20):
        hour.diary.nobody_knows = [replace(KEY, failures=failures, checked_us=hour.clock.wall_us())]
        begun_s = hour.clock.mono_s()
        while not await hour.look(SAID_S):
            pass
        waits_s.append(hour.clock.mono_s() - begun_s)
    for waited_s, meant_s in zip(waits_s, (60, 120, 240, 3600), strict=True):
        assert meant_s <= waited_s <= meant_s + AGAIN_S + SAID_S


async def test_a_key_is_not_asked_about_before_its_service_shows_what_was_spent_in_an_earlier_life() -> None:
    hour = Hour(cron="", usage_delay_s=500)
    hour.diary.nobody_knows = [KEY]
    await hour.look()
    assert await hour.look(499) == []
    assert await hour.look(AGAIN_S) == ["check 1"]


async def test_a_key_of_a_provider_that_nobody_configured_is_left_alone() -> None:
    hour = Hour(cron="")
    hour.diary.nobody_knows = [replace(KEY, provider="gone")]
    await hour.look()
    assert await hour.look(SAID_S) == []


async def test_in_a_new_life_of_redis_it_begins_again() -> None:
    hour = Hour(cron="")
    hour.diary.nobody_knows = [KEY]
    await hour.look()
    assert await hour.look(SAID_S) == ["check 1"]
    hour.life = 2
    assert await hour.look() == []
    assert await hour.look(SAID_S) == ["check 1"]


async def test_a_quota_that_begins_to_mirror_is_given_what_there_is_also_when_that_fails_at_first() -> None:
    hour = Hour(cron="")
    await hour.look()
    hour.mirrors, hour.diary.away = frozenset({("tavily", "search")}), True
    with pytest.raises(Unavailable):
        await hour.look()
    hour.diary.away = False
    assert await hour.look() == ["mirror tavily"]
    assert await hour.look() == []


async def test_whatever_a_look_meets_it_goes_on() -> None:
    """An error of a proxy or of a plug-in is none of ours, and must not end the daemon."""
    hour = Hour()
    hour.diary.unknown = fails  # type: ignore[method-assign]
    running = asyncio.create_task(hour.upkeep.run(lambda: True))
    for _ in range(10 * 60):
        await hour.clock.advance(1)
    running.cancel()
    assert "refresh None" in hour.diary.asked
    assert (await asyncio.gather(running, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def fails() -> list[UpstreamKey]:
    raise ImportError("no such proxy")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Upstream(refresh_cron="61 * * * *"), "upstream.refresh_cron"),
        (
            Upstream(providers=(ProviderSettings("mine", "tavily", "http://x/", reset_cron="never"),)),
            'upstream provider "mine": reset_cron',
        ),
        (
            Upstream(providers=(ProviderSettings("mine", "htp_json", "http://x/"),)),
            'upstream provider "mine" of kind "htp_json": no entry point in quotaflow.providers has this name',
        ),
    ],
)
def test_a_cron_or_a_kind_that_is_none_is_told_before_anything_starts(settings: Upstream, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Upkeep(
            cast("UpstreamDesk", None),
            cast("Refresher", None),
            cast("Reconciler", None),
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
