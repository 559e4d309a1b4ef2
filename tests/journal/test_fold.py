"""Facts become rows; the same facts always give the same rows."""

from hypothesis import given
from hypothesis import strategies as st

from quotaflow import facts
from quotaflow.journal.fold import Fact, fold
from quotaflow.model import Status

OPENED = {
    "run": "r1",
    "task": "t",
    "trigger": "cron",
    "at": 5,
    "cost": 1,
    "attempt": 1,
    "instance": "i",
    "claimed": 6,
}
CLOSED = {**OPENED, "started": 7, "finished": 8, "latency_ms": "1.5", "wait_ms": "0.5"}


def opened(status: str = "running", **more: object) -> Fact:
    return Fact("e1", facts.encode("open", {**OPENED, "status": status, **more}))  # type: ignore[dict-item]


def closed(status: str = "ok", **more: object) -> Fact:
    return Fact("e2", facts.encode("close", {**CLOSED, "status": status, **more}))  # type: ignore[dict-item]


def test_a_claim_opens_a_row() -> None:
    folded = fold([opened()])
    assert [row.status for row in folded.opened] == [Status.RUNNING]
    assert (folded.closed, folded.dead) == ([], [])


def test_an_end_in_the_same_batch_stands_for_its_beginning() -> None:
    folded = fold([opened(), closed()])
    assert folded.opened == []
    assert folded.closed[0].latency_ms == 1.5
    assert folded.closed[0].scheduled_for_us == 5


def test_the_first_end_of_a_run_stands() -> None:
    folded = fold([closed(status="lost"), closed(status="ok")])
    assert [row.status for row in folded.closed] == [Status.LOST]


def test_garbage_is_set_aside_with_its_reason_and_harms_no_other() -> None:
    bad = [
        "",
        "nonsense",
        "open",
        "open run=r",
        "close a=b=c d",
        "open " + "x" * 10_000,
        "open run=r1 claimed=now",
    ]
    folded = fold([opened(), *[Fact(f"bad{n}", line) for n, line in enumerate(bad)]])
    assert len(folded.opened) == 1
    assert {dead.event_id for dead in folded.dead} == {f"bad{n}" for n in range(len(bad))}
    assert all(dead.error.startswith("not a fact") for dead in folded.dead)


def test_an_unknown_status_is_garbage_and_not_a_guess() -> None:
    assert fold([opened(status="jolly")]).dead[0].event_id == "e1"


words = st.dictionaries(st.sampled_from(["a", "b", "error"]), st.one_of(st.text(), st.integers(), st.none()))


@given(words)
def test_what_is_encoded_is_read_back_whatever_it_holds(fields: dict[str, str | int | None]) -> None:
    line = facts.encode("close", fields)
    assert "\n" not in line
    kind, read = facts.decode(line)
    assert kind == "close"
    assert read == {key: str(value) for key, value in fields.items() if value is not None}
