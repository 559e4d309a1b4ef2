"""Random stories of prepaid units: the Lua scripts and plain Python always agree, and the ledger proves each step."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import time_machine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quotaflow import facts
from quotaflow.amounts import MICRO
from quotaflow.errors import IdempotencyConflict, InvalidInput
from quotaflow.ids import Ids
from quotaflow.ledger import Part, RequestState
from quotaflow.limiter import keys
from quotaflow.limiter.allowances import Allowances, Back, Definition
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.orders import Order, lay_out_charges
from quotaflow.model import Quota
from quotaflow.timing import ManualClock
from tests.limiter.plain import Plain
from tests.limiter.plain_allowance import PlainAllowance, PlainAllowances, Told
from tests.limiter.stages import START_US, FakeStage

DAY_MS = 86_400_000  # longer than any story: no record is forgotten in it
HOUR_US = 3_600_000_000
PACE = (2 * MICRO, MICRO // 10)

REFUSALS = {"conflict": IdempotencyConflict, "unmetered": InvalidInput, "too much": InvalidInput}


class Telling:
    """One story, told to fakeredis and to plain Python at once."""

    def __init__(self) -> None:
        self.stage = FakeStage()
        self.stage.redis.deadline_s = 60.0
        self.plain = PlainAllowances(START_US)
        self.ids = Ids(ManualClock(START_US), node="me")
        self.allowances = Allowances(
            cast("Fence", self.stage), self.stage.redis, self.ids, request_ttl_s=DAY_MS / 1000
        )
        self.versions: dict[str, int] = {}

    async def begin(self) -> None:
        await self.define("t", 10 * MICRO)
        await self.define("u", 5 * MICRO, pace=PACE)
        await self.define("time", 0, kind="time", pace=PACE)
        for name, rate in (("b", MICRO), ("dry", 0)):
            self.plain.buckets[name] = Plain(3 * MICRO, rate)
            await self.stage.define(Quota(name, name, 3 * MICRO, rate))
        self.plain.tick(0)

    async def define(self, subject: str, total: int, kind: str = "count", **more: Any) -> None:
        pace = more.get("pace")
        version = self.versions[subject] = self.versions.get(subject, 0) + 1
        await self.here(self.allowances.allow(Definition(subject, kind, version, total, **more)))
        before = self.plain.allowances.get(subject)
        if before is None:
            held = Plain(*pace) if pace else None
            before = self.plain.allowances[subject] = PlainAllowance(total, kind != "time", held)
        before.active, before.expires = more.get("active", True), more.get("expires_us") or 0

    async def here(self, act: Awaitable[Any]) -> Any:
        """Do something at the story's moment."""
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.plain.now)
        self.stage.now_us = self.plain.now
        with time_machine.travel(moment, tick=False):
            return await act

    async def charge(self, costs: dict[str, int], request_id: str, hold: int) -> None:
        parts = tuple([Part(name, cost, name in self.plain.buckets) for name, cost in costs.items()])
        order = Order(parts, request_id, self.ids.next(), DAY_MS, hold)
        layout = lay_out_charges([order])
        reply = await self.here(self.stage.run("consume", layout.script_keys(), layout.args("1000", "1000")))
        word, place, left, wait, again = str(reply).split(" ")
        decided_by = [*layout.allowances, *layout.buckets][int(place) - 1]
        told: Told = (word, decided_by, int(left), int(wait), again == "1")
        assert told == self.plain.charge(parts, request_id, hold)

    async def give_back(self, act: str, subject: str, request_id: str, share: int) -> None:
        request = await self.here(self.allowances.request(subject, request_id))
        full = [part.cost_micro for part in request.parts if not part.is_bucket]
        amounts = [cost * share // 4 for cost in full]
        word, state = await self.here(self.allowances.give_back(request, Back(act), amounts))
        assert (word, state) == self.plain.give_back(act, subject, request_id, amounts)

    async def change(self, act: str, subject: str, amount: int | None, act_id: str) -> None:
        if act == "expire" or (amount is None and act != "reset"):
            amount = None if act == "expire" else MICRO
        meant = self.plain.change(subject, act, amount, act_id)
        doing = self.here(self.allowances.change(subject, act, amount, act_id=act_id))
        if meant in REFUSALS:
            with pytest.raises(REFUSALS[meant]):
                await doing
        else:
            assert ("done" if await doing else "again") == meant

    async def switch(self, subject: str, active: bool, lasts_us: int) -> None:
        it = self.plain.allowances[subject]
        kind = "count" if it.metered else "time"
        ends = self.plain.now + lasts_us if lasts_us else None
        await self.define(
            subject, it.total, kind, active=active, expires_us=ends, pace=PACE if it.pace else None
        )

    async def proven(self) -> None:
        """Check what is left, the chain of facts, their sum, and that no id was charged twice."""
        entries = await self.stage.redis.xrange(keys.JOURNAL)
        lines = [pair for _, fields in entries for pair in fields.items()]
        rows = [{"event": event_id, **facts.decode(line)[1]} for event_id, line in lines]
        assert len(rows) == self.plain.posted + 2
        holdings = await self.allowances.holdings(list(self.plain.allowances))
        for subject, it in self.plain.allowances.items():
            remaining = holdings[subject].remaining_micro
            assert remaining == (it.remaining if it.metered else None)
            assert holdings[subject].total_micro == it.total
            chain([row for row in rows if row["subject"] == subject], remaining or 0)
        charges = [row for row in rows if row["action"] == "consume"]
        # The parts of others have event ids with a dot; an id is its first subject's own.
        charged = [(row["subject"], row["request"]) for row in charges if "." not in row["event"]]
        assert len(charged) == len({*charged}), "an id was charged twice"


def chain(rows: Sequence[dict[str, str]], remaining: int) -> None:
    assert [int(row["seq"]) for row in rows] == list(range(1, len(rows) + 1))
    after = 0
    for row in rows:
        assert int(row["before"]) == after
        after += int(row["change"])
        assert int(row["after"]) == after >= 0
    assert after == remaining


names = st.sampled_from(["t", "t", "u", "time"])
amounts = st.one_of(
    st.integers(0, 6).map(lambda units: units * MICRO), st.integers(0, 6 * MICRO), st.just(2 * 10**15)
)
ids = st.sampled_from(["one", "one", "act/2"])  # few, so that acts meet
costs = st.integers(0, 4).map(lambda units: units * MICRO) | st.integers(0, 4 * MICRO)
asked = st.builds(
    lambda first, more, cost: {first: cost} | {name: more[name] for name in more if name != first},
    st.sampled_from(["t", "t", "t", "u", "time", "nobody"]),
    st.dictionaries(st.sampled_from(["t", "u"]), costs, max_size=2),
    costs,
)
shared = st.dictionaries(st.sampled_from(["b", "dry"]), costs, max_size=2)
holds = st.sampled_from([0, 0, 0, 1, HOUR_US])
steps = st.one_of(
    st.tuples(st.just("charge"), st.builds(lambda a, b: a | b, asked, shared), ids, holds),
    st.tuples(st.just("charge"), st.builds(lambda a, b: a | b, asked, shared), ids, holds),
    st.tuples(st.just("give_back"), st.sampled_from([*Back]).map(str), names, ids, st.integers(0, 4)),
    st.tuples(
        st.just("change"),
        st.sampled_from(["recharge", "set", "reset", "expire", "adjust"]),
        names,
        st.none() | amounts,
        ids,
    ),
    st.tuples(st.just("switch"), names, st.booleans() | st.just(True), st.sampled_from([0, 1, HOUR_US])),
)
pauses = st.sampled_from([0, 1, 999_999, 10_000_000, HOUR_US])


@pytest.mark.timeout(300)  # a story that fails takes minutes to be made short
@settings(max_examples=80)  # 0.1 s each: every answer of every step is compared
@example(
    [
        (0, ("charge", {"t": MICRO}, "one", 0)),
        (0, ("change", "set", "t", 2 * 10**15, "one")),
        (0, ("give_back", "refund", "t", "one", 4)),
    ]
)
@given(st.lists(st.tuples(pauses, steps), min_size=1, max_size=14))
async def test_lua_and_plain_python_agree_on_every_step_and_the_ledger_proves_it(
    story: list[tuple[int, tuple[Any, ...]]],
) -> None:
    telling = Telling()
    await telling.begin()
    await telling.proven()
    for pause, (act, *rest) in story:
        telling.plain.tick(pause)
        does: Callable[..., Awaitable[None]] = getattr(telling, act)
        await does(*rest)
        await telling.proven()


async def told(*story: tuple[Any, ...]) -> Telling:
    telling = Telling()
    await telling.begin()
    for act, *rest in story:
        await getattr(telling, act)(*rest)
        await telling.proven()
    return telling


@pytest.mark.parametrize("second", Back)
@pytest.mark.parametrize("first", Back)
async def test_what_went_back_once_never_goes_back_again(first: Back, second: Back) -> None:
    """Whatever the two acts are, of a charge and of a reservation that is due."""
    for hold in (0, 1):
        telling = await told(("charge", {"t": 4 * MICRO, "u": MICRO, "b": MICRO}, "one", hold))
        telling.plain.tick(1)
        for act in (first, second, first):
            await telling.give_back(str(act), "t", "one", 2)
            await telling.proven()
        await telling.charge({"t": 4 * MICRO, "u": MICRO, "b": MICRO}, "one", hold)
        await telling.proven()


async def test_an_id_whose_own_part_costs_nothing_charges_the_others_once() -> None:
    """The subject's own cost is 0, another quota's is not: that is a charge and no look."""
    ask = {"t": 0, "u": MICRO}
    telling = await told(("charge", ask, "one", 0), ("charge", ask, "one", 0))
    assert telling.plain.allowances["u"].remaining == 4 * MICRO


async def test_of_two_waits_never_is_the_longer_one() -> None:
    """A bucket that does not refill is empty, and the token is only too fast: waiting does not help."""
    await told(
        ("charge", {"u": MICRO, "dry": 3 * MICRO}, "one", 0),
        ("charge", {"u": MICRO}, "two", 0),
        ("charge", {"u": MICRO, "dry": MICRO}, "three", 0),
    )


async def test_what_goes_back_never_makes_a_number_that_sql_cannot_keep() -> None:
    """Somebody uses all of the largest amount, gets it again, and then has the first refunded: he keeps what he has."""
    telling = await told(
        ("change", "set", "t", 2 * 10**15, "first"),
        ("charge", {"t": 2 * 10**15}, "one", 0),
        ("change", "reset", "t", None, "second"),
    )
    request = await telling.here(telling.allowances.request("t", "one"))
    assert await telling.here(telling.allowances.give_back(request, Back.REFUND, [2 * 10**15])) == (
        "done",
        RequestState.REFUNDED,
    )
    await telling.charge({"t": MICRO}, "two", 0)
    assert (await telling.allowances.holdings(["t"]))["t"].remaining_micro == 2 * 10**15 - MICRO
