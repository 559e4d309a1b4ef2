"""What happens to prepaid units by itself: periods begin once, and overdue reservations go back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from quotaflow import Quotaflow
from quotaflow.amounts import MICRO
from quotaflow.control.keeping import Keeper, period_end
from quotaflow.ledger import Action, LedgerEntry, LedgerRow, Part, RequestState
from quotaflow.limiter import keys
from quotaflow.model import QuotaKind, make_quota
from quotaflow.timing import ManualClock
from tests.flow.conftest import MakeSettings
from tests.flow.test_prepaid_recovery import rows, written
from tests.servers import ValkeyProcess

DAY_US = 86_400_000_000
NIGHTLY = "0 0 * * *"


def keeper_at(qf: Quotaflow, moment: datetime | None = None) -> Keeper:
    """Make a keeper of the test's own; its clock stands still, a day from now unless told."""
    now_us = qf._base.clock.wall_us() + DAY_US
    clock = ManualClock(round(moment.timestamp() * 1e6) if moment else now_us)
    return Keeper(qf.store, qf.charges, qf._base.allowances, clock, "Asia/Shanghai")


@pytest.fixture
async def qf(valkey: ValkeyProcess, make_settings: MakeSettings) -> AsyncIterator[Quotaflow]:
    """Give a Quotaflow whose own keeper stands still, with a quota of 10 units a night, 4 of them used."""
    async with Quotaflow.open(make_settings(valkey.url)) as flow:
        flow._storing.duty.is_held = lambda: False  # type: ignore[union-attr, method-assign]
        await flow.quotas.create(
            make_quota(
                id="budget", total=10, kind=QuotaKind.ALLOWANCE, reset_cron=NIGHTLY, timezone="Europe/Berlin"
            )
        )
        await flow.acquire("budget", 4)
        yield flow


async def resets(qf: Quotaflow) -> list[LedgerRow]:
    await written(qf)
    return [row for row in await rows(qf, "budget") if row.action is Action.RESET]


async def left(qf: Quotaflow) -> float:
    return (await qf.acquire("budget", 0)).remaining


async def begun_days_ago(qf: Quotaflow, days: float) -> None:
    """Let the quota's period have begun earlier."""
    moment = qf._base.clock.wall_us() - round(days * DAY_US)
    await qf._base.plain.hset(keys.allowance("budget"), "period_us", moment)


async def test_a_new_quota_is_not_reset_at_once(qf: Quotaflow) -> None:
    now = datetime.fromtimestamp(qf._base.clock.wall_us() / 1e6, UTC)
    await keeper_at(qf, now).begin_periods()
    assert await left(qf) == 6
    assert await resets(qf) == []


async def test_a_period_begins_exactly_once_also_when_two_keep_and_one_is_slow(qf: Quotaflow) -> None:
    keepers = [keeper_at(qf) for _ in range(5)]
    await asyncio.gather(*[keeper.begin_periods() for keeper in keepers])
    assert await left(qf) == 10
    await qf.acquire("budget", 3)
    await keeper_at(qf).begin_periods()
    assert await left(qf) == 7
    (reset,) = await resets(qf)
    assert (reset.change_micro, reset.after_micro, reset.actor) == (4 * MICRO, 10 * MICRO, "reset_cron")
    assert (reset.request_id or "").startswith("period-")


async def test_periods_that_were_missed_count_once(qf: Quotaflow) -> None:
    await begun_days_ago(qf, 40)
    now = datetime.fromtimestamp(qf._base.clock.wall_us() / 1e6, UTC)
    keeper = keeper_at(qf, now)
    for _ in range(3):
        await keeper.begin_periods()
    assert await left(qf) == 10
    assert len(await resets(qf)) == 1


async def test_a_slow_keeper_does_not_begin_a_period_that_has_begun(qf: Quotaflow) -> None:
    """It looked before the other one acted, with a clock that is behind: another moment was due for it."""
    await begun_days_ago(qf, 40)
    slow = keeper_at(qf, datetime.fromtimestamp(qf._base.clock.wall_us() / 1e6 - 3 * 86_400, UTC))
    quota = await qf.store.get_quota("budget")
    held = (await qf._base.allowances.holdings(["budget"]))["budget"]
    due_us = period_end(quota, held.period_us, "UTC")
    await keeper_at(qf).begin_periods()
    await qf.acquire("budget", 3)
    await slow._begin(quota, due_us + DAY_US, slow._clock.wall_us())
    assert await left(qf) == 7
    assert len(await resets(qf)) == 1


