"""The journal's line format: `<kind> key=value key=value ...`, values percent-encoded, readable with redis-cli.

Scripts append plain numbers and words to a line that Python began, so one codec serves both sides.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

OPEN = "open"  # a tick or trigger was decided: it runs or waits, or it was limited, skipped or missed
CLOSE = "close"  # a run ended, or moved on; the line repeats every column, so that it stands alone
LEDGER = "ledger"  # an allowance changed; written by scripts, because only they know before and after
WORK = "work"  # how the work that a charge paid for ended

Value = str | int | float | None

_PLAIN = re.compile(r"[A-Za-z0-9_.:-]*").fullmatch  # ids and words: a fifth of what quote() takes


def encode(kind: str, fields: Mapping[str, Value]) -> str:
    """Write one fact; fields that are None are left out."""
    return kind + "".join([f" {key}={text_of(value)}" for key, value in fields.items() if value is not None])


def text_of(value: Value) -> str:
    """Write one value as it stands in a fact."""
    if not isinstance(value, str):
        return str(value)
    return value if _PLAIN(value) else quote(value, safe="_.-:")


def decode(line: str) -> tuple[str, dict[str, str]]:
    """Read one fact.

    :raises ValueError: when the line is not a fact.
    """
    kind, *pairs = line.split(" ")
    fields = dict(pair.split("=", 1) for pair in pairs)
    if "%" in line:
        fields = {key: unquote(value) for key, value in fields.items()}
    return kind, fields
