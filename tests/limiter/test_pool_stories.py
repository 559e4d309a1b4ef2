"""Random stories of upstream keys: whatever dies, lags or overlaps, no service is asked for more than it has."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from quotaflow.amounts import MICRO
from quotaflow.balances import Verdict
from quotaflow.limiter.pools import Pools, Reservation
from tests.limiter.pools import LEASE_S, Pond

LIMIT = 6
Step = tuple[Any, ...]


class Story:
    """Reservations that are used or not, and checks that take their time, in any order."""

    def __init__(self, delay_s: float) -> None:
        self.pond = Pond(keys=2, limit=LIMIT, delay_s=delay_s)
        self.living: dict[str, Pools] = {"here": self.pond.here, "there": self.pond.there}
        self.held: list[tuple[str, Reservation, int | None]] = []  # with what was spent of it
        self.checks: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def play(self, steps: list[Step]) -> None:
        self.pond.passes(60)
        await self.pond.begin()
        for act, *words in steps:
            await getattr(self, act)(*words)
            for key_id in self.pond.keys:
                assert self.pond.service.spent(key_id) <= LIMIT * MICRO, "it was asked for more than it has"
        await self.ends()

    async def pick(self, who: str, units: int) -> None:
        if who in self.living:
            found = await self.living[who].pick("tavily", units * MICRO)
            if isinstance(found, Reservation):
                self.held.append((who, found, None))

    async def use(self, number: int, units: int) -> None:
        """Spend what is reserved, or less. Only the living can."""
        if self.held:
            who, held, spent = self.held[number % len(self.held)]
            if who in self.living and spent is None:
                spent = min(held.cost_micro, units * MICRO)
                self.pond.use(held, spent)
                self.held[number % len(self.held)] = (who, held, spent)

    async def settle(self, number: int, is_known: bool) -> None:
        """End it by what was really spent; or, when its owner does not know, as if all had been."""
        if self.held:
            who, held, spent = self.held.pop(number % len(self.held))
            if who in self.living:
                await self.living[who].settle(held, (spent or 0) if is_known else held.cost_micro, Verdict())

    async def die(self, who: str) -> None:
        """End a process; the last one stays."""
        if len(self.living) > 1:
            self.living.pop(who, None)

    async def wait(self, tenths: int) -> None:
        """Let time pass; the living keep what is theirs every second."""
        for _ in range(0, tenths, 10):
            for pools in self.living.values():
                await pools.keep()
            self.pond.passes(1)

    async def begin_check(self) -> None:
        self.checks.append((await self.pond.here.marks("tavily", list(self.pond.keys)), {}))

    async def ask(self, number: int) -> None:
        if self.checks:
            found = self.checks[number % len(self.checks)][1]
            for key_id in self.pond.keys:
                found.setdefault(key_id, self.pond.said(key_id))

    async def end_check(self, number: int) -> None:
        if self.checks:
            marks, found = self.checks.pop(number % len(self.checks))
            await self.pond.check(marks, list(found.values()))

    async def ends(self) -> None:
        """Let all end and be shown: then what is available is what is really left."""
        while self.held:
            await self.settle(0, True)
        self.pond.passes(LEASE_S + self.pond.delay_us / 1e6 + 1)
        await self.pond.refresh()
        left = {key_id: LIMIT - self.pond.service.spent(key_id) / MICRO for key_id in self.pond.keys}
        assert {
            key_id: (one.available_micro or 0) / MICRO for key_id, one in (await self.pond.live()).items()
        } == left


who = st.sampled_from(["here", "there"])
few = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("pick"), who, st.integers(1, 3)),
    st.tuples(st.just("pick"), who, st.integers(1, 3)),
    st.tuples(st.just("use"), few, st.integers(0, 3)),
    st.tuples(st.just("settle"), few, st.booleans()),
    st.tuples(st.just("die"), who),
    st.tuples(st.just("wait"), st.integers(1, 120)),
    st.tuples(st.just("begin_check")),
    st.tuples(st.just("ask"), few),
    st.tuples(st.just("end_check"), few),
)


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(steps, min_size=5, max_size=40), delay_s=st.sampled_from([0.0, 0.0, 3.0]))
@example(
    [("begin_check",), ("ask", 0), ("pick", "here", 3), ("pick", "here", 3), ("use", 0, 3), ("use", 1, 3),
     ("settle", 0, True), ("settle", 0, True), ("end_check", 0), ("pick", "there", 3), ("pick", "there", 3),
     ("pick", "there", 3), ("use", 0, 3), ("use", 1, 3), ("use", 2, 3)],
    0.0,
)  # fmt: skip
async def test_no_service_is_ever_asked_for_more_than_it_has(steps: list[Step], delay_s: float) -> None:
    await Story(delay_s).play(steps)
