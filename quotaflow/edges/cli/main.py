"""The command `quotaflow`: every error becomes one line on stderr and an exit code."""

import io
import logging
import os
import sys
from typing import cast

from quotaflow.edges.cli.leaving import leave
from quotaflow.edges.cli.words import choose, say
from quotaflow.errors import QuotaflowError
from quotaflow.log import printable


def main() -> None:
    """Run the command in sys.argv. Exit codes: 0, 1 refused or a difference found, 2 usage, 3 unreachable."""
    try:
        _command()
    except SystemExit as end:
        leave(end.code)
        raise


def _command() -> None:
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no UTF-8 still gets every line
        cast("io.TextIOWrapper", stream).reconfigure(errors="backslashreplace")
    choose(sys.argv[1:], os.environ)
    from quotaflow.edges.cli.app import app  # noqa: PLC0415  its help texts are in the language just chosen

    try:
        app()
    except QuotaflowError as error:
        for line in str(error).splitlines():
            complain(line)
        sys.exit(error.exit_code)
    except Exception as error:  # a bug: one line for people, the rest for the log
        logging.getLogger("quotaflow").debug("unexpected error", exc_info=error)
        complain(_unexpected(error))
        sys.exit(1)


def complain(line: str) -> None:
    """Say one line on stderr, whatever is in it."""
    print(f"quotaflow: {printable(line)}", file=sys.stderr)  # noqa: T201


def _unexpected(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    what = f"{type(error).__name__}: {error}"
    return say("unexpected error: {what} (see the log; --log-level debug shows where)", what=what)
