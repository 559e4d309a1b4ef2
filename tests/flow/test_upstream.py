"""Upstream keys of an open Quotaflow: picked, judged by what calls tell, refreshed, and mirrored by quotas."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import RedisError

from quotaflow import LimitTask, NotOpen, NoUpstreamKey, QuotaExceeded, Quotaflow
from quotaflow.balances import KeyStatus, KeyView, RefreshReport
from quotaflow.control.lending import LentKey
from quotaflow.errors import ConfigError, InvalidInput, NotFound, SecretUnavailable
from quotaflow.examples.upstream_service import Account, Behaviour, UpstreamService, key_of
from quotaflow.limiter import keys
from quotaflow.model import QuotaKind, Reason, make_quota
from quotaflow.runner.registry import Registry
from quotaflow.runs import Word
from quotaflow.settings import Settings, load
from quotaflow.settings_upstream import ProviderSettings
from quotaflow.store import AuditFilter, UpstreamFilter
from quotaflow.upstream.vault import new_key
from tests.flow.test_recovery import until
from tests.servers import ValkeyProcess
from tests.stores import furnish

KEYS = 3
LIMIT = 10


class House:
    """A service with three keys of ten units each, and settings that know it."""

    def __init__(self, service: UpstreamService, url: str, settings: Settings) -> None:
        self.service = service
        self.url = url
        self.settings = settings
        self.client = httpx.AsyncClient()

    @asynccontextmanager
    async def open(self, stored: int = KEYS) -> AsyncIterator[Quotaflow]:
        async with Quotaflow.open(self.settings) as qf:
            rows = [
                {"provider": "tavily", "secret": key_of(number), "name": f"k{number}"}
                for number in range(stored)
            ]
            if rows:
                await add(qf, rows)
            yield qf

    async def search(self, key: LentKey) -> str:
        """Spend a unit with the key; says which it was."""
        headers = {"Authorization": f"Bearer {key.secret}"}
        (await self.client.post(f"{self.url}/search", headers=headers)).raise_for_status()
        return key.secret

    async def being_asked(self, qf: Quotaflow) -> "asyncio.Task[RefreshReport]":
        """Begin to refresh; return when the service was asked about every key and has not answered yet."""
        before = self.requests()
        refreshing = qf.upstream._refresher.start()

        async def were_asked() -> bool:
            return self.requests() >= before + KEYS

        await until(were_asked)
        return refreshing

    def requests(self) -> int:
        return sum(account.requests for account in self.service.accounts.values())

    def behave(self, number: int, **how: Any) -> None:
        self.service.behave([key_of(number)], Behaviour(**how))


async def add(qf: Quotaflow, rows: list[dict[str, Any]]) -> None:
    report = await qf.upstream.add_many(json.dumps(rows))
    assert report.failed == 0
    await until(lambda: known(qf))


async def known(qf: Quotaflow) -> bool:
    return all(view.live is not None and view.live.available_micro is not None for view in await views(qf))


async def views(qf: Quotaflow) -> list[KeyView]:
    return (await qf.upstream.page(UpstreamFilter(), None, 1000)).items[::-1]


async def left(qf: Quotaflow) -> list[float]:
    return [(view.remaining_micro or 0) / 1e6 for view in await views(qf)]


@pytest.fixture
async def house(valkey: ValkeyProcess, tmp_path: Path) -> AsyncIterator[House]:
    """Give a running service, and settings with a provider that asks it."""
    service = UpstreamService({key_of(number): Account(LIMIT) for number in range(KEYS)})
    furnish(tmp_path / "data")
    async with service.listening() as url:
        settings = load(
            None,
            environ={"QUOTAFLOW_UPSTREAM__SECRET_KEY": new_key()},
            data_dir=str(tmp_path / "data"),
            redis__url=valkey.url,
            upstream__timeout_s=0.3,
            upstream__attempts=1,
            upstream__refresh_cron="",
        )
        provider = ProviderSettings("tavily", "tavily", f"{url}/usage", reset_cron="0 0 1 * *")
        upstream = settings.upstream.model_copy(update={"providers": (provider,)})
        house = House(service, url, settings.model_copy(update={"upstream": upstream}))
        yield house
        await house.client.aclose()


async def test_a_key_that_is_added_has_its_balance_at_once_and_is_shown_by_its_ends(house: House) -> None:
    async with house.open(stored=0) as qf:
        view = await qf.upstream.add("tavily", key_of(0), name="main")
        assert (view.status, view.remaining_micro, view.key.plan_limit_micro) == (
            KeyStatus.ACTIVE,
            10**7,
            10**7,
        )
        assert view.key.shown == f"tvly-...{key_of(0)[-4:]}"
        assert key_of(0) not in repr(view)
        wrong = await qf.upstream.add("tavily", "tvly-nobody-knows-this-one", name="typo")
        assert wrong.status is KeyStatus.INVALID
        assert wrong.key.error == "401 Unauthorized: the service does not know this key"


async def test_all_units_of_all_keys_are_used_and_none_twice(house: House) -> None:
    async with house.open() as qf:
        used: list[str] = []

        async def worker() -> None:
            while True:
                async with qf.upstream.key("tavily") as key:
                    used.append(await house.search(key))

        done = await asyncio.gather(*[worker() for _ in range(8)], return_exceptions=True)
        assert {type(error) for error in done} == {NoUpstreamKey}
        assert sorted(used) == sorted(key_of(number) for number in range(KEYS) for _ in range(LIMIT))
        assert [one.spent for one in house.service.accounts.values()] == [LIMIT] * KEYS


async def test_when_no_key_is_left_one_hears_when_the_plan_begins_again(house: House) -> None:
    async with house.open(stored=1) as qf:
        with pytest.raises(NoUpstreamKey, match=r"of 1: 1 with too little left.*next reset is at") as caught:
            async with qf.upstream.key("tavily", cost=LIMIT + 1):
                pytest.fail("there are not so many")
        resets = caught.value.resets_at
        assert resets is not None
        assert (resets.day, resets.hour, resets > datetime.now(UTC)) == (1, 0, True)
        assert 0 < (caught.value.retry_after or 0) <= 31 * 86_400


async def test_a_provider_that_nobody_configured_is_told(house: House) -> None:
    async with house.open(stored=0) as qf:
        with pytest.raises(NotFound, match=r"no provider \"tavilly\""):
            async with qf.upstream.key("tavilly"):
                pytest.fail("there is none")
        with pytest.raises(NoUpstreamKey, match="the pool is empty"):
            async with qf.upstream.key("tavily"):
                pytest.fail("there is none")


async def test_a_call_goes_on_with_another_key_when_the_service_refuses_one(house: House) -> None:
    """One key is limited, one is not known any more; both cost nothing, and only the third is used."""
    async with house.open() as qf:
        house.behave(0, mode="limited", retry_after="30")
        house.behave(1, mode="revoked")
        for _ in range(3):
            assert await qf.upstream.call("tavily", house.search) == key_of(2)
        limited, revoked, good = await views(qf)
        assert (limited.status, revoked.status, good.status) == ("cooldown", "invalid", "active")
        assert await left(qf) == [10, 10, 7]
        assert limited.live is not None
        rests_s = (limited.live.cooldown_until_us or 0) / 1e6 - datetime.now(UTC).timestamp()
        assert 20 < rests_s <= 30


async def test_when_all_are_refused_one_hears_when_the_first_has_rested(house: House) -> None:
    async with house.open() as qf:
        for number in range(KEYS):
            house.behave(number, mode="limited", retry_after=str(20 + number))
        with pytest.raises(NoUpstreamKey, match="of 3: 3 resting") as caught:
            await qf.upstream.call("tavily", house.search)
        assert 10 < (caught.value.retry_after or 0) <= 20
        assert sum(account.requests for account in house.service.accounts.values()) <= 3 + 3, (
            "each was asked once"
        )


async def test_what_may_have_been_spent_counts_until_the_next_check(house: House) -> None:
    async with house.open(stored=1) as qf:
        for mode in ("fail_before", "fail_after"):
            house.behave(0, mode=mode)
            with pytest.raises(httpx.HTTPStatusError):
                await qf.upstream.call("tavily", house.search)
        assert await left(qf) == [8]
        house.behave(0)
        report = await qf.upstream.refresh()
        assert (report.success, report.failed, report.total_keys) == (1, 0, 1)
        assert await left(qf) == [9], "one of the two had been charged"


async def test_the_owner_of_a_block_may_say_more_than_its_end_does(house: House) -> None:
    async with house.open() as qf:
        async with qf.upstream.key("tavily", cost=4) as key:
            key.settle(1.5)
        async with qf.upstream.key("tavily", cost=4) as other:
            other.cool_down(5)
        async with qf.upstream.key("tavily", cost=4) as third:
            third.mark_exhausted()
        by_id = {view.key.id: view for view in await views(qf)}
        assert (by_id[key.id].remaining_micro, by_id[key.id].status) == (8_500_000, "active")
        assert (by_id[other.id].remaining_micro, by_id[other.id].status) == (10_000_000, "cooldown")
        assert (by_id[third.id].remaining_micro, by_id[third.id].status) == (0, "exhausted")


async def test_a_block_that_is_cancelled_counts_as_spent(house: House) -> None:
    async with house.open(stored=1) as qf:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), qf.upstream.key("tavily", cost=3):
                await asyncio.Event().wait()
        assert await left(qf) == [7]


async def test_two_refreshes_at_once_are_one(house: House) -> None:
    async with house.open() as qf:
        before = [account.requests for account in house.service.accounts.values()]
        reports = await asyncio.gather(*[qf.upstream.refresh() for _ in range(5)])
        assert len({report.started_us for report in reports}) == 1
        assert [account.requests for account in house.service.accounts.values()] == [
            count + 1 for count in before
        ]


async def test_a_refresh_tells_how_far_it_is_and_goes_on_when_nobody_listens(house: House) -> None:
    async with house.open() as qf:
        house.behave(0, slow_s=0.25)
        async for progress in qf.upstream.refreshing("tavily"):
            assert (progress.provider, progress.total_keys) == ("tavily", KEYS)
            break
        told = [progress async for progress in qf.upstream.refreshing("tavily")]
        assert told[-1].report is not None
        assert (told[-1].done, told[-1].report.success) == (KEYS, KEYS)
        assert await qf.upstream.progress() == told[-1]


async def test_what_fails_harms_no_other_and_is_told_by_name(house: House) -> None:
    async with house.open() as qf:
        house.behave(0, mode="hang")
        house.behave(1, mode="not_json")
        report = await qf.upstream.refresh()
        assert (report.success, report.failed, report.total_keys) == (1, 2, 3)
        assert {trouble.name: trouble.error for trouble in report.errors} == {
            "k0": "no answer within 0.3 s",
            "k1": "the answer is not JSON",
        }
        assert [view.key.failures for view in await views(qf)] == [1, 1, 0]
        assert await left(qf) == [10, 10, 10], "what is not known any better stays"
        await qf.upstream.refresh()
        assert [view.key.failures for view in await views(qf)] == [2, 2, 0]


async def test_a_key_that_is_removed_or_changed_while_its_service_is_asked_stays_so(house: House) -> None:
    async with house.open() as qf:
        first, second, _ = [view.key for view in await views(qf)]
        for number in range(KEYS):
            house.behave(number, slow_s=0.2)
        refreshing = await house.being_asked(qf)
        await qf.upstream.remove(first.id)
        changed = await qf.upstream.change(second.id, secret="tvly-another-one-that-is-wrong")
        await refreshing
        assert changed.status is KeyStatus.INVALID
        assert [(view.key.name, view.status) for view in await views(qf)] == [
            ("k1", "invalid"),
            ("k2", "active"),
        ]


async def test_no_key_is_used_in_a_new_life_of_redis_before_its_service_was_asked(house: House) -> None:
    async with house.open(stored=1) as qf:
        async with qf.upstream.key("tavily", cost=4) as key:
            await house.search(key)
        house.behave(0, mode="fail_before")
        await qf._base.plain.flushall()
        await until(lambda: knows_nothing(qf))
        with pytest.raises(NoUpstreamKey) as caught:
            async with qf.upstream.key("tavily"):
                pytest.fail("nobody knows what is left")
        assert (caught.value.retry_after, caught.value.resets_at) == (5.0, None)
        assert (await views(qf))[0].remaining_micro is None
        house.behave(0)
        await until(lambda: known(qf), deadline_s=60)
        assert await left(qf) == [9], "what the service says, not what was reserved"


async def test_a_secret_that_this_process_cannot_get_at_leaves_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_TEST_KEY", key_of(2))
    async with house.open(stored=1) as qf:
        await qf.upstream.add("tavily", "env:UPSTREAM_TEST_KEY", name="by reference")
        monkeypatch.delenv("UPSTREAM_TEST_KEY")
        assert await qf.upstream.call("tavily", house.search, cost=2) == key_of(0)
        with pytest.raises(SecretUnavailable, match="UPSTREAM_TEST_KEY"):
            async with qf.upstream.key("tavily", cost=9):
                pytest.fail("only the other has so much")
        report = await qf.upstream.refresh()
        assert [trouble.name for trouble in report.errors] == ["by reference"]


async def test_secrets_are_encrypted_anew_and_nothing_else_changes(house: House) -> None:
    async with house.open() as qf, qf.upstream.key("tavily", cost=2):
        before = [(view.key.sealed, view.remaining_micro) for view in await views(qf)]
    newer = new_key()
    both = f"{newer},{house.settings.upstream.secret_key.get_secret_value()}"
    turned = house.settings.upstream.model_copy(
        update={"secret_key": type(house.settings.upstream.secret_key)(both)}
    )
    house.settings = house.settings.model_copy(update={"upstream": turned})
    async with house.open(stored=0) as qf:
        await until(lambda: known(qf), deadline_s=60)
        assert await qf.upstream.rotate(actor="anna") == KEYS
        written = (await qf.store.list_audit(AuditFilter(actor="anna"))).items
        assert [entry.after for entry in written] == ['{"secret": "encrypted anew"}'] * KEYS
        assert not {view.key.sealed for view in await views(qf)} & {sealed for sealed, _ in before}
    alone = turned.model_copy(update={"secret_key": type(turned.secret_key)(newer)})
    house.settings = house.settings.model_copy(update={"upstream": alone})
    async with house.open(stored=0) as qf:
        assert await qf.upstream.call("tavily", house.search) in house.service.accounts


async def test_a_quota_that_mirrors_a_provider_has_what_its_keys_have(house: House) -> None:
    mirror = make_quota(id="search", kind=QuotaKind.ALLOWANCE, mirrors="tavily")
    house.settings = house.settings.model_copy(update={"quotas": (mirror,)})
    async with house.open() as qf:
        assert (await qf.upstream.refresh()).success == KEYS
        assert (await qf.acquire("search", 4)).remaining == 26
        house.service.accounts[key_of(1)].plan_usage = 5
        await qf.upstream.refresh()
        assert (await qf.acquire("search", 0)).remaining == 25, (
            "the service says so; what was drawn had no use of a key"
        )
        assert (await qf.acquire("search", 26)).reason is Reason.EXHAUSTED
        view = await qf.quotas.get("search")
        assert (view.level.remaining if view.level else None) == 25
        await qf.upstream.change((await views(qf))[0].key.id, enabled=False)
        assert (await qf.acquire("search", 0)).remaining == 15
        with pytest.raises(InvalidInput, match="refresh them instead"):
            await qf.quotas.refill("search")


async def test_what_is_drawn_while_the_service_is_asked_stays_drawn(house: House) -> None:
    mirror = make_quota(id="search", kind=QuotaKind.ALLOWANCE, mirrors="tavily")
    house.settings = house.settings.model_copy(update={"quotas": (mirror,)})
    async with house.open() as qf:
        await qf.upstream.refresh()
        house.behave(0, slow_s=0.2)
        refreshing = await house.being_asked(qf)
        assert (await qf.acquire("search", 7)).allowed
        await refreshing
        assert (await qf.acquire("search", 0)).remaining == 23


async def test_redis_shows_the_pool_to_a_person(house: House) -> None:
    async with house.open(stored=1) as qf, qf.upstream.key("tavily", cost=4) as key:
        names, balance, held = keys.upstream("tavily")
        redis = qf._base.plain
        found = await redis.hgetall(names)
        status, until, taken, *_, sealed = found[key.id].split(" ")
        assert (status, until, taken, sealed[:7]) == ("active", "0", "4000000", "fernet:")
        assert await redis.zscore(balance, key.id) == 6_000_000
        (member,) = await redis.zrange(held, 0, -1)
        assert member.split(" ")[1:] == [key.id, "4000000"]


async def test_a_quota_can_mirror_only_a_provider_that_is_there(house: House) -> None:
    mirror = make_quota(id="search", kind=QuotaKind.ALLOWANCE, mirrors="tavilly")
    async with house.open(stored=0) as qf:
        with pytest.raises(InvalidInput, match="no provider 'tavilly' is configured; known are tavily"):
            await qf.quotas.create(mirror)
    house.settings = house.settings.model_copy(update={"quotas": (mirror,)})
    with pytest.raises(ConfigError, match='quota "search": mirrors: no provider'):
        async with house.open(stored=0):
            pytest.fail("it cannot work")


async def test_a_task_under_a_mirror_uses_keys_and_stops_when_nothing_is_left(
    house: House, registry: Registry
) -> None:
    """Seed 004's work: a task that searches under the real balance, with whatever key has the most left."""
    used: list[str] = []

    @LimitTask(id="search_web", name="Search", quota_name="search")
    async def search_web() -> None:
        used.append(await Quotaflow.current().upstream.call("tavily", house.search))

    mirror = make_quota(id="search", kind=QuotaKind.ALLOWANCE, mirrors="tavily")
    house.settings = house.settings.model_copy(update={"quotas": (mirror,)})
    for account in house.service.accounts.values():
        account.plan_usage = LIMIT - 1
    async with house.open() as qf, qf.working():
        await until(lambda: has(qf, "search", KEYS))
        triggered = [await qf.trigger("search_web") for _ in range(KEYS + 2)]
        assert [one.answer.word for one in triggered].count(Word.EXHAUSTED) == 2
        await until(lambda: done(used))
    assert sorted(used) == [key_of(number) for number in range(KEYS)]


