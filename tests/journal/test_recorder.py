"""Traces of calls: bounded, batched, and honest about what they leave out."""

import asyncio
from collections.abc import Sequence

from quotaflow.errors import Unavailable
from quotaflow.journal.recorder import Recorder
from quotaflow.timing import ManualClock


class Sink:
    """Where facts end up; it can be slow, full or away."""

    def __init__(self) -> None:
        self.facts: list[str] = []
        self.full = False
        self.error: Exception | None = None

    async def record(self, facts: Sequence[tuple[str, str]]) -> int:
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if self.full:
            return 0
        self.facts += [event_id for event_id, _ in facts]
        return len(facts)


def recorder(sink: Sink, clock: ManualClock, *, per_second: int = 1000, cap: int = 1000) -> Recorder:
    return Recorder(sink.record, clock, per_second=per_second, cap=cap)


async def test_stopping_while_a_batch_is_on_its_way_sends_everything_once() -> None:
    sink = Sink()
    notes = recorder(sink, ManualClock())
    for number in range(600):
        notes.note(f"e{number}", "fact", failed=False)
    await asyncio.gather(notes.drain(), notes.drain())
    assert sink.facts == [f"e{number}" for number in range(600)]


async def test_above_the_rate_only_failures_are_kept_and_the_rest_is_counted() -> None:
    sink, clock = Sink(), ManualClock()
    notes = recorder(sink, clock, per_second=2)
    for number in range(5):
        notes.note(f"ok{number}", "fact", failed=False)
    notes.note("bad", "fact", failed=True)
    await clock.advance(1)
    notes.note("later", "fact", failed=False)
    await notes.drain()
    assert sink.facts == ["ok0", "ok1", "bad", "later"]
    assert notes.untraced == 3


async def test_the_buffer_is_bounded_and_a_full_journal_is_counted() -> None:
    sink = Sink()
    notes = recorder(sink, ManualClock(), cap=3)
    for number in range(5):
        notes.note(f"e{number}", "fact", failed=True)
    assert (len(notes), notes.untraced) == (3, 2)
    sink.full = True
    await notes.drain()
    assert (len(notes), notes.untraced) == (0, 5)


async def test_while_redis_is_away_facts_wait_and_are_sent_afterwards() -> None:
    sink, clock = Sink(), ManualClock()
    notes = recorder(sink, clock)
    running = asyncio.create_task(notes.run())
    sink.error = Unavailable("away")
    notes.note("e", "fact", failed=False)
    await clock.advance(1)
    assert len(notes) == 1
    sink.error = None
    await clock.advance(1)
    assert sink.facts == ["e"]
    running.cancel()
    await asyncio.wait([running])
