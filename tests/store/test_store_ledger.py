"""The ledger in SQL: rows and what they say is left are written together, once, and never go back."""

import asyncio

import pytest

from quotaflow.amounts import MICRO
from quotaflow.errors import InvalidInput
from quotaflow.journal.flusher import Flusher, Portion
from quotaflow.ledger import Action, QuotaType, WorkOutcome, checksum_of
from quotaflow.limiter.client import connect
from quotaflow.model import Status
from quotaflow.records import Batch, BatchResult, DeadLetter
from quotaflow.store import LogFilter, Store, TokenFilter
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S, ValkeyProcess
from tests.store.chains import add_quota, add_token, chain, logs, shown
from tests.store.rows import START_US, claim, dump, ended


@pytest.mark.parametrize("subject", ["tok_a", "budget"])
async def test_rows_and_balances_are_written_together(store: Store, subject: str) -> None:
    await add_token(store)
    await add_quota(store)
    rows = chain(subject, -3, -4, 2)
    assert await store.write_batch(Batch(ledger=rows)) == BatchResult()
    found = await logs(store, subject)
    assert [row[:11] for row in found] == [row[:11] for row in rows]
    assert [row.checksum for row in found] == [checksum_of(row) for row in rows]
    assert await shown(store, subject) == (5 * MICRO, 10 * MICRO, 1, 4)


async def test_a_batch_that_fails_leaves_neither_rows_nor_balances(store: Store) -> None:
    await add_token(store)
    before = await dump(store)
    bad = DeadLetter("7-0", None, "e")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        await store.write_batch(Batch(ledger=chain("tok_a", -3), dead=[bad]))
    assert await dump(store) == before


async def test_writing_again_changes_nothing(store: Store, clock: ManualClock) -> None:
    await add_token(store)
    rows = chain("tok_a", -3, -4, 2)
    batches = [Batch(ledger=rows[:2]), Batch(ledger=rows[2:], outcomes=[WorkOutcome("tok_a", "r3", True)])]
    for batch in batches:
        await store.write_batch(batch)
    before = await dump(store)
    for batch in (*batches, *batches[::-1], Batch(ledger=rows), Batch(ledger=rows[1:3])):
        await clock.advance(60)
        assert await store.write_batch(batch) == BatchResult()
        assert await dump(store) == before


async def test_facts_that_were_partly_written_are_completed(store: Store) -> None:
    await add_token(store)
    rows = chain("tok_a", -3, -4, 2)
    await store.write_batch(Batch(ledger=rows[:2]))
    assert await store.write_batch(Batch(ledger=rows)) == BatchResult()
    assert await shown(store) == (5 * MICRO, 10 * MICRO, 1, 4)
    assert len(await logs(store)) == 4


async def test_an_old_fact_is_an_orphan_and_changes_no_balance(store: Store) -> None:
    """It comes out of a life of Redis that SQL had closed: it is kept, told each time, and kept once."""
    await add_token(store)
    late = chain("tok_a", -3, -4)[2]
    now = chain("tok_a", -1, epoch=2)
    await store.write_batch(Batch(ledger=now))
    for _ in range(3):
        assert (await store.write_batch(Batch(ledger=[late]))).orphans == (late,)
        assert await shown(store) == (9 * MICRO, 10 * MICRO, 2, 2)
    orphan, *others = await logs(store)
    assert (orphan.action, orphan.event_id, orphan.change_micro) == (
        Action.ORPHAN,
        late.event_id,
        -4 * MICRO,
    )
    assert [row.event_id for row in others] == [row.event_id for row in now]
    assert orphan.checksum == checksum_of(orphan)
    assert await store.rows_after("tok_a", 0, 0) == others


async def test_an_orphan_comes_with_what_goes_on(store: Store) -> None:
    await add_token(store)
    rows = chain("tok_a", -1, -2, epoch=2)
    late = chain("tok_a", -3)[1]
    await store.write_batch(Batch(ledger=rows[:1]))
    result = await store.write_batch(Batch(ledger=[rows[1], late, rows[2]]))
    assert result.orphans == (late,)
    assert await shown(store) == (7 * MICRO, 10 * MICRO, 2, 3)


