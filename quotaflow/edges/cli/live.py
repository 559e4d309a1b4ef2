"""The demo's window: one short line for each run that ended or was refused, as the daemon logs it."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from quotaflow.log import Event, printable

LOGGER = "quotaflow"
WHAT_CHARS, WHY_CHARS = 18, 100


class Live(logging.Handler):
    """Takes the place of the log while it is attached. Warnings that are no endings are shown in full."""

    def __init__(self, write: Callable[[str], None], gone: Callable[[], None]) -> None:
        """`gone` is called once when nobody reads what `write` writes."""
        super().__init__()
        self._write = write
        self._gone = gone

    def attach(self) -> None:
        """Show from now on."""
        logger = logging.getLogger(LOGGER)
        logger.setLevel(logging.DEBUG)  # a run that went well is a debug event
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one event, if it is worth a line."""
        fields = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        line = line_of(fields, is_warning=record.levelno >= logging.WARNING)
        if line is None:
            return
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        try:
            self._write(f"{moment}  {printable(line)}")
        except OSError:
            logging.getLogger(LOGGER).removeHandler(self)
            self._gone()


def line_of(fields: Mapping[str, Any], *, is_warning: bool) -> str | None:
    """Write an event in a few words; None when nobody needs to see it."""
    task, why = str(fields.get("task_id", "")), ""
    match fields["event"]:
        case Event.RUN_FINISHED:
            outcome, why = "ok", f"{fields['latency_ms']} ms"
        case Event.RUN_LIMITED:
            outcome, why = "429", f"{fields['quota_id']}: {_retry(fields.get('retry_after_s'))}"
        case Event.RUN_FAILED:
            outcome = str(fields.get("status", "failed"))
            why = f"{fields.get('error_type') or ''}: {fields.get('error') or ''}".strip(": ")
        case Event.RUN_SKIPPED:
            outcome, why = "skipped", str(fields.get("reason", ""))
        case Event.RUN_LOST:
            task, outcome, why = str(fields["run_id"]), "lost", "the process that ran it is gone"
        case event if is_warning:
            known = ("event", "level", "timestamp", "room")
            details = " ".join(f"{key}={value}" for key, value in fields.items() if key not in known)
            task, outcome, why = "!", str(event), details
        case _:
            return None
    return f"{task:<{WHAT_CHARS}} {outcome:<8} {why[:WHY_CHARS]}".rstrip()


def _retry(seconds: float | None) -> str:
    return "never enough" if seconds is None else f"again in {seconds:.1f} s"
