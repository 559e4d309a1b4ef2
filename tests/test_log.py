"""The log: one output for all, no forged lines, no secrets."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from quotaflow import log
from quotaflow.log import Event, configure, get_logger, printable

SECRET = "hunter2-canary"
FORGED = "x\n2026-01-01T00:00:00Z [error    ] forged \x1b[2J\x9b1m\u2028\r\u202e"


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


@pytest.fixture(autouse=True)
def as_it_was_before() -> Iterator[None]:
    """Put back what is set up for the whole process."""
    names = ("", *log._TALKATIVE, *log._OWN_HANDLERS)
    before = [(logger, logger.handlers[:], logger.level) for logger in map(logging.getLogger, names)]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def output(
    format_: Literal["auto", "console", "json"] = "json", stream: io.StringIO | None = None
) -> io.StringIO:
    stream = io.StringIO() if stream is None else stream
    configure(format_, "info", stream)
    return stream


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_is_one_object_with_event_level_time_and_fields() -> None:
    stream = output()
    get_logger(room="runner").info(Event.RUN_FINISHED, task_id="a", latency_ms=1.5, attempt=1)
    (record,) = records(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", record.pop("timestamp"))
    fields = {"room": "runner", "task_id": "a", "latency_ms": 1.5, "attempt": 1}
    assert record == {"event": "run.finished", "level": "info", **fields}


@pytest.mark.parametrize("name", ["uvicorn.error", "sqlalchemy.engine", "asyncio", "shop.tasks"])
def test_other_libraries_leave_through_the_same_output(name: str) -> None:
    stream = output()
    logging.getLogger(name).warning("%s is %d", "it", 3)
    (record,) = records(stream)
    assert (record["event"], record["level"], record["logger"]) == ("it is 3", "warning", name)


def test_libraries_that_report_every_statement_start_at_warning() -> None:
    stream = output()
    for name in ("aiosqlite", "httpx", "sqlalchemy.engine.Engine"):
        logging.getLogger(name).info("SELECT 1")
    logging.getLogger("shop.tasks").info("shown")
    assert [record["event"] for record in records(stream)] == ["shown"]


def test_the_handlers_that_uvicorn_brings_do_not_write_a_line_twice() -> None:
    theirs = io.StringIO()
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(theirs))
    stream = output()
    logging.getLogger("uvicorn.error").warning("started")
    assert (len(records(stream)), theirs.getvalue()) == (1, "")


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure("json", "error", stream)
    get_logger().warning(Event.REDIS_AWAY)
    logging.getLogger("sqlalchemy").warning("slow")
    get_logger().error(Event.STORE_AWAY)
    assert [record["event"] for record in records(stream)] == ["store.away"]


def test_configuring_again_replaces_the_output() -> None:
    first, logger = output(), get_logger()
    second = output()
    logger.info(Event.REDIS_BACK)
    assert (first.getvalue(), len(records(second))) == ("", 1)


@pytest.mark.parametrize(("stream", "colours"), [(io.StringIO(), False), (Terminal(), True)])
def test_auto_draws_for_people_on_a_terminal_only(stream: io.StringIO, colours: bool) -> None:
    output("auto", stream)
    get_logger().info(Event.REDIS_BACK)
    assert ("\x1b[" in stream.getvalue()) is colours
    assert stream.getvalue().startswith("{") is not colours


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    get_logger().info(Event.REDIS_BACK)
    assert json.loads(capsys.readouterr().err)["event"] == "redis.back"


@pytest.mark.parametrize("format_", ["console", "json"])
def test_no_value_can_begin_a_line_or_speak_to_the_terminal(format_: Literal["console", "json"]) -> None:
    stream = output(format_)
    get_logger().info(
        FORGED, task_id=FORGED, nested={FORGED: [FORGED]}, other=Exception(FORGED), **{FORGED: 1}
    )
    logging.getLogger("uvicorn.access").info("GET %s", FORGED)
    text = stream.getvalue()
    assert len(text.splitlines()) == text.count("\n") == 2
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("format_", ["console", "json"])
def test_no_exception_can_forge_a_line(format_: Literal["console", "json"]) -> None:
    stream = output(format_)
    get_logger().error(Event.RUN_FAILED, exc_info=ValueError(FORGED))
    logging.getLogger("asyncio").error("lost", exc_info=ValueError(FORGED))
    assert stream.getvalue().replace("\n", "").isprintable()
    assert len([line for line in stream.getvalue().splitlines() if not line.startswith("  | ")]) == 2
    assert stream.getvalue().count("ValueError: x") == 2


def test_an_exception_being_handled_is_shown_with_its_traceback() -> None:
    stream = output()
    try:
        int("x")
    except ValueError:
        get_logger().exception(Event.RUN_FAILED)
    (record,) = records(stream)
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("invalid literal for int() with base 10: 'x'")


def test_chinese_names_stay_readable_for_people() -> None:
    stream = output("console")
    get_logger().info(Event.RUN_SKIPPED, task_id="获取股票数据")
    assert "task_id=获取股票数据" in stream.getvalue()


@pytest.mark.parametrize("text", ["plain", "获取 股票", "é"])
def test_printable_text_is_left_alone(text: str) -> None:
    assert printable(text) == text


def test_text_that_is_not_printable_is_escaped() -> None:
    assert printable("a\n\x1b\x9b\u2028\ud800b") == r"a\n\x1b\x9b\u2028\ud800b"


@pytest.mark.parametrize("format_", ["console", "json"])
@pytest.mark.parametrize(
    "fields",
    [
        {"admin_token": SECRET},
        {"Authorization": f"Basic {SECRET}"},
        {"db_password": SECRET.encode()},
        {"secret_key": {"inner": SECRET}},
        {"headers": [{"authorization": SECRET}, ("token", {"token": SECRET})]},
        {"text": f"Authorization: Bearer {SECRET}, next"},
        {"text": f"host=h password={SECRET} port=1"},
        {"url": f"redis://:{SECRET}@h:1/0"},
        {"url": f"unix:///s?password={SECRET}&db=1"},
        {"url": [f"see 'postgresql+asyncpg://u:a@b/c:{SECRET}@h/db'"]},
        {"error": ValueError(f"redis://u:{SECRET}@h")},
        {"error": f"cannot reach redis://u:{SECRET}@h"},
    ],
)
def test_a_secret_never_reaches_the_output(
    format_: Literal["console", "json"], fields: dict[str, object]
) -> None:
    stream = output(format_)
    get_logger().info(Event.REDIS_AWAY, **fields)
    assert "***" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_a_secret_in_an_exception_or_in_another_library_is_blanked_too() -> None:
    stream = output()
    error = ConnectionError(f"postgresql://u:{SECRET}@h/db")
    get_logger().error(Event.STORE_AWAY, exc_info=error)
    logging.getLogger("sqlalchemy.pool").error("postgresql://u:%s@h", SECRET, exc_info=error)
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("postgresql://u:***@h") == 3


def test_what_is_no_secret_stays() -> None:
    stream = output()
    fields: dict[str, Any] = {
        "token_id": "t1",
        "tokens": 5,
        "url": "http://h:80/a?b=1",
        "mail": "a:b@c",
        "rate": 0.5,
        "reason": None,
        "late": True,
    }
    get_logger().info(Event.QUOTA_REFUSED, **fields)
    (record,) = records(stream)
    assert {name: record[name] for name in fields} == fields


def test_what_json_cannot_say_is_said_in_text() -> None:
    stream = output()
    get_logger().info(Event.QUOTA_REFUSED, rate=float("nan"), ids={"a"}, kind=int)
    (record,) = records(stream)
    assert (record["rate"], record["ids"], record["kind"]) == ("nan", ["a"], "<class 'int'>")


def test_an_application_that_sets_up_logging_itself_still_gets_our_records(
    caplog: pytest.LogCaptureFixture,
) -> None:
    get_logger().warning(Event.FENCE_LOST, password=SECRET)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("quotaflow", "WARNING")
    assert "fence.lost" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_long_texts_are_searched_for_secrets_in_linear_time() -> None:
    """A pattern that backtracks needs minutes for these."""
    for piece in ("://:", "://:@ ", "bearer ", "password=", "bearer" + " " * 100):
        log._blank_text(piece * (200_000 // len(piece)) + "://@")


def test_every_event_name_is_a_noun_and_what_happened_to_it() -> None:
    assert len(Event) == 47
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", event) for event in Event)