async def test_two_writers_with_the_same_facts_write_them_once(store: Store, url: str) -> None:
    await add_token(store)
    other = await Store.open(url, deadline_s=PATIENCE_S)
    rows = chain("tok_a", *[-1] * 8)
    batches = [Batch(ledger=rows), Batch(ledger=rows[:5])]
    results = await asyncio.gather(*[to.write_batch(batch) for to in (store, other) for batch in batches])
    await other.close()
    assert results == [BatchResult()] * 4
    assert len(await logs(store)) == 9
    assert await shown(store) == (2 * MICRO, 10 * MICRO, 1, 9)


async def test_an_outcome_lands_on_the_charge_of_its_own_subject(store: Store) -> None:
    for name in ("tok_a", "tok_b"):
        await add_token(store, name)
    facts = [*chain("tok_a", -3, 3), *chain("tok_b", -4)]
    facts[2] = facts[2]._replace(request_id="r2")  # the refund of the same request
    failed = WorkOutcome("tok_b", "r2", False, "KeyError", "größer als 名\0" + "x" * 900)
    stranger = WorkOutcome("tok_c", "r2", True)
    await store.write_batch(Batch(ledger=facts, outcomes=[failed, stranger]))
    assert {row[-3:] for row in await logs(store, "tok_a")} == {(None, None, None)}
    charge = (await logs(store, "tok_b"))[1]
    assert (charge.execution_success, charge.execution_error_type) == (False, "KeyError")
    assert charge.execution_error_message == "größer als 名\ufffd" + "x" * 487
    assert charge.checksum == checksum_of(charge)
    await store.write_batch(
        Batch(outcomes=[WorkOutcome("tok_a", "r2", False), WorkOutcome("tok_a", "r2", True)])
    )
    assert [row.execution_success for row in await logs(store, "tok_a")] == [None, True, None]
    assert (await logs(store, "tok_b"))[1] == charge


async def test_a_run_that_ends_tells_the_charge_of_its_prepaid_quota(store: Store) -> None:
    await add_quota(store)
    facts = chain("budget", -1, -1)
    facts[1:] = [facts[1]._replace(request_id="good"), facts[2]._replace(request_id="bad")]
    good = ended(claim("good", quota_id="budget"))
    bad = ended(claim("bad", quota_id="budget"), Status.HARD_TIMEOUT, error="too late")
    await store.write_batch(Batch(ledger=facts, closed=[good, bad]))
    assert [row[-3:] for row in await logs(store, "budget")] == [
        (None, None, None),
        (True, None, None),
        (False, "hard_timeout", "too late"),
    ]


async def test_a_fact_that_sql_cannot_hold_does_not_hold_up_the_others(
    store: Store, clock: ManualClock, valkey: ValkeyProcess
) -> None:
    await add_token(store)
    good = [
        f"ledger subject=tok_a action=consume before={left} change=-1000000 after={left - MICRO}"
        f" epoch=1 seq={number} at=5 request=r{number}"
        for number, left in ((1, 10 * MICRO), (2, 9 * MICRO), (4, 8 * MICRO))
    ]
    never = 10**20
    poison = f"ledger subject=tok_a action=consume before=5 change=-5 after=0 epoch=1 seq=3 at={never}"
    false = "ledger subject=tok_a action=consume before=5 change=-1 after=5 epoch=1 seq=3 at=5"
    journal = connect(valkey.url, deadline_s=5)
    await journal.xadd(
        "journal", {"1-a": good[0], "2-b": good[1], "3-c": poison, "4-d": false, "5-e": good[2]}
    )

    async def trim(portion: Portion) -> int:
        return int(await journal.xtrim("journal", maxlen=0)) - portion.entries

    flusher = Flusher(journal, "journal", store.write_batch, trim, clock, batch=100)
    assert await flusher.drain() == 5
    await journal.aclose()
    assert [row.event_id for row in await logs(store)] == ["1-a", "2-b", "5-e"]
    assert await shown(store) == (7 * MICRO, 10 * MICRO, 1, 4)
    assert [row[0] for row in (await dump(store))["dead_letters"]] == ["3-c", "4-d"]


