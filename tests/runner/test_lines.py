"""Waiting for units: in arrival order, by the limiter's own word, never by asking again and again."""

import asyncio
from typing import cast

import pytest

from quotaflow.amounts import MICRO
from quotaflow.errors import NotFound, QuotaDisabled, QuotaExceeded, Unavailable
from quotaflow.limiter import waiting
from quotaflow.limiter.batcher import Batcher
from quotaflow.limiter.waiting import JITTER, Lines, insist
from quotaflow.model import Decision
from quotaflow.timing import ManualClock
from tests.limiter.plain import Plain
from tests.runner.plain_batcher import PlainBatcher
from tests.runner.runs import loop_turns


@pytest.fixture
def clock() -> ManualClock:
    """Give the clock of limiter and lines."""
    return ManualClock()


@pytest.fixture
def limiter(clock: ManualClock) -> PlainBatcher:
    """Give one unit a second ("api"), a faster one, and quotas that cannot be waited for."""
    return PlainBatcher(
        clock,
        {
            "api": Plain(MICRO, MICRO),
            "api:customer": Plain(MICRO, MICRO),
            "other": Plain(MICRO, MICRO),
            "fast": Plain(MICRO, 200 * MICRO),
            "prepaid": Plain(MICRO, 0),
            "off": Plain(MICRO, MICRO, enabled=False),
        },
    )


def lines_at(limiter: PlainBatcher, clock: ManualClock, jitter: float = 0.0) -> Lines:
    return Lines(cast("Batcher", limiter), clock, jitter=lambda: jitter)


@pytest.fixture
def lines(limiter: PlainBatcher, clock: ManualClock) -> Lines:
    """Give lines that add no jitter."""
    return lines_at(limiter, clock)


async def take(lines: Lines, max_wait: float = 60.0, quota_id: str = "api", *, units: int = 1) -> Decision:
    """Take units as a limited call does."""
    return insist(await lines.acquire(quota_id, "", units * MICRO, max_wait=max_wait), max_wait)


async def test_a_unit_that_is_there_is_taken_with_one_question(lines: Lines, limiter: PlainBatcher) -> None:
    decision = await take(lines, max_wait=0)
    assert (decision.allowed, decision.remaining, limiter.asked, lines.waiting) == (True, 0, 1, 0)


async def test_who_comes_first_is_served_first(lines: Lines, clock: ManualClock) -> None:
    served: list[tuple[int, float]] = []

    async def call(number: int) -> None:
        await take(lines)
        served.append((number, clock.mono_s()))

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await loop_turns()
    assert lines.waiting == 4
    await clock.advance(10)
    await asyncio.gather(*calls)
    assert served == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
    assert lines.waiting == 0


async def test_a_wait_is_slept_through_and_not_polled(
    lines: Lines, limiter: PlainBatcher, clock: ManualClock
) -> None:
    await take(lines)
    calls = [asyncio.create_task(take(lines))]
    await loop_turns()
    calls += [asyncio.create_task(take(lines)) for _ in range(2)]
    await loop_turns()
    assert limiter.asked == 2, "who comes while somebody waits need not ask"
    for _ in range(99):
        await clock.advance(0.01)
    assert limiter.asked == 2
    for _ in range(500):
        await clock.advance(0.01)
    await asyncio.gather(*calls)
    assert limiter.asked == 2 + 3, "once each, when the units are there"


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 1.0), (1.0, 1.0 + JITTER)])
async def test_a_little_jitter_keeps_processes_apart(
    limiter: PlainBatcher, clock: ManualClock, jitter: float, wait_s: float
) -> None:
    lines = lines_at(limiter, clock, jitter)
    await take(lines)
    second = asyncio.create_task(take(lines))
    await loop_turns()
    await clock.advance(wait_s - 0.001)
    assert not second.done()
    await clock.advance(0.001)
    await second


async def test_the_usual_jitter_is_within_its_bounds(limiter: PlainBatcher, clock: ManualClock) -> None:
    lines = Lines(cast("Batcher", limiter), clock)
    await take(lines)
    second = asyncio.create_task(take(lines))
    await loop_turns()
    await clock.advance(0.999)
    assert not second.done()
    await clock.advance(0.001 + JITTER)
    await second


async def test_a_wait_that_is_too_long_is_refused_at_once(
    lines: Lines, limiter: PlainBatcher, clock: ManualClock
) -> None:
    await take(lines)
    with pytest.raises(
        QuotaExceeded, match=r'"api" has units again in 1 s; the call may wait 0\.9 s'
    ) as caught:
        await take(lines, max_wait=0.9)
    assert (caught.value.retry_after, caught.value.quota_id) == (1.0, "api")
    assert (clock.mono_s(), limiter.asked, lines.waiting) == (0, 2, 0)
    await asyncio.gather(take(lines, max_wait=1.0), clock.advance(1))


@pytest.mark.parametrize("max_wait", [0, 2.9])
async def test_those_in_line_count_and_a_refusal_need_not_even_ask(
    lines: Lines, limiter: PlainBatcher, clock: ManualClock, max_wait: float
) -> None:
    await take(lines)
    others = [asyncio.create_task(take(lines)) for _ in range(2)]
    await loop_turns()
    asked = limiter.asked
    with pytest.raises(QuotaExceeded) as caught:
        await take(lines, max_wait=max_wait)
    assert (caught.value.retry_after, limiter.asked, clock.mono_s()) == (3.0, asked, 0)
    others.append(asyncio.create_task(take(lines, max_wait=3.0)))
    await loop_turns()
    await clock.advance(3)
    assert all(decision.allowed for decision in await asyncio.gather(*others))