async def test_a_period_begins_by_the_clock_of_its_zone(qf: Quotaflow) -> None:
    """Midnight in Berlin: 23:00 UTC in winter, 22:00 in summer, and 16:00 for a quota without a zone in Shanghai."""
    quota = await qf.store.get_quota("budget")
    for month, hour in ((1, 23), (7, 22)):
        noon = datetime(2031, month, 10, 12, tzinfo=UTC)
        end_us = period_end(quota, round(noon.timestamp() * 1e6), "UTC")
        assert datetime.fromtimestamp(end_us / 1e6, UTC) == noon.replace(hour=hour)
    await qf._base.plain.hset(
        keys.allowance("budget"), "period_us", round(datetime(2031, 1, 10, 12, tzinfo=UTC).timestamp() * 1e6)
    )
    midnight = datetime(2031, 1, 11, tzinfo=ZoneInfo("Europe/Berlin"))
    just_before = datetime.fromtimestamp(midnight.timestamp() - 0.001, UTC)
    await keeper_at(qf, just_before).begin_periods()
    assert await left(qf) == 6
    await keeper_at(qf, midnight).begin_periods()
    assert await left(qf) == 10


async def test_a_quota_without_a_zone_keeps_that_of_the_scheduler(qf: Quotaflow) -> None:
    await qf.quotas.change("budget", timezone=None)
    noon = datetime(2031, 1, 10, 12, tzinfo=UTC)
    await qf._base.plain.hset(keys.allowance("budget"), "period_us", round(noon.timestamp() * 1e6))
    await keeper_at(qf, noon.replace(hour=15, minute=59)).begin_periods()
    assert await left(qf) == 6
    await keeper_at(qf, noon.replace(hour=16)).begin_periods()
    assert await left(qf) == 10


async def test_a_new_total_counts_from_the_next_period_on(qf: Quotaflow) -> None:
    await qf.quotas.change("budget", total=25)
    assert await left(qf) == 6
    await keeper_at(qf).begin_periods()
    assert await left(qf) == 25


async def test_a_disabled_quota_begins_no_period(qf: Quotaflow) -> None:
    await qf.quotas.change("budget", enabled=False)
    await keeper_at(qf).begin_periods()
    assert await resets(qf) == []


async def test_an_overdue_reservation_goes_back_and_others_stay(qf: Quotaflow) -> None:
    parts = [Part("budget", MICRO)]
    due = await qf.charges.charge(parts, hold_s=0.000001)
    held = await qf.charges.charge(parts, hold_s=3600)
    assert await left(qf) == 4
    assert [await qf.charges.sweep() for _ in range(2)] == [1, 0]
    assert await left(qf) == 5
    assert (await qf.charges.request("budget", due.request_id)).state is RequestState.RELEASED
    assert (await qf.charges.request("budget", held.request_id)).state is RequestState.HELD
    await written(qf)
    assert (await qf.audit()).differences == []


async def test_a_reservation_goes_back_however_late_somebody_looks(qf: Quotaflow) -> None:
    """Every daemon was down for longer than the answer to a request is remembered."""
    held = await qf.charges.charge([Part("budget", MICRO)], hold_s=60)
    record = keys.request("budget", held.request_id)
    assert await qf._base.plain.pttl(record) == -1, "its record does not expire"
    await qf._base.plain.zadd(keys.RESERVED, {record: 1})
    assert await qf.charges.sweep() == 1
    assert await left(qf) == 6
    assert 0 < await qf._base.plain.pttl(record) <= 3_600_000 * 24


async def test_an_orphan_of_a_quota_that_was_removed_does_not_hold_up_others(qf: Quotaflow) -> None:
    def orphan(event_id: str, subject: str) -> LedgerEntry:
        return LedgerEntry(event_id, subject, Action.CONSUME, 5, -MICRO, 5 - MICRO, 1, 1, None, None, 1)

    keeper = keeper_at(qf)
    await keeper.take_again([orphan("1-a", "removed"), orphan("1-b", "budget")], now=True)
    await keeper.take_again([orphan("1-b", "budget")], now=True)
    assert await left(qf) == 5
