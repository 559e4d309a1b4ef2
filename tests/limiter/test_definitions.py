"""What people decide about an allowance: in force at once, never out of order, and never a unit of what it has."""

import pytest

from quotaflow.amounts import MICRO
from quotaflow.limiter.allowances import Definition
from quotaflow.model import Reason
from tests.limiter.conftest import Bench
from tests.limiter.prepaid import charge, ledger, left, proven


async def put(bench: Bench, version: int, **more: object) -> bool:
    """Put a version of the definition of "t" into force."""
    fields = {"subject": "t", "kind": "count", "version": version, "total_micro": 10 * MICRO} | more
    return await bench.allowances.allow(Definition(**fields))  # type: ignore[arg-type]


async def test_an_older_version_changes_nothing(bench: Bench) -> None:
    assert await put(bench, 3, pace=(MICRO, 1))
    before = (await bench.allowances.holdings(["t"]), await ledger(bench))
    assert not await put(bench, 2, active=False, kind="time", expires_us=1)
    assert (await bench.allowances.holdings(["t"]), await ledger(bench)) == before
    assert (await charge(bench)).allowed
    assert (await charge(bench)).reason is Reason.LIMITED


async def test_a_later_version_changes_no_amount(bench: Bench) -> None:
    await put(bench, 1)
    await charge(bench, 4)
    assert await put(bench, 2, total_micro=99 * MICRO)
    assert await put(bench, 2, total_micro=99 * MICRO)
    assert await proven(bench) == 6
    assert (await bench.allowances.holdings(["t"]))["t"].total_micro == 10 * MICRO
    assert [row["action"] for row in await ledger(bench)] == ["init", "consume"]


@pytest.mark.parametrize("kind", ["count", "hybrid"])
async def test_a_token_of_type_time_that_becomes_metered_begins_with_its_total(
    bench: Bench, kind: str
) -> None:
    await put(bench, 1, kind="time", total_micro=0)
    assert (await charge(bench, 500)).remaining is None
    assert await ledger(bench) == []
    await put(bench, 2, kind=kind)
    assert await proven(bench) == 10
    assert (await charge(bench, 11)).reason is Reason.EXHAUSTED
    assert (await charge(bench, 10)).allowed
    assert [(row["action"], row["seq"]) for row in await ledger(bench)] == [("init", "1"), ("consume", "2")]


async def test_a_metered_token_that_becomes_one_of_time_and_comes_back_has_what_it_had(bench: Bench) -> None:
    await put(bench, 1)
    await charge(bench, 4)
    await put(bench, 2, kind="time", total_micro=0)
    assert (await charge(bench, 500)).remaining is None
    await put(bench, 3)
    assert await proven(bench) == 6
    assert [row["action"] for row in await ledger(bench)] == ["init", "consume"]


async def test_an_end_that_has_passed_and_a_switch_act_at_once_and_can_be_undone(bench: Bench) -> None:
    await put(bench, 1)
    await put(bench, 2, active=False)
    assert (await charge(bench)).reason is Reason.DISABLED
    await put(bench, 3, expires_us=1)
    assert (await charge(bench)).reason is Reason.EXPIRED
    assert (await charge(bench, 0)).reason is Reason.EXPIRED
    await put(bench, 4, expires_us=1, active=False)
    assert (await charge(bench)).reason is Reason.DISABLED
    await put(bench, 5)
    assert (await charge(bench)).allowed
    assert await proven(bench) == 9


async def test_a_token_that_was_ended_is_refused_until_its_definition_says_otherwise(bench: Bench) -> None:
    await put(bench, 1)
    await bench.allowances.change("t", "expire", None)
    assert (await charge(bench)).reason is Reason.EXPIRED
    assert await proven(bench) == 0
    await put(bench, 2)
    assert (await charge(bench)).reason is Reason.EXHAUSTED


async def test_a_pace_is_in_force_at_once_and_its_end_too(bench: Bench) -> None:
    await put(bench, 1)
    await put(bench, 2, pace=(MICRO, 1))
    assert [(await charge(bench)).reason for _ in range(2)] == [Reason.GRANTED, Reason.LIMITED]
    await put(bench, 3)
    assert (await charge(bench)).allowed
    await put(bench, 4, pace=(MICRO, 1))
    assert (await charge(bench)).allowed, "a new pace begins full"
    assert await left(bench) == 7


async def test_a_definition_that_is_none_changes_nothing(bench: Bench) -> None:
    with pytest.raises(Exception, match="INVALID definition"):
        await put(bench, 1, total_micro=9_000_000_000_000_001)
    assert await bench.allowances.holdings(["t"]) == {}
    assert await ledger(bench) == []
