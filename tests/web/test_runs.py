"""The page of one run: what happened, why it ended so, what would help; and cancelling it."""

import json
import re
from html import unescape
from typing import Any

import httpx
import pytest

from quotaflow.amounts import MICRO
from quotaflow.edges.web.advice import advice_of
from quotaflow.edges.web.steps import line_of, steps_of
from quotaflow.edges.web.words import EN, ZH, Words
from quotaflow.edges.web.words_zh import CHINESE
from quotaflow.model import QuotaKind, Reason, Status, Trigger, make_quota
from quotaflow.records import Batch, Trace
from tests.http.house import House, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "\"><img src=x onerror=alert(1)><script>alert('x')</script>"
AT = 1_750_000_000_000_000
BUCKET = make_quota(id="q", name="Calls", capacity=10, refill_rate=2)


def trace(**fields: Any) -> Trace:
    return Trace("r", "t", Trigger.CRON, Status.OK, AT, quota_id="q")._replace(**fields)


async def triggered(house: House, task: str, **wishes: Any) -> str:
    """Run a task; return the run's id when its trace is there."""
    run_id = (await house.qf.trigger(task, **wishes)).run_id

    async def written() -> bool:
        answer = await house.client.get(f"/api/traces/{run_id}")
        return answer.status_code == 200 and answer.json()["status"] != "running"

    await until(written)
    return run_id


