"""structlog set-up, and the one list of event names.

Every line leaves through one handler on the root logger, ours and other libraries' alike, after the same two
guards: secrets are blanked, and no value can begin a new line or speak to the terminal.
"""

import logging
import math
import re
import sys
from enum import StrEnum
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

# These report every statement or request at info or debug, with its parameters.
_TALKATIVE = ("aiosqlite", "alembic", "asyncio", "httpcore", "httpx", "sqlalchemy")
# uvicorn brings handlers of its own; without them its records reach the root. (Also pass it log_config=None.)
_OWN_HANDLERS = ("uvicorn", "uvicorn.access", "uvicorn.error")

_SECRET_KEY = re.compile(r"secret|token|password|authorization", re.IGNORECASE)
_HARMLESS_KEY = re.compile(r"_(id|prefix)$", re.IGNORECASE)  # token_id names a token without being one
_SECRET_TEXT = re.compile(
    r"(\bbearer\s+|(?:secret|token|password|authorization)=)[^\s&,;\"')]+", re.IGNORECASE
)


class Event(StrEnum):
    """What the daemon reports. A name is public and stable; its fields stand beside it.

    `_s` fields are seconds, `_ms` milliseconds, `_us` microseconds since 1970 in UTC.
    """

    DAEMON_STARTED = "daemon.started"  # instance_id, data_dir, redis, store, tasks, quotas
    DAEMON_STOPPING = "daemon.stopping"  # instance_id, signal, grace_s
    DAEMON_STOPPED = "daemon.stopped"  # instance_id, runs_interrupted, journal_left
    DAEMON_ABANDONED = "daemon.abandoned"  # left: names of asyncio tasks and threads that do not end
    TICK_MISSED = "tick.missed"  # task_id, scheduled_for, late_s, count
    RUN_FINISHED = "run.finished"  # task_id, run_id, trigger, latency_ms, wait_ms, attempt
    RUN_FAILED = "run.failed"  # task_id, run_id, trigger, latency_ms, attempt, error_type, error
    RUN_LIMITED = "run.limited"  # task_id, run_id, quota_id, reason, retry_after_s
    RUN_SKIPPED = "run.skipped"  # task_id, run_id, reason
    RUN_UNREADABLE = "run.unreadable"  # run_id, task_id, error: it waits and cannot be claimed; it is put off
    RUN_STUCK = "run.stuck"  # run: it was cancelled and does not end
    RUN_AGAIN = "run.again"  # task_id, run_id, attempt, status, error_type, error, after_s
    RUN_LOST = "run.lost"  # task_id, run_id, instance_id, lease_end_us
    SLOT_LOST = "slot.lost"  # quota_id, holder: this process was frozen for longer than its lease
    TASK_OUTPUT = "task.output"  # task_id, run_id, stream, line, cut_bytes: left out after it
    QUEUE_ITEM_FAILED = "queue.item_failed"  # item, error_type, error
    QUEUE_DROPPED = "queue.dropped"  # dropped, done, failed
    QUOTA_REFUSED = "quota.refused"  # quota_id, cost, remaining, reason, retry_after_s
    QUOTA_CHANGED = "quota.changed"  # quota_id, version, actor, capacity, refill_rate, enabled
    QUOTA_DEFINED = "quota.defined"  # quota_id, version, source, capacity, refill_rate, enabled
    TOKEN_CHANGED = "token.changed"  # noqa: S105  token_id, version, actor
    RESERVATION_LATE = (
        "reservation.late"  # subject, request_id: it was given back before its owner settled it
    )
    ORPHAN_FOUND = "ledger.orphan"  # subject, event_id, change
    UPSTREAM_CHANGED = "upstream.changed"  # key_id, provider, change, actor
    UPSTREAM_REFUSED = "upstream.refused"  # key_id, provider, status: what a call with the key told about it
    UPSTREAM_CLOSED = "upstream.closed"  # key_id, provider, error: this process cannot get at its secret
    UPSTREAM_UNCHECKED = "upstream.unchecked"  # key_id, provider, error, failures: nothing was learnt of it
    UPSTREAM_REFRESHED = "upstream.refreshed"  # provider, success, failed, total_keys, elapsed_s
    UPSTREAM_FAILED = "upstream.failed"  # error_type, error: of a refresh or check, or what follows it
    OPERATOR_CHANGED = "operator.changed"  # operator_id, name, role, change, actor
    OPERATOR_SIGNED_IN = "operator.signed_in"  # operator_id, name
    JOURNAL_FLUSHED = "journal.flushed"  # facts, left, lag_s, latency_ms
    JOURNAL_FAILED = "journal.failed"  # facts, left, error_type, error, retry_after_s
    JOURNAL_POISON = "journal.poison"  # event_id, kind, error_type, error
    FENCE_LOST = "fence.lost"  # incarnation
    FENCE_RECOVERED = "fence.recovered"  # incarnation, quotas, tasks, drained, latency_ms
    REDIS_AWAY = "redis.away"  # redis, error_type, error, retry_after_s
    REDIS_UNFIT = "redis.unfit"  # what, found, do
    REDIS_BACK = "redis.back"  # redis, away_s
    REDIS_CHANGED = "redis.changed"  # what: the setting that `persistence = "enable"` has set
    CLEANUP_DONE = "cleanup.done"  # removed, days
    CLEANUP_FAILED = "cleanup.failed"  # error; it is tried again at the next interval
    STORE_AWAY = "store.away"  # error_type, error, retry_after_s
    CLOCK_JUMP = "clock.jump"  # quota_id or instance_id, difference_s
    LOOP_BLOCKED = "loop.blocked"  # blocked_ms so far, task ("<task_id> <run_id>" of a run), stack
    LOOP_BACK = "loop.back"  # blocked_ms
    ADMIN_TOKEN_MADE = "admin.token_made"  # noqa: S105  path; never the token itself