async def has(qf: Quotaflow, quota: str, units: float) -> bool:
    return (await qf.acquire(quota, 0)).remaining == units


async def done(used: list[str]) -> bool:
    return len(used) == KEYS


async def test_a_process_without_the_store_uses_keys_and_does_not_change_them(house: House) -> None:
    async with house.open(stored=1) as qf, Quotaflow.open(house.settings) as library:
        assert await library.upstream.call("tavily", house.search) == key_of(0)
        assert await left(qf) == [9]
        with pytest.raises(NotOpen, match="ask that daemon"):
            await library.upstream.add("tavily", key_of(1))
        with pytest.raises(NotOpen, match="ask that daemon"):
            await library.upstream.refresh()


async def test_a_task_gets_at_the_quotaflow_that_runs_it_and_a_stranger_at_none(house: House) -> None:
    with pytest.raises(NotOpen, match="no Quotaflow is open"):
        Quotaflow.current()
    async with house.open(stored=0) as qf:
        assert Quotaflow.current() is qf
        with pytest.raises(NotOpen, match="no Quotaflow is open"):
            await asyncio.to_thread(Quotaflow.current)
    with pytest.raises(NotOpen, match="no Quotaflow is open"):
        Quotaflow.current()


async def test_what_a_dead_process_did_not_tell_redis_is_put_right_by_the_next_refresh(house: House) -> None:
    """It died between SQL and Redis: one key is removed, one is encrypted anew."""
    async with house.open() as qf:
        gone, turned, _ = [view.key for view in await views(qf)]
        await qf.store.delete_upstream_key(gone.id)
        anew = qf.upstream._sealer.reseal(turned.sealed)
        await qf.store.reseal_upstream_keys([(turned.id, turned.sealed, anew)])
        house.service.accounts[key_of(1)].plan_usage = 7
        assert (await qf.upstream.refresh()).success == KEYS - 1
        assert await left(qf) == [3, 10]
        pool = await qf._base.plain.hgetall(keys.upstream("tavily")[0])
        assert gone.id not in pool
        assert pool[turned.id].endswith(anew)