def plain(page: str) -> str:
    """Return what a reader sees, tags taken away."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split('<main id="main"')[1])))


async def test_a_newcomer_reads_why_a_run_was_limited_and_what_helps(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("for_tasks", capacity=1, refill_rate=0.01)
    await triggered(house, "fetch")
    run_id = await triggered(house, "fetch")
    shown = plain((await signed_in.get(f"/traces/{run_id}")).text)
    assert "A run costs 1, and the quota for_tasks had less than that at that moment." in shown
    assert "It refills by 0.01 per second: what a run costs is back in 1m 40s." in shown
    assert 'on_limit="wait"' in shown
    assert "Decision not enough units at that moment" in shown
    assert "Units charged 0" in shown
    page = (await signed_in.get(f"/traces/{run_id}", headers={"accept-language": "zh"})).text
    assert 'href="/quotas/for_tasks"' in page
    assert 'href="/tasks/fetch"' in page
    assert "一次运行需要 1 额度" in page


async def test_an_error_is_whole_on_the_page_of_its_run(house: House, signed_in: httpx.AsyncClient) -> None:
    await house.plenty()
    run_id = await triggered(house, "fails")
    page = (await signed_in.get(f"/traces/{run_id}")).text
    assert re.search(r'<pre tabindex="0">the moon is down</pre>', page)
    assert "<code>ValueError</code>" in page
    shown = plain(page)
    assert re.search(r"Claimed .* somebody asked for it", shown)
    assert re.search(r"Attempt 1 .* failed ValueError the moon is down Finished", shown)
    assert "Decision it was let through" in shown
    assert page.count("<rect class=") == 2


async def test_what_can_never_run_says_so(house: House, signed_in: httpx.AsyncClient) -> None:
    await house.plenty()
    run_id = await triggered(house, "greedy")
    shown = plain((await signed_in.get(f"/traces/{run_id}")).text)
    assert "It asks for more units than the quota plenty holds when it is full (1,000)" in shown


async def test_a_run_without_its_quota_says_which_one_to_make(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    run_id = await triggered(house, "orphan")
    shown = plain((await signed_in.get(f"/traces/{run_id}")).text)
    assert "There was no quota called nobody." in shown
    assert "nobody there is no such quota now" in shown


async def test_a_waiting_run_says_until_when_and_is_cancelled(
    house: House, signed_in: httpx.AsyncClient, viewing: httpx.AsyncClient
) -> None:
    run_id = await triggered(house, "nightly", countdown=3600)
    path = f"/traces/{run_id}"
    shown = plain((await signed_in.get(path)).text)
    assert "It was asked to start later." in shown
    assert re.search(r"Waits .* until \S+ at least", shown)
    assert "Cancel the run" not in (await viewing.get(path)).text
    assert (await viewing.post(path, data={"do": "cancel"})).status_code == 403
    answer = await signed_in.post(path, data={"do": "cancel"})
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    assert "The run is cancelled." in (await signed_in.get(path)).text

    async def ended() -> bool:
        return bool((await house.client.get(f"/api/traces/{run_id}")).json()["status"] == "cancelled")

    await until(ended)
    page = (await signed_in.get(path)).text
    assert "Somebody cancelled it." in page
    assert "Cancel the run" not in page


async def test_a_run_that_was_cancelled_while_it_waited_was_not_let_through(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    run_id = await triggered(house, "fetch", countdown=3600)
    path = f"/traces/{run_id}"
    assert "Decision waiting: it was asked to start later" in plain((await signed_in.get(path)).text)
    await signed_in.post(path, data={"do": "cancel"})

    async def ended() -> bool:
        return "Somebody cancelled it." in (await signed_in.get(path)).text

    await until(ended)
    assert "Decision it was not let through: its request was cancelled" in plain(
        (await signed_in.get(path)).text
    )


@pytest.mark.parametrize(("language", "told"), [("en", "has ended: ok"), ("zh", "已结束：ok")])
async def test_what_has_ended_cannot_be_cancelled(
    house: House, signed_in: httpx.AsyncClient, language: str, told: str
) -> None:
    run_id = await triggered(house, "nightly")
    answer = await signed_in.post(
        f"/traces/{run_id}", data={"do": "cancel"}, headers={"accept-language": language}
    )
    assert answer.status_code == 422
    assert re.search(rf'role="alert">[^<]*{told}<', answer.text)


async def test_a_form_that_is_not_known_is_refused(house: House, signed_in: httpx.AsyncClient) -> None:
    run_id = await triggered(house, "nightly")
    assert (await signed_in.post(f"/traces/{run_id}", data={"do": "explode"})).status_code == 422


async def test_a_run_that_is_not_recorded_yet_is_waited_for(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    now_us = house.qf._base.clock.wall_us()
    young = await signed_in.get(f"/traces/{now_us:014x}-a1b2c3-000001")
    assert (young.status_code, "not recorded yet" in young.text) == (200, True)
    assert re.search(r'<section id="run" class="live"', young.text)
    for run_id in (
        f"{now_us - 3_600 * MICRO:014x}-a1b2c3-000001",
        "nobody",
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ):
        gone = await signed_in.get(f"/traces/{run_id}")
        assert (gone.status_code, "No run with this id" in gone.text) == (404, True)
        assert 'class="live"' not in gone.text
        assert "<script>alert" not in gone.text


async def test_an_id_that_cannot_be_one_is_refused(signed_in: httpx.AsyncClient) -> None:
    assert (await signed_in.get(f"/traces/{'x' * 200}")).status_code == 422


async def test_hostile_names_are_only_names(house: House, signed_in: httpx.AsyncClient) -> None:
    tries = json.dumps([[AT, AT + 5, "failed", EVIL, EVIL], [AT + 9, AT + 10, "dead", EVIL, EVIL]])
    row = trace(
        run_id="hostile", task_id=EVIL, quota_id=EVIL, status=Status.DEAD, started_us=AT + 9, finished_us=AT + 10,
        error_type=EVIL, error=EVIL, instance_id=EVIL, tries=tries, attempt=2,
    )  # fmt: skip
    await house.qf.store.write_batch(Batch(closed=[row]))
    page = (await signed_in.get("/traces/hostile")).text
    assert page.count("&lt;script&gt;") >= 6
    assert "<img src=x" not in page
    assert "<script>alert" not in page


async def test_a_viewer_sees_a_run_without_its_forms(house: House, viewing: httpx.AsyncClient) -> None:
    run_id = await triggered(house, "nightly")
    page = await viewing.get(f"/traces/{run_id}")
    assert (page.status_code, 'name="do"' in page.text) == (200, False)


async def test_the_steps_of_a_run_that_was_tried_again() -> None:
    tries = json.dumps([[AT + 10, AT + 20, "failed", "E", "x"], [AT + 50, AT + 90, "ok", None, None]])
    row = trace(started_us=AT + 50, finished_us=AT + 90, attempt=2, tries=tries)
    told = [
        (step.number, step.began_us - AT, step.ended_us, step.status, step.reason) for step in steps_of(row)
    ]
    assert told == [
        (0, 0, AT + 10, Status.WAITING, None),
        (1, 10, AT + 20, Status.FAILED, None),
        (0, 20, AT + 50, Status.WAITING, Reason.RETRY),
        (2, 50, AT + 90, Status.OK, None),
    ]
    line = line_of(row._replace(scheduled_for_us=AT - 10), steps_of(row), AT + 500)
    assert line is not None
    assert (line.began_us, line.ended_us) == (AT - 10, AT + 90)
    assert [(bar.x, bar.width) for bar in line.bars] == [(10, 10), (20, 10), (30, 30), (60, 40)]


async def test_the_steps_of_a_run_that_waits_to_be_tried_again() -> None:
    tries = json.dumps([[AT, AT + 20, "failed", "E", "x"]])
    row = trace(status=Status.WAITING, reason=Reason.RETRY, attempt=2, tries=tries, due_us=AT + 900)
    steps = steps_of(row)
    assert [(step.number, step.ended_us, step.reason) for step in steps] == [
        (1, AT + 20, None),
        (0, None, Reason.RETRY),
    ]
    line = line_of(row, steps, AT + 100)
    assert line is not None
    assert line.bars[-1].x + line.bars[-1].width == 100


async def test_when_an_open_attempt_began_is_not_known_exactly() -> None:
    (step,) = steps_of(trace(status=Status.RUNNING))
    assert (step.number, step.roughly, step.took_s) == (1, True, None)


async def test_a_refused_run_took_no_time() -> None:
    row = trace(status=Status.LIMITED, reason=Reason.LIMITED)
    assert steps_of(row) == []
    assert line_of(row, [], AT) is None


async def test_the_shortest_step_can_still_be_seen() -> None:
    row = trace(started_us=AT + 1, finished_us=AT + 100_000_000)
    line = line_of(row, steps_of(row), AT)
    assert line is not None
    assert [bar.width for bar in line.bars] == [0.5, 100]
    late = trace(status=Status.WAITING, started_us=AT + 1, finished_us=AT + 100_000_000)
    line = line_of(late, steps_of(late), AT + 100_000_000)
    assert line is not None
    assert line.bars[-1].x + line.bars[-1].width == 100


REFUSALS = [(Status.LIMITED, reason) for reason in (Reason.LIMITED, Reason.IMPOSSIBLE, Reason.EXHAUSTED, Reason.BUSY,
    Reason.FULL)]  # fmt: skip
SKIPS = [(Status.SKIPPED, reason) for reason in (Reason.DISABLED, Reason.MISSING, Reason.EXPIRED, Reason.PAUSED,
    Reason.SKIP, Reason.OVERLAP)]  # fmt: skip
WAITS = [(Status.WAITING, reason) for reason in (Reason.LIMITED, Reason.RATE, Reason.DELAYED, Reason.RETRY,
    Reason.BUSY, Reason.OVERLAP)]  # fmt: skip
ENDS = [
    (Status.MISSED, Reason.MISFIRE),
    (Status.LOST, Reason.CRASHED),
    (Status.INTERRUPTED, Reason.SHUTDOWN),
    (Status.CANCELLED, Reason.CANCELLED),
    (Status.OK, Reason.SOFT_LIMIT),
    (Status.FAILED, None),
    (Status.DEAD, None),
    (Status.SOFT_TIMEOUT, None),
    (Status.HARD_TIMEOUT, None),
    (Status.STUCK, None),
]


@pytest.mark.parametrize(("status", "reason"), [*REFUSALS, *SKIPS, *WAITS, *ENDS])
async def test_every_ending_is_explained_in_both_languages(status: Status, reason: Reason | None) -> None:
    advice = advice_of(trace(status=status, reason=reason), BUCKET, MICRO)
    assert advice is not None
    for text in (advice.happened, *advice.helps):
        assert text in CHINESE
        for language in (EN, ZH):
            assert "{" not in Words(language)(text, **advice.values)


async def test_a_run_that_went_well_needs_no_advice() -> None:
    for status in (Status.OK, Status.RUNNING):
        assert advice_of(trace(status=status), BUCKET, MICRO) is None


@pytest.mark.parametrize(
    ("changes", "quota", "cost", "told"),
    [
        ({}, BUCKET, 3 * MICRO, "It refills by {rate} per second: what a run costs is back in {time}."),
        (
            {},
            make_quota(id="q", capacity=1, refill_rate=0),
            MICRO,
            "It never refills by itself: its rate is 0.",
        ),
        (
            {},
            None,
            None,
            'Let runs wait for units instead of giving up: on_limit="wait" in the task\'s code.',
        ),
        (
            {"trigger": Trigger.CALL},
            make_quota(id="q", total=5, kind=QuotaKind.ALLOWANCE),
            None,
            "Give a call more time: max_wait=60 in @LimitCallTask lets it wait in line for units.",
        ),
    ],
)
async def test_what_helps_depends_on_the_quota(
    changes: dict[str, Any], quota: Any, cost: Any, told: str
) -> None:
    advice = advice_of(trace(status=Status.LIMITED, reason=Reason.LIMITED, **changes), quota, cost)
    assert advice is not None
    assert advice.helps[0] == told
