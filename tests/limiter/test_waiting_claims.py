"""What must wait is put into `due` by the claim: turns by rate, lines for units, slots. Its clock can be set."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from quotaflow.amounts import MICRO
from quotaflow.limiter import keys
from quotaflow.limiter.admission import Admission
from quotaflow.limiter.claims import Claim, Closing, Mode, PutBack, Tracked
from quotaflow.limiter.fence import Fence
from quotaflow.model import Trigger, make_quota
from quotaflow.rates import parse_rate
from quotaflow.runs import Answer, Plan, Run, Word
from tests.limiter.stages import FakeStage

SECOND = 1_000_000
CANCELLED = "close status=cancelled"


class Story:
    """One Redis, two daemons, and a clock."""

    def __init__(self) -> None:
        self.stage = FakeStage()
        self.stage.redis.deadline_s = 60.0
        self.me, self.you = self.daemon("me"), self.daemon("you")

    def daemon(self, instance: str) -> Admission:
        fence = cast("Fence", self.stage)
        return Admission(
            fence, self.stage.redis, instance=instance, lease_s=8, backlog_max=1000, waiting_max=5
        )

    @property
    def now(self) -> int:
        return self.stage.now_us

    def passes(self, seconds: float) -> None:
        self.stage.now_us += round(seconds * SECOND)

    async def rate(self, text: str, task_id: str = "t") -> None:
        rate = parse_rate(text)
        assert rate is not None
        await self.me.track([Tracked(task_id, pace=rate.pace)])

    def claim(self, run_id: str, task_id: str = "t", **more: Any) -> Claim:
        fact = f"open run={run_id} task={task_id} attempt={more.get('leg', 1)}"
        return Claim(more.pop("mode", Mode.TRIGGER), task_id, run_id, fact, **more)

    async def ask(self, *claims: Claim, by: Admission | None = None) -> list[Answer]:
        return await (by or self.me).claim(claims)

    async def trigger(self, *run_ids: str, **more: Any) -> list[Answer]:
        return await self.ask(*[self.claim(run_id, **more) for run_id in run_ids])

    async def due(self, *run_ids: str, by: Admission | None = None, **more: Any) -> list[Word]:
        claims = [self.claim(run_id, mode=Mode.DUE, **more) for run_id in run_ids]
        return [answer.word for answer in await self.ask(*claims, by=by)]

    async def waiting(self) -> dict[str, int]:
        found = await self.stage.redis.zrange(keys.DUE, 0, -1, withscores=True)
        return {run_id: int(score) - self.now for run_id, score in found}

    async def end(self, run_id: str, task_id: str = "t", *, by: Admission | None = None, **more: Any) -> bool:
        closing = Closing(run_id, f"close run={run_id}", task_id, **more)
        return (await (by or self.me).close([closing]))[0]

    async def statuses(self) -> list[str]:
        entries = await self.stage.redis.xrange(keys.JOURNAL)
        lines = [line for _, fields in entries for line in fields.values()]
        return [line.partition(" status=")[2].partition(" due=")[0] for line in lines if " status=" in line]


def a_run(run_id: str, attempt: int = 1, quota_id: str | None = None) -> Run:
    return Run(run_id, "t", Trigger.MANUAL, None, 0, quota_id, 0, attempt)


@pytest.fixture
def story() -> Story:
    return Story()


def words(answers: Sequence[Answer]) -> list[Word]:
    return [answer.word for answer in answers]


G, W = Word.GRANTED, Word.WAITING


async def test_starts_of_a_task_with_a_rate_are_spaced_evenly_and_in_order(story: Story) -> None:
    await story.rate("2/s")
    answers = await story.trigger("a", "b", "c")
    assert words(answers) == [G, W, W]
    assert await story.waiting() == {"b": 500_000, "c": SECOND}
    assert await story.statuses() == ["running", "waiting reason=rate", "waiting reason=rate"]
    story.passes(0.5)
    assert await story.due("b") == [G]
    assert await story.waiting() == {"c": 500_000}


async def test_a_burst_starts_at_once_and_then_the_rate_holds(story: Story) -> None:
    await story.rate("60/m burst 3")
    answers = await story.trigger("a", "b", "c", "d", "e")
    assert words(answers) == [G, G, G, W, W]
    assert await story.waiting() == {"d": SECOND, "e": 2 * SECOND}


async def test_what_is_late_does_not_bunch_up(story: Story) -> None:
    """All daemons were dead for a while: the waiting runs do not start together afterwards."""
    await story.rate("1/s")
    await story.trigger("a", "b", "c", "d")
    story.passes(60)
    assert await story.due("b", "c", "d") == [G, W, W]
    assert await story.waiting() == {"c": SECOND, "d": 2 * SECOND}
    assert words(await story.trigger("new")) == [W]
    assert (await story.waiting())["new"] == 3 * SECOND


async def test_one_that_is_late_starts_at_once_and_the_others_follow_it(story: Story) -> None:
    await story.rate("1/m")
    await story.trigger("a", "b", "c", "d")
    story.passes(70)
    assert await story.due("b") == [G]
    story.passes(50)  # the turn that c was told
    assert await story.due("c") == [W]
    assert await story.waiting() == {"c": 10 * SECOND, "d": 60 * SECOND}


async def test_a_start_that_is_a_little_late_does_not_move_the_next_one(story: Story) -> None:
    await story.rate("2/s")
    await story.trigger("a", "b", "c")
    story.passes(0.6)
    assert await story.due("b") == [G]
    story.passes(0.4)
    assert await story.due("c") == [G]


async def test_a_run_asked_for_too_early_waits_on(story: Story) -> None:
    await story.rate("1/s")
    await story.trigger("a", "b", "c")
    await story.stage.redis.zadd(keys.DUE, {"b": 0, "c": 0}, xx=True)
    assert await story.due("b", "c") == [W, W]
    assert await story.waiting() == {"b": SECOND, "c": 2 * SECOND}


async def test_turns_of_runs_that_never_start_are_nobodys(story: Story) -> None:
    await story.rate("1/m")
    assert words(await story.trigger(*"abcdef")) == [G] + [W] * 5
    assert words(await story.trigger(*"ghijk")) == [Word.FULL] * 5
    for run_id in "bcdef":
        await story.me.cancel(run_id, "t", None, "close run=x status=cancelled")
    await story.trigger("next")
    assert await story.waiting() == {"next": 60 * SECOND}


async def test_units_that_are_there_are_kept_for_the_one_whose_turn_is_not(story: Story) -> None:
    """Others stand in line for the same units all the time; a run with a rate is not overtaken by them for ever."""
    await story.rate("6/m")
    await story.stage.define(make_quota(id="q", capacity=1, refill_rate=1))
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO, "until_us": story.now + 3600 * SECOND}
    await story.trigger("p1", "p2", **terms)
    await story.ask(*[story.claim(f"o{number}", "other", **terms) for number in (1, 2)])
    started: list[str] = []
    for _ in range(40):
        story.passes(1)
        found = await story.stage.redis.zrangebyscore(keys.DUE, 0, story.now)
        for run_id in found:
            task_id = "t" if run_id.startswith("p") else "other"
            answer = await story.ask(story.claim(run_id, task_id, mode=Mode.DUE, **terms))
            if words(answer) == [G]:
                started.append(run_id)
                if task_id == "other":  # there is always another one
                    await story.ask(story.claim(run_id + "x", "other", **terms))
    assert "p2" in started


async def test_a_changed_rate_holds_for_those_who_wait_already(story: Story) -> None:
    await story.rate("1/h")
    await story.trigger("a", "b", "c")
    assert await story.waiting() == {"b": 3600 * SECOND, "c": 7200 * SECOND}
    rate = parse_rate("1/s")
    assert rate is not None
    await story.me.pace("t", rate.pace)
    assert await story.me.wake(" task=t ", "paced") == 2
    assert await story.due("b", "c") == [W, W]
    assert await story.waiting() == {"b": SECOND, "c": 2 * SECOND}
    story.passes(1)
    assert await story.due("b") == [G]


async def test_what_waits_for_units_starts_in_order_when_they_are_there(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=1, refill_rate=1))
    until = story.now + 30 * SECOND
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO, "until_us": until}
    assert words(await story.trigger("a", "b", "c", **terms)) == [G, W, W]
    assert await story.waiting() == {"b": SECOND, "c": 2 * SECOND}
    story.passes(1)
    assert words(await story.trigger("new", **terms)) == [W]  # those in line come first
    assert await story.due("b", **terms) == [G]
    assert words(await story.trigger("newer", **terms)) == [W]
    story.passes(1)
    assert await story.due("c", **terms) == [G]
    story.passes(1)
    assert await story.due("new", "newer", **terms) == [G, W]
    assert await story.stage.redis.hget(keys.quota("q"), "waiting") == "1"


async def test_who_does_not_wait_or_not_long_enough_is_limited(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=1, refill_rate=1))
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO}
    await story.trigger("a", **terms)
    assert words(await story.trigger("b", **terms)) == [Word.LIMITED]
    assert words(await story.trigger("c", until_us=story.now + 900_000, **terms)) == [Word.LIMITED]
    assert words(
        await story.trigger("d", until_us=story.now + 60 * SECOND, quota_id="q", cost_micro=2 * MICRO)
    ) == [Word.IMPOSSIBLE]
    assert await story.waiting() == {}


async def test_a_later_start_waits_and_is_charged_only_then(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=1, refill_rate=0))
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO}
    assert words(await story.trigger("later", not_before_us=story.now + 5 * SECOND, **terms)) == [W]
    assert words(await story.trigger("now", **terms)) == [G]
    story.passes(5)
    assert await story.due("later", **terms) == [Word.LIMITED]
    assert await story.stage.redis.exists(keys.run("later")) == 0


async def test_what_is_not_worth_starting_any_more_is_skipped(story: Story) -> None:
    expires = story.now + 2 * SECOND
    await story.trigger("a", not_before_us=story.now + SECOND, expires_us=expires)
    story.passes(3)
    assert await story.due("a", expires_us=expires) == [Word.EXPIRED]
    assert (await story.statuses())[-1] == "skipped reason=expired"


async def test_only_so_many_runs_of_a_task_at_once_over_all_daemons(story: Story) -> None:
    assert words(await story.ask(story.claim("a", max_running=2))) == [G]
    assert words(await story.ask(story.claim("b", max_running=2), by=story.you)) == [G]
    assert words(await story.trigger("c", max_running=2)) == [Word.OVERLAP]
    assert await story.end("a")
    assert words(await story.trigger("d", max_running=2)) == [G]


async def test_one_too_many_waits_and_is_due_as_soon_as_there_is_room(story: Story) -> None:
    queue: dict[str, Any] = {"max_running": 1, "queues": True}
    assert words(await story.trigger("a", "b", "c", **queue)) == [G, W, Word.OVERLAP]
    assert await story.waiting() == {"b": 5 * SECOND}
    story.passes(0.1)
    assert await story.end("a")
    assert await story.waiting() == {"b": 0}
    assert await story.due("b", **queue) == [G]


async def test_a_daemon_that_died_frees_its_slots_when_its_lease_ends(story: Story) -> None:
    await story.ask(story.claim("a", max_running=1), by=story.you)
    story.passes(7.9)
    assert words(await story.trigger("b", max_running=1)) == [Word.OVERLAP]
    story.passes(0.2)
    assert words(await story.trigger("c", max_running=1)) == [G]


async def test_a_beat_keeps_the_slots_too(story: Story) -> None:
    await story.trigger("a", max_running=1)
    story.passes(7)
    assert await story.me.beat([a_run("a")]) == []
    story.passes(7)
    assert words(await story.trigger("b", max_running=1)) == [Word.OVERLAP]


async def test_what_is_tried_again_by_another_is_out_of_reach_for_the_first(story: Story) -> None:
    """It was frozen, its run was swept and runs elsewhere: neither its beat nor its end counts any more."""
    await story.ask(story.claim("a"), by=story.you)
    story.passes(9)
    again = PutBack(story.now, "open run=a task=t attempt=2", False, CANCELLED)
    assert (
        await story.me.close([Closing("a", "close run=a status=waiting", "t", expired=True, again=again)])
    ) == [True]
    assert await story.due("a", leg="2") == [G]
    assert await story.you.beat([a_run("a")]) == [a_run("a")]
    assert not await story.end("a", by=story.you)
    assert await story.me.beat([a_run("a", attempt=2)]) == []
    assert await story.end("a", leg="2")
    assert not [status for status in await story.statuses() if status.startswith("ok")]


async def test_the_same_daemon_does_not_mistake_an_earlier_attempt_for_the_one_it_runs(story: Story) -> None:
    await story.trigger("a")
    story.passes(9)
    again = PutBack(story.now, "open run=a task=t attempt=2", False, CANCELLED)
    await story.you.close([Closing("a", "close run=a status=waiting", "t", expired=True, again=again)])
    assert await story.due("a", leg="2") == [G]
    assert await story.me.beat([a_run("a"), a_run("a", attempt=2)]) == [a_run("a")]
    assert not await story.end("a")


async def test_a_second_attempt_is_charged_unless_it_is_paid(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=2, refill_rate=0))
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO}
    await story.trigger("a", "b", **terms)
    for run_id, paid in (("a", True), ("b", False)):
        again = PutBack(story.now, f"open run={run_id} task=t attempt=2", paid, CANCELLED)
        assert await story.end(run_id, again=again)
    assert await story.due("a", "b", leg="2", **terms) == [G, Word.LIMITED]


async def test_a_claim_of_what_waited_is_granted_again_to_the_one_whose_answer_was_lost(story: Story) -> None:
    await story.trigger("a", not_before_us=story.now + SECOND)
    story.passes(1)
    assert await story.due("a") == [G]
    assert await story.due("a") == [G]
    assert await story.due("a", by=story.you) == [Word.TAKEN]
    assert (await story.statuses()).count("running") == 1


async def test_no_more_wait_than_may(story: Story) -> None:
    later = story.now + 60 * SECOND
    answers = await story.trigger(*"abcdef", not_before_us=later)
    assert words(answers) == [W] * 5 + [Word.FULL]
    assert (await story.statuses())[-1] == "limited reason=full"


async def test_a_paused_task_keeps_what_waits(story: Story) -> None:
    await story.me.track([Tracked("t")])
    await story.trigger("a", not_before_us=story.now + SECOND)
    await story.me.pause("t", paused=True)
    story.passes(2)
    assert await story.due("a") == [W]
    await story.me.pause("t", paused=False)
    story.passes(1)
    assert await story.due("a") == [G]


async def test_the_tick_that_somebody_wants_left_out_is_skipped_and_no_other(story: Story) -> None:
    start = (await story.me.track([Tracked("t")]))[0].last_tick_us
    await story.me.skip("t", start + 2)
    story.passes(1)
    ticks = [
        story.claim(f"r{number}", mode=Mode.TICK, at_us=start + number, cursor_us=start + number - 1)
        for number in (1, 2, 3)
    ]
    assert words(await story.ask(*ticks)) == [G, Word.SKIP, G]
    assert (await story.statuses())[1] == "skipped reason=skip"


async def test_a_cancelled_run_waits_no_more_and_leaves_the_line(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=1, refill_rate=1))
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO, "until_us": story.now + 60 * SECOND}
    await story.trigger("a", "b", **terms)
    assert await story.me.cancel("b", "t", "q", "close run=b status=cancelled") == "waiting"
    assert await story.me.cancel("b", "t", "q", "close run=b status=cancelled") == "gone"
    assert await story.stage.redis.hget(keys.quota("q"), "waiting") == "0"
    assert await story.due("b", **terms) == [Word.TAKEN]


async def test_a_run_that_runs_is_only_marked_to_be_cancelled_until_it_has_ended(story: Story) -> None:
    await story.trigger("a")
    assert await story.me.cancel("a", "t", None, "close run=a status=cancelled") == "running"
    assert await story.stage.redis.zrange(keys.CANCELS, 0, -1) == ["a"]
    await story.end("a")
    assert await story.stage.redis.zrange(keys.CANCELS, 0, -1) == []


async def test_a_quota_with_slots_lets_only_so_many_run_and_hands_them_over(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=100, refill_rate=0))
    await story.stage.redis.hset(keys.quota("q"), "max_concurrent", "1")
    until = story.now + 60 * SECOND
    assert words(await story.trigger("a", quota_id="q")) == [G]
    assert words(await story.trigger("b", quota_id="q")) == [Word.BUSY]
    assert words(await story.trigger("c", quota_id="q", until_us=until)) == [W]
    story.passes(0.3)
    assert await story.end("a", quota_id="q")
    assert await story.waiting() == {"c": 0}
    assert await story.due("c", quota_id="q", until_us=until) == [G]


async def test_a_run_whose_quota_has_changed_since_it_waits_does_not_break_the_call(story: Story) -> None:
    await story.stage.define(make_quota(id="q", capacity=1, refill_rate=1))
    terms: dict[str, Any] = {"quota_id": "q", "cost_micro": MICRO, "until_us": story.now + 60 * SECOND}
    await story.trigger("a", "b", **terms)
    story.passes(2)
    assert await story.due("b") == [G]  # its task has no quota any more


async def test_a_put_back_that_is_repeated_leaves_alone_what_runs_by_then(story: Story) -> None:
    await story.trigger("a")
    again = PutBack(story.now, "open run=a task=t attempt=1", True, CANCELLED)
    assert await story.end("a", again=again)
    assert await story.due("a", leg="1.1") == [G]
    assert not await story.end("a", again=again)
    assert await story.me.beat([a_run("a")._replace(plan=Plan(put_back=1))]) == []


async def test_a_cancelled_run_is_not_tried_again(story: Story) -> None:
    await story.trigger("a")
    assert await story.me.cancel("a", "t", None, CANCELLED) == "running"
    again = PutBack(story.now, "open run=a task=t attempt=2", False, "close run=a status=cancelled")
    assert await story.end("a", again=again)
    assert await story.waiting() == {}
    assert (await story.statuses())[-1] == "cancelled"


async def test_what_was_charged_and_put_back_waits_for_a_slot_rather_than_being_refused(story: Story) -> None:
    await story.trigger("a", max_running=1)
    again = PutBack(story.now, "open run=a task=t attempt=1", True, CANCELLED)
    assert await story.end("a", again=again)
    await story.trigger("b", max_running=1)
    assert await story.due("a", leg="1.1", max_running=1) == [W]


async def test_a_lost_answer_is_told_again_as_it_was(story: Story) -> None:
    (first,) = await story.trigger("a")
    story.passes(2)
    assert await story.trigger("a") == [first]


async def test_a_paused_run_that_has_expired_is_over(story: Story) -> None:
    await story.me.track([Tracked("t")])
    expires = story.now + 5 * SECOND
    await story.trigger("a", not_before_us=story.now + SECOND, expires_us=expires)
    await story.me.pause("t", paused=True)
    story.passes(6)
    assert await story.due("a", expires_us=expires) == [Word.EXPIRED]


async def test_a_changed_rate_wakes_only_those_who_wait_for_their_turn(story: Story) -> None:
    await story.rate("1/h")
    await story.trigger("a", "b")
    await story.trigger("later", not_before_us=story.now + 9 * SECOND)
    assert await story.me.wake(" task=t ", "paced") == 1
    assert await story.waiting() == {"b": -story.now, "later": 9 * SECOND}