async def test_a_change_made_while_redis_is_away_comes_into_force_when_it_is_back(house: House) -> None:
    redis = house.settings.redis.model_copy(update={"deadline_s": 0.5})
    house.settings = house.settings.model_copy(update={"redis": redis})
    async with house.open(stored=1) as qf:
        (view,) = await views(qf)
        await qf._base.plain.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        await qf.upstream.remove(view.key.id)
        assert qf.upstream._is_pending
        await until(lambda: is_empty(qf), deadline_s=60)


async def is_empty(qf: Quotaflow) -> bool:
    try:
        return not await qf._base.plain.hlen(keys.upstream("tavily")[0])
    except RedisError:
        return False


async def test_a_refusal_of_our_own_says_nothing_about_the_key(house: House) -> None:
    house.settings = house.settings.model_copy(
        update={"quotas": (make_quota(id="ours", capacity=1, refill_rate=0),)}
    )
    async with house.open(stored=1) as qf:

        async def refused(key: LentKey) -> None:
            raise QuotaExceeded("ours is used up", quota_id="ours", retry_after=3600)

        with pytest.raises(QuotaExceeded):
            await qf.upstream.call("tavily", refused)
        (view,) = await views(qf)
        assert view.status is KeyStatus.ACTIVE
        assert await left(qf) == [9], "who knows what was done before"


