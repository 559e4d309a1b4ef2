"""The demo's window: events in a few words, and nothing that could break the terminal."""

import logging
from collections.abc import Iterator

import pytest

from quotaflow.edges.cli.live import Live, line_of
from quotaflow.log import Event, get_logger


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"event": Event.RUN_FINISHED, "task_id": "a", "latency_ms": 3.2}, ["a", "ok", "3.2", "ms"]),
        (
            {"event": Event.RUN_LIMITED, "task_id": "a", "quota_id": "q", "retry_after_s": 0.84},
            ["a", "429", "q:", "again", "in", "0.8", "s"],
        ),
        (
            {"event": Event.RUN_LIMITED, "task_id": "a", "quota_id": "q", "retry_after_s": None},
            ["a", "429", "q:", "never", "enough"],
        ),
        (
            {"event": Event.RUN_FAILED, "task_id": "a", "status": "failed", "error_type": "E", "error": "no"},
            ["a", "failed", "E:", "no"],
        ),
        ({"event": Event.RUN_FAILED, "task_id": "a", "status": "interrupted"}, ["a", "interrupted"]),
        ({"event": Event.RUN_SKIPPED, "task_id": "a", "reason": "paused"}, ["a", "skipped", "paused"]),
        ({"event": Event.REDIS_AWAY, "room": "limiter", "error": "x"}, ["!", "redis.away", "error=x"]),
    ],
)
def test_an_event_is_a_line_of_a_few_words(fields: dict[str, object], words: list[str]) -> None:
    line = line_of(fields, is_warning=True)
    assert line is not None
    assert line.split() == words


def test_what_is_neither_an_ending_nor_a_warning_is_not_shown() -> None:
    assert line_of({"event": Event.FENCE_RECOVERED}, is_warning=False) is None


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Give the logger that the rooms write to; it is as before afterwards."""
    logger = logging.getLogger("quotaflow")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    logger.handlers, level, logger.propagate = before
    logger.setLevel(level)


def test_a_window_shows_what_the_rooms_log_and_escapes_it(logger: logging.Logger) -> None:
    shown: list[str] = []
    Live(shown.append, lambda: None).attach()
    get_logger(room="closing").debug(Event.RUN_FINISHED, task_id="a\x1b[2J", latency_ms=1)
    logger.info("not worth a line")
    (line,) = shown
    assert r"a\x1b[2J" in line


def test_a_window_that_nobody_reads_closes_once(logger: logging.Logger) -> None:
    closed: list[bool] = []

    def write(_line: str) -> None:
        raise BrokenPipeError

    Live(write, lambda: closed.append(True)).attach()
    for _ in range(2):
        get_logger(room="closing").debug(Event.RUN_FINISHED, task_id="a", latency_ms=1)
    assert closed == [True]
    assert not any(isinstance(handler, Live) for handler in logger.handlers)
