"""A batch of the journal is written once, whole, and no final word is ever taken back."""

import asyncio
import json

import pytest
from sqlalchemy import select

from quotaflow.errors import NotFound
from quotaflow.model import Reason, Status, Trigger
from quotaflow.records import Batch, BatchResult, DeadLetter
from quotaflow.store import Store
from quotaflow.store.statements import fetch_in
from quotaflow.store.tables import traces
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S
from tests.store.rows import MINUTE_US, START_US, claim, dump, ended, metrics


async def test_every_column_comes_back_as_it_went(store: Store) -> None:
    full = ended(
        claim("full", trigger=Trigger.MANUAL, attempt=3, cost_micro=2_500_001),
        Status.FAILED,
        reason=Reason.CRASHED,
        error_type="ValueError",
        error="größer als 名",
        latency_ms=0.125,
        claimed_us=START_US + 1,
    )
    bare = claim("bare", quota_id=None, scheduled_for_us=None, started_us=None, instance_id=None)
    await store.write_batch(Batch(opened=[bare], closed=[full]))
    assert await store.get_trace("full") == full
    assert await store.get_trace("bare") == bare


async def test_an_empty_batch_writes_nothing(store: Store) -> None:
    before = await dump(store)
    assert await store.write_batch(Batch()) == BatchResult()
    assert await dump(store) == before


async def test_a_run_is_opened_and_later_closed(store: Store) -> None:
    await store.write_batch(Batch(opened=[claim()]))
    assert await store.get_trace("r1") == claim()
    await store.write_batch(Batch(closed=[ended(claim())]))
    assert await store.get_trace("r1") == ended(claim())


async def test_closing_a_run_does_not_change_who_it_was(store: Store) -> None:
    await store.write_batch(Batch(opened=[claim()]))
    liar = ended(claim(), task_id="other", trigger=Trigger.CALL, scheduled_for_us=1, claimed_us=2)
    await store.write_batch(Batch(closed=[liar]))
    assert await store.get_trace("r1") == ended(claim())


async def test_a_run_that_was_never_opened_is_closed_all_the_same(store: Store) -> None:
    await store.write_batch(Batch(closed=[ended(claim())]))
    assert await store.get_trace("r1") == ended(claim())


async def test_opening_and_closing_may_stand_in_one_batch(store: Store) -> None:
    await store.write_batch(Batch(opened=[claim()], closed=[ended(claim())]))
    assert await store.get_trace("r1") == ended(claim())
    assert (await metrics(store))["q", MINUTE_US]["ok"] == 1


async def test_a_claim_that_comes_after_the_end_changes_nothing(store: Store) -> None:
    await store.write_batch(Batch(closed=[ended(claim())]))
    await store.write_batch(Batch(opened=[claim()]))
    assert await store.get_trace("r1") == ended(claim())


async def test_a_final_status_is_never_overwritten(store: Store) -> None:
    first = {f"{status}/{number}": status for status in Status if status.is_final for number in range(2)}
    apart = [ended(claim(run), status) for run, status in first.items() if run.endswith("0")]
    together = [ended(claim(run), status) for run, status in first.items() if run.endswith("1")]
    lies = [ended(claim(run), lie) for run in first for lie in (Status.LOST, Status.OK, Status.STUCK)]
    await store.write_batch(Batch(closed=apart))
    await store.write_batch(Batch(closed=[*together, *lies], opened=[claim(run) for run in first]))
    await store.write_batch(Batch(closed=lies))
    assert {run: (await store.get_trace(run)).status for run in first} == first


async def test_a_tick_that_never_ran_is_final_from_the_start(store: Store) -> None:
    kinds = (Status.LIMITED, Status.SKIPPED, Status.MISSED)
    refused = [claim(kind, status=kind, reason=Reason.LIMITED) for kind in kinds]
    lies = [ended(row, Status.OK) for row in refused]
    await store.write_batch(Batch(opened=refused, closed=lies))
    await store.write_batch(Batch(closed=lies))
    assert [await store.get_trace(kind) for kind in kinds] == refused
    assert await metrics(store) == {}


async def test_a_stuck_run_may_still_end(store: Store) -> None:
    await store.write_batch(Batch(opened=[claim("a"), claim("b")]))
    await store.write_batch(Batch(closed=[ended(claim(run), Status.STUCK) for run in "ab"]))
    assert await metrics(store) == {}
    await store.write_batch(
        Batch(closed=[ended(claim("a")), ended(claim("b"), Status.STUCK), ended(claim("b"))])
    )
    assert {(await store.get_trace(run)).status for run in "ab"} == {Status.OK}
    assert (await metrics(store))["q", MINUTE_US]["ok"] == 2


async def test_writing_a_batch_again_changes_nothing(store: Store, clock: ManualClock) -> None:
    first = Batch(
        opened=[claim("a"), claim("b"), claim("thief", scheduled_for_us=claim("a").scheduled_for_us)]
    )
    second = Batch(
        opened=[claim("c"), claim("d", status=Status.LIMITED)],
        closed=[ended(claim("a")), ended(claim("e"), Status.FAILED), ended(first.opened[2])],
        dead=[DeadLetter("7-0", "?", "not a fact")],
    )
    assert await store.write_batch(first) == BatchResult(double_claims=1, dead=1)
    assert await store.write_batch(second) == BatchResult(double_claims=0, dead=2)
    before = await dump(store)
    for batch in (second, first, first, second):
        await clock.advance(60)
        assert await store.write_batch(batch) == BatchResult()
        assert await dump(store) == before