async def test_a_mirror_counts_each_key_once_however_many_ask_about_it_at_once(house: House) -> None:
    mirror = make_quota(id="search", kind=QuotaKind.ALLOWANCE, mirrors="tavily")
    house.settings = house.settings.model_copy(update={"quotas": (mirror,)})
    async with house.open(stored=0) as qf:
        rows = [{"provider": "tavily", "secret": key_of(number)} for number in range(KEYS)]
        importing = asyncio.create_task(add(qf, rows))
        for _ in range(5):
            await qf.upstream.refresh()
        await importing
        await until(lambda: has(qf, "search", KEYS * LIMIT))
        for view in await views(qf):
            await qf.upstream.remove(view.key.id)
        assert (await qf.acquire("search", 0)).remaining == 0


async def test_keys_without_a_limit_fill_a_mirror_to_the_most_it_can_hold(house: House) -> None:
    mirror = make_quota(id="search", kind=QuotaKind.ALLOWANCE, mirrors="tavily")
    house.settings = house.settings.model_copy(update={"quotas": (mirror,)})
    for account in house.service.accounts.values():
        account.plan_limit = 9 * 10**9
    async with house.open() as qf:
        assert (await qf.upstream.refresh()).success == KEYS
        assert (await qf.acquire("search", 0)).remaining == 2 * 10**9


