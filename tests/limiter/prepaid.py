"""Allowances for tests: put into force, charged, and what the journal says of them."""

from typing import Any

from quotaflow import facts
from quotaflow.amounts import MICRO
from quotaflow.ledger import Charge, Part
from quotaflow.limiter import keys
from quotaflow.limiter.allowances import Definition
from quotaflow.limiter.orders import Order
from tests.limiter.conftest import Bench


async def allow(
    bench: Bench, subject: str = "t", total: float = 10, kind: str = "count", **more: Any
) -> None:
    """Put an allowance into force."""
    await bench.allowances.allow(Definition(subject, kind, 1, round(total * MICRO), **more))


def order(
    bench: Bench,
    cost: float = 1,
    *others: Part,
    subject: str = "t",
    request_id: str | None = None,
    **more: Any,
) -> Order:
    """Make an order for `subject` and others; without a request id of its own it is ours."""
    event_id = bench.ids.next()
    parts = (Part(subject, round(cost * MICRO)), *others)
    return Order(parts, request_id or event_id, event_id, 3_600_000, is_ours=request_id is None, **more)


async def charge(bench: Bench, cost: float = 1, *others: Part, **more: Any) -> Charge:
    """Charge."""
    return await bench.charging.charge(order(bench, cost, *others, **more))


async def ledger(bench: Bench) -> list[dict[str, str]]:
    """Return the ledger facts in the journal, oldest first."""
    entries = await bench.plain.xrange(keys.JOURNAL)
    lines = [line for _, fields in entries for line in fields.values()]
    return [facts.decode(line)[1] for line in lines if line.startswith("ledger ")]


async def left(bench: Bench, subject: str = "t") -> float:
    """Return the units that are left."""
    return ((await bench.allowances.holdings([subject]))[subject].remaining_micro or 0) / MICRO


async def proven(bench: Bench, subject: str = "t") -> float:
    """Check a chain of facts against what is left, and return that."""
    rows = [row for row in await ledger(bench) if row["subject"] == subject]
    assert [int(row["seq"]) for row in rows] == list(range(1, len(rows) + 1))
    for before, row in zip([{"after": "0"}, *rows], rows, strict=False):
        assert row["before"] == before["after"]
        assert int(row["before"]) + int(row["change"]) == int(row["after"]) >= 0
    assert int(rows[-1]["after"]) == round(await left(bench, subject) * MICRO)
    return await left(bench, subject)