async def test_two_flushers_with_the_same_batch_count_it_once(store: Store, url: str) -> None:
    """The lease keeps them apart; should it fail, nothing is counted twice."""
    other = await Store.open(url, deadline_s=PATIENCE_S)
    rows = [ended(claim(f"r{number}", scheduled_for_us=number)) for number in range(100)]
    thieves = [claim(f"x{number}", scheduled_for_us=number) for number in range(10)]
    batches = [Batch(closed=rows, opened=thieves), Batch(closed=rows[::-1], opened=thieves[::-1])]
    results = await asyncio.gather(*[to.write_batch(batch) for to in (store, other) for batch in batches])
    await other.close()
    assert (await metrics(store))["q", MINUTE_US]["ok"] == 100 - sum(
        result.double_claims for result in results
    )
    counts = await store.counts()
    assert sum(counts.traces.values()) == 100
    assert counts.double_claims == sum(result.double_claims for result in results) == 10


async def test_a_second_claim_of_a_tick_is_buried_with_its_end_and_counted_once(store: Store) -> None:
    await store.write_batch(Batch(opened=[claim("owner")]))
    thief = claim("thief", scheduled_for_us=claim("owner").scheduled_for_us)
    assert (await store.write_batch(Batch(opened=[thief]))).double_claims == 1
    assert (await store.write_batch(Batch(closed=[ended(thief)]))).double_claims == 0
    with pytest.raises(NotFound):
        await store.get_trace("thief")
    letters = (await dump(store))["dead_letters"]
    assert [(event_id, error) for event_id, _, error, _ in letters] == [
        ("thief/claim", "double_claim"),
        ("thief/end", "double_claim"),
    ]
    assert json.loads(letters[1][1]) == ended(thief)._asdict()
    assert await metrics(store) == {}
    assert (await store.counts()).double_claims == 1


async def test_of_two_claims_in_one_batch_the_first_owns_the_tick(store: Store) -> None:
    thief = claim("thief", scheduled_for_us=claim("owner").scheduled_for_us)
    batch = Batch(opened=[claim("owner"), thief], closed=[ended(thief)])
    assert (await store.write_batch(batch)).double_claims == 1
    assert (await store.get_trace("owner")).status is Status.RUNNING


async def test_runs_without_a_tick_never_collide(store: Store) -> None:
    calls = [claim(run, trigger=Trigger.CALL, scheduled_for_us=None) for run in "abc"]
    assert await store.write_batch(Batch(opened=calls)) == BatchResult()
    assert (await store.counts()).traces == {Status.RUNNING: 3}


async def test_outcomes_are_counted_under_quota_and_minute_of_their_end(store: Store) -> None:
    later = MINUTE_US + 60_000_000
    rows = [
        ended(claim("a"), latency_ms=0.5),
        ended(claim("b"), latency_ms=1.0),
        ended(claim("c"), Status.FAILED, latency_ms=1.01),
        ended(claim("d"), Status.LOST, latency_ms=None),
        ended(claim("e"), Status.HARD_TIMEOUT, latency_ms=60_001.0, finished_us=later),
        ended(claim("f"), quota_id="other", finished_us=later - 1),
        ended(claim("g"), quota_id=None),
        ended(claim("h"), Status.INTERRUPTED),
        ended(claim("i"), Status.CANCELLED),
    ]
    await store.write_batch(Batch(closed=rows))
    found = await metrics(store)
    counts = {key: (row["ok"], row["err"], json.loads(row["latency"])) for key, row in found.items()}
    assert counts == {
        ("q", MINUTE_US): (2, 2, [2, 1, *[0] * 14]),
        ("q", later): (0, 1, [*[0] * 15, 1]),
        ("other", MINUTE_US): (1, 0, [0, 0, 0, 0, 0, 1, *[0] * 10]),
    }


async def test_error_texts_are_made_fit_and_cut(store: Store) -> None:
    row = ended(claim(), Status.FAILED, error="\0\ud800" + "x" * 5_000, error_type="T" * 300)
    await store.write_batch(Batch(closed=[row]))
    stored = await store.get_trace("r1")
    assert stored.error == "\ufffd?" + "x" * 1_998
    assert stored.error_type == "T" * 200


async def test_a_dead_letter_is_kept_once_as_it_came(store: Store, clock: ManualClock) -> None:
    letters = [DeadLetter("1-0", "payload \0", "e" * 3_000), DeadLetter("1-0", "again", "e")]
    assert await store.write_batch(Batch(dead=letters)) == BatchResult(dead=1)
    assert await store.write_batch(Batch(dead=letters[:1])) == BatchResult()
    event_id, payload, error, created_us = (await dump(store))["dead_letters"][0]
    assert event_id == "1-0"
    assert payload in ("payload \ufffd", "again")
    assert len(error) <= 2_000
    assert created_us == clock.wall_us()


async def test_more_keys_than_a_statement_takes_parameters_are_looked_up(store: Store) -> None:
    """PostgreSQL takes 32,767."""
    await store.write_batch(Batch(opened=[claim("here")]))
    ids = ["here", *[f"r{number}" for number in range(40_000)]]
    async with store._database.read() as connection:
        assert [row.run_id for row in await fetch_in(connection, select(traces), traces.c.run_id, ids)] == [
            "here"
        ]