async def test_who_becomes_first_too_late_is_refused_without_asking(
    lines: Lines, limiter: PlainBatcher, clock: ManualClock
) -> None:
    """Another process takes the first one's unit, so that the second would have to wait 3 s; it may wait 2.5."""
    await take(lines)
    first = asyncio.create_task(take(lines))
    second = asyncio.create_task(take(lines, max_wait=2.5))
    await loop_turns()
    clock._now_us += 1_000_000
    limiter.rob("api")
    await clock.advance(0)
    assert not first.done()
    await clock.advance(1)
    assert (await first).allowed
    asked = limiter.asked
    with pytest.raises(QuotaExceeded) as caught:
        await second
    assert (caught.value.retry_after, clock.mono_s(), limiter.asked) == (1.0, 2, asked)


async def test_who_stays_behind_others_for_too_long_is_refused(
    lines: Lines, limiter: PlainBatcher, clock: ManualClock
) -> None:
    """Its turn should come in 10 ms; the clock of the first in line stands still."""
    await take(lines, quota_id="fast")
    first = asyncio.create_task(take(lines, quota_id="fast"))
    await loop_turns()
    asked = limiter.asked
    with pytest.raises(QuotaExceeded, match=r"the call may wait 0\.02 s"):
        await take(lines, 0.02, "fast")
    assert (limiter.asked, lines.waiting) == (asked, 1)
    await clock.advance(1)
    assert (await first).allowed


async def test_a_line_has_an_end(lines: Lines, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITERS", 2)
    await take(lines)
    others = [asyncio.create_task(take(lines)) for _ in range(2)]
    await loop_turns()
    with pytest.raises(Unavailable, match="2 callers are waiting"):
        await take(lines)
    await clock.advance(2)
    await asyncio.gather(*others)


@pytest.mark.parametrize(
    ("quota_id", "units", "error", "why"),
    [
        ("api", 2, QuotaExceeded, "waiting does not help, the cost is above its capacity"),
        ("prepaid", 1, QuotaExceeded, "waiting does not help, it never refills"),
        ("nobody", 1, NotFound, 'no quota "nobody"'),
        ("off", 1, QuotaDisabled, 'quota "off" is disabled'),
    ],
)
async def test_where_waiting_does_not_help_nobody_waits(
    lines: Lines, limiter: PlainBatcher, quota_id: str, units: int, error: type[Exception], why: str
) -> None:
    if quota_id == "prepaid":
        await take(lines, quota_id=quota_id)
    with pytest.raises(error, match=why) as caught:
        await take(lines, quota_id=quota_id, units=units)
    assert getattr(caught.value, "retry_after", None) is None
    assert limiter.asked <= 2
    await take(lines)


async def test_every_quota_and_every_key_has_a_line_of_its_own(lines: Lines, clock: ManualClock) -> None:
    await take(lines)
    second = asyncio.create_task(take(lines))
    await loop_turns()
    assert (await take(lines, 0, "other")).allowed
    assert (await lines.acquire("api", ":customer", MICRO, max_wait=0)).allowed
    await clock.advance(1)
    await second


async def test_a_look_is_not_kept_waiting(lines: Lines, clock: ManualClock) -> None:
    await take(lines)
    second = asyncio.create_task(take(lines))
    await loop_turns()
    assert (await take(lines, 0, units=0)).remaining == 0
    await clock.advance(1)
    await second


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_a_waiter_that_is_cancelled_leaves_the_line_in_order(
    lines: Lines, clock: ManualClock, leaver: int
) -> None:
    served: list[int] = []

    async def call(number: int) -> None:
        await take(lines)
        served.append(number)

    await take(lines)
    calls = [asyncio.create_task(call(number)) for number in range(4)]
    await loop_turns()
    calls[leaver].cancel()
    await loop_turns()
    assert lines.waiting == 3
    for _ in range(5):
        await clock.advance(1)
    await asyncio.wait(calls)
    assert served == [number for number in range(4) if number != leaver]
    assert lines.waiting == 0


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancellation_at_any_await_leaves_the_line_usable(
    lines: Lines, clock: ManualClock, turns: int
) -> None:
    await take(lines)
    first = asyncio.create_task(take(lines))
    second = asyncio.create_task(take(lines))
    await loop_turns(turns % 6)
    advancing = asyncio.create_task(clock.advance(turns // 6))
    await loop_turns(turns % 6)
    first.cancel()
    await asyncio.wait([first, advancing])
    await clock.advance(5)
    async with asyncio.timeout(30):
        assert (await second).allowed
    assert lines.waiting == 0


async def test_a_redis_that_fails_the_first_in_line_does_not_stop_the_next(
    lines: Lines, limiter: PlainBatcher
) -> None:
    limiter.away = True
    with pytest.raises(Unavailable):
        await take(lines)
    limiter.away = False
    assert (await take(lines, max_wait=0)).allowed
    assert lines.waiting == 0


async def test_who_came_while_an_earlier_one_asked_stands_behind_him(
    lines: Lines, limiter: PlainBatcher, clock: ManualClock
) -> None:
    await take(lines)
    served: list[int] = []

    async def call(number: int) -> None:
        await take(lines)
        served.append(number)

    answers = [asyncio.Event() for _ in range(3)]
    limiter.held_up = list(answers)
    calls = [asyncio.create_task(call(number)) for number in range(3)]
    await loop_turns()
    for came in (0, 2, 1):
        answers[came].set()
        await loop_turns()
        calls.append(asyncio.create_task(call(len(calls))))
        await loop_turns()
    assert lines.waiting == 6
    await clock.advance(10)
    await asyncio.gather(*calls)
    assert served == [0, 1, 2, 3, 4, 5]
