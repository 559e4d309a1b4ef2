"""The verifier finds what was done to the ledger by hand, and nothing where nothing was done."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from quotaflow import Quotaflow
from quotaflow.control.audit import Auditor
from quotaflow.ledger import Action
from quotaflow.limiter import keys
from quotaflow.timing import SystemClock
from tests.flow.conftest import MakeSettings
from tests.flow.test_prepaid_recovery import opened, rows, written
from tests.servers import ValkeyProcess


@dataclass(frozen=True)
class Books:
    """A ledger with six charges in it."""

    qf: Quotaflow
    token_id: str
    secret: str

    async def sql(self, statement: str) -> None:
        async with self.qf.store._database.write() as connection:
            await connection.exec_driver_sql(statement)

    async def found(self) -> list[str]:
        return [difference.what for difference in (await self.qf.audit()).differences]

    async def found_at_last(self) -> list[str]:
        """Audit what SQL will never catch up with, without the half minute that it gets for that."""
        audit = await Auditor(self.qf.store, self.qf._base.allowances.holdings, HastyClock()).run()
        return [difference.what for difference in audit.differences]


class HastyClock(SystemClock):
    """Whoever sleeps wakes up at once, later."""

    slept_s = 0.0

    def mono_s(self) -> float:
        return super().mono_s() + self.slept_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        await super().sleep(0)


@pytest.fixture
async def make_books(make_settings: MakeSettings, valkey: ValkeyProcess) -> Any:
    return lambda: opened(make_settings, valkey)


async def fill(qf: Quotaflow, token_id: str, secret: str) -> Books:
    for number in range(6):
        await qf.tokens.consume(secret, 2, request_id=f"r{number}")
    await qf.charges.refund(token_id, "r3", 1)
    await written(qf)
    return Books(qf, token_id, secret)


async def test_books_that_nobody_touched_are_clean(make_books: Any) -> None:
    async with make_books() as opened_books:
        books = await fill(*opened_books)
        audit = await books.qf.audit()
        assert (audit.differences, audit.subjects, audit.rows) == ([], 1, 8)
        assert (audit.charged, audit.granted) == (12, 101)


@pytest.mark.parametrize(
    ("statement", "finds"),
    [
        ("DELETE FROM token_quota_logs WHERE seq = 4", "missing"),
        ("DELETE FROM token_quota_logs WHERE seq = 8", "missing"),
        ("DELETE FROM token_quota_logs WHERE seq = 1", "missing"),
        ("DELETE FROM token_quota_logs", "missing"),
        ("UPDATE token_quota_logs SET quota_change = -1 WHERE seq = 4", "sum"),
        ("UPDATE token_quota_logs SET quota_change = -1, quota_after = 95 WHERE seq = 4", "edited"),
        ("UPDATE token_quota_logs SET request_id = 'other' WHERE seq = 4", "edited"),
        ("UPDATE token_quota_logs SET actor = 'nobody' WHERE seq = 4", "edited"),
        ("UPDATE token_quota_logs SET created_at = '2020-01-01 00:00:00.000000' WHERE seq = 4", "edited"),
        ("UPDATE access_tokens SET remaining_quota = 1000", "balance"),
    ],
)
async def test_a_row_that_was_deleted_or_edited_is_found(make_books: Any, statement: str, finds: str) -> None:
    async with make_books() as opened_books:
        books = await fill(*opened_books)
        await books.sql(statement)
        assert finds in await books.found_at_last()


async def test_an_outcome_is_not_an_edit(make_books: Any) -> None:
    async with make_books() as opened_books:
        books = await fill(*opened_books)
        await books.qf.charges.record(
            books.token_id, "r1", success=False, error_type="Boom", message="x" * 900
        )
        await written(books.qf)
        row = next(row for row in await rows(books.qf, books.token_id) if row.request_id == "r1")
        assert (row.execution_success, row.execution_error_type) == (False, "Boom")
        assert len(row.execution_error_message or "") == 500
        assert await books.found() == []


async def test_units_that_redis_lacks_are_found(make_books: Any) -> None:
    async with make_books() as opened_books:
        books = await fill(*opened_books)
        assert await books.qf._base.plain.delete(keys.allowance(books.token_id)) == 1
        assert await books.found() == ["redis"]


async def test_an_audit_under_load_waits_for_sql_and_finds_nothing(make_books: Any) -> None:
    async with make_books() as opened_books:
        books = await fill(*opened_books)

        async def load() -> None:
            for _ in range(40):
                await asyncio.gather(*[books.qf.tokens.consume(books.secret, 0.01) for _ in range(20)])

        loading = asyncio.create_task(load())
        while not loading.done():
            assert await books.found() == []
        await loading
        assert {row.action for row in await rows(books.qf, books.token_id)} <= set(Action)