async def test_logs_come_in_pages_newest_first(store: Store) -> None:
    await add_token(store)
    late = chain("tok_a", -9)[1]
    rows = [*chain("tok_a", -1, -2, -3, 1), *chain("tok_a", -1, -2, epoch=2)]
    await store.write_batch(Batch(ledger=rows))
    await store.write_batch(Batch(ledger=[late._replace(event_id="1-tok_a-002x")]))
    wanted = [row.event_id for row in rows]
    wanted.insert(2, "1-tok_a-002x")
    for limit in (1, 2, 3, 9, 10):
        found, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = await store.list_logs(LogFilter("tok_a"), cursor, limit=limit)
            found += [row.event_id for row in page.items]
            cursor, pages = page.next_cursor, pages + 1
        assert found == wanted[::-1]
        assert pages == -(-9 // limit)


@pytest.mark.parametrize("cursor", ["", "1", "1.2", "1.2.", "a.2.x", "-1.2.x", "1.٢.x", f"1.{'9' * 40}.x"])
async def test_a_cursor_of_no_list_of_logs_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        await store.list_logs(LogFilter("tok_a"), cursor)


async def test_logs_are_filtered(store: Store) -> None:
    await add_token(store)
    await add_token(store, "tok_b")
    await store.write_batch(Batch(ledger=[*chain("tok_a", -1, -2, 1), *chain("tok_b", -1)]))

    async def seqs(**wanted: object) -> list[int]:
        page = await store.list_logs(LogFilter("tok_a", **wanted))  # type: ignore[arg-type]
        return [row.seq for row in page.items]

    assert await seqs(action=Action.CONSUME) == [3, 2]
    assert await seqs(action=Action.GAP) == []
    assert await seqs(request_id="r2") == [2]
    assert await seqs(since_us=START_US + 2, until_us=START_US + 4) == [3, 2]
    assert await seqs(since_us=START_US + 2, action=Action.REFUND) == [4]
    page = await store.list_logs(LogFilter("tok_a", action=Action.CONSUME), limit=1)
    assert page.next_cursor is not None
    rest = await store.list_logs(LogFilter("tok_a", action=Action.CONSUME), page.next_cursor, limit=1)
    assert ([row.seq for row in rest.items], rest.next_cursor) == ([2], None)


async def test_tokens_come_in_pages_newest_first_and_are_filtered(store: Store) -> None:
    await add_token(store, "tok_a", created_us=1)
    await add_token(store, "tok_b", created_us=2, ws_id="other", quota_type=QuotaType.HYBRID)
    await add_token(store, "tok_c", created_us=2, email="c@example.com", active=False)
    await add_token(store, "tok_d", created_us=3, deleted_us=9)

    async def names(limit: int = 100, **wanted: object) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await store.list_tokens(TokenFilter(**wanted), cursor, limit=limit)  # type: ignore[arg-type]
            found += [token.id for token in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found

    for limit in (1, 2, 3, 100):
        assert await names(limit) == ["tok_c", "tok_b", "tok_a"]
        assert await names(limit, with_deleted=True) == ["tok_d", "tok_c", "tok_b", "tok_a"]
    assert await names(ws_id="w") == ["tok_c", "tok_a"]
    assert await names(email="c@example.com") == ["tok_c"]
    assert await names(quota_type=QuotaType.HYBRID) == ["tok_b"]
    assert await names(active=True) == ["tok_b", "tok_a"]
    assert await names(active=False, ws_id="other") == []
    for cursor in ("", "1", "x.tok_a", "1.", "9" * 40 + ".tok_a"):
        with pytest.raises(InvalidInput, match="cursor"):
            await store.list_tokens(None, cursor)