def get_logger(**fields: object) -> structlog.stdlib.BoundLogger:
    """Return a logger whose lines all carry `fields`: `get_logger(room="journal").info(Event.REDIS_BACK)`.

    It writes to the stdlib logger `quotaflow`, so an application that uses the library without `configure`
    decides by its own logging set-up what is shown.
    """
    logger = structlog.wrap_logger(
        logging.getLogger("quotaflow"),
        processors=[
            structlog.stdlib.filter_by_level,
            *_prepare(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return cast("structlog.stdlib.BoundLogger", logger.bind(**fields))


def configure(
    format: Literal["auto", "console", "json"] = "auto",  # noqa: A002  the setting's name
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> None:
    """Send all logging of this process to `stream` (None: standard error) and nowhere else.

    :param format: `console` for people, `json` for machines (one object a line, plain ASCII); `auto` is
        `console` on a terminal and `json` elsewhere.
    :param level: the least important level shown; libraries that report every statement start at warning.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(format, terminal=handler.stream.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in _OWN_HANDLERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)  # a server that ran before may have set one


def printable(text: str) -> str:
    r"""Escape line ends, terminal codes, bidirectional marks and all else that is not printable."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def blank_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace values of keys that name a secret, and secrets that stand inside other values, by `***`."""
    return {key: _blank(key, value) for key, value in event.items()}


def _prepare() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        blank_secrets,
    ]


def _formatter(format_: str, *, terminal: bool) -> logging.Formatter:
    drawn: list[Processor]
    if format_ == "console" or (format_ == "auto" and terminal):
        plain = structlog.dev.plain_traceback
        drawn = [_escape, structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=plain)]
    else:
        drawn = [structlog.processors.JSONRenderer()]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *_prepare()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *drawn],
    )


def _blank(key: str, value: Any) -> Any:
    """Return the value as plain data without secrets; `_record` and the like are structlog's own."""
    if key.startswith("_") or value is None or isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):  # JSON has no NaN
        return value
    if _SECRET_KEY.search(key) and not _HARMLESS_KEY.search(key):
        return "***"
    match value:
        case dict():
            return {str(name): _blank(str(name), item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_blank(key, item) for item in value]
        case _:
            return _blank_text(value if isinstance(value, str) else repr(value))


def _blank_text(text: str) -> str:
    if "://" in text and "@" in text:
        text = re.sub(r"\S+", _blank_url, text)
    return _SECRET_TEXT.sub(r"\1***", text)


def _blank_url(word: re.Match[str]) -> str:
    """Up to the last @, because passwords with an unescaped @ or / in them occur; find, not regex: linear."""
    scheme, mark, rest = word[0].partition("://")
    login, at, address = rest.rpartition("@")
    user, colon, _password = login.partition(":")
    return f"{scheme}{mark}{user}:***@{address}" if at and colon else word[0]


def _escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Make every value one line; a traceback keeps its lines, each behind a bar: no log line begins so."""
    return {
        printable(key): _barred(str(value)) if key == "exception" else _one_line(value)
        for key, value in event.items()
    }


def _one_line(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else printable(str(value))


def _barred(text: str) -> str:
    return "\n".join("  | " + printable(line) for line in text.split("\n"))