async def test_one_is_told_to_come_again_when_all_are_asked_next_and_not_in_a_month(house: House) -> None:
    upstream = house.settings.upstream.model_copy(update={"refresh_cron": "*/10 * * * *"})
    house.settings = house.settings.model_copy(update={"upstream": upstream})
    async with house.open(stored=1) as qf:
        with pytest.raises(NoUpstreamKey) as caught:
            async with qf.upstream.key("tavily", cost=LIMIT + 1):
                pytest.fail("there are not so many")
        assert 0 < (caught.value.retry_after or 0) <= 600


async def test_a_rest_that_is_none_is_refused_and_the_units_are_settled_all_the_same(house: House) -> None:
    async with house.open(stored=1) as qf:
        with pytest.raises(InvalidInput, match="seconds must be"):
            async with qf.upstream.key("tavily", cost=4) as key:
                key.cool_down(float("nan"))
        (view,) = await views(qf)
        assert view.live is not None
        assert (view.live.held_micro, view.status) == (0, KeyStatus.ACTIVE)


async def knows_nothing(qf: Quotaflow) -> bool:
    """The new life has begun, and the key is in it."""
    return [view.live and view.live.available_micro for view in await views(qf)] == [None] and (
        await is_empty(qf)
    ) is False


async def test_a_key_that_its_service_does_not_know_stays_so_until_it_does(house: House) -> None:
    async with house.open(stored=1) as qf:
        for how in ({"mode": "revoked"}, {"mode": "limited", "retry_after": "1"}, {"mode": "not_json"}):
            house.behave(0, **how)
            assert (await qf.upstream.refresh()).failed == 1
            (view,) = await views(qf)
            assert (view.status, view.key.status) == ("invalid", "invalid")
        house.behave(0)
        await qf.upstream.refresh()
        assert [(view.status, view.key.status) for view in await views(qf)] == [("active", "active")]
