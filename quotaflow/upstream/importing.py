"""Many keys from one text, CSV or JSON: rows, and what is wrong with each. Pure."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from quotaflow.errors import InvalidInput

MOST_ROWS = 10_000
_NEEDED = ("provider", "secret")
_FIELDS = (*_NEEDED, "name", "enabled")
_TRUTHS = {"": True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One key of an import, counted from 1. `error` says why it cannot be one; then the other fields mean nothing."""

    number: int
    provider: str = ""
    secret: str = field(default="", repr=False)
    name: str | None = None
    enabled: bool = True
    error: str | None = None


def rows_of(text: str) -> list[ImportRow]:
    """Read keys: a JSON list of objects, or CSV with a header; the fields are provider, secret, name and enabled.

    :raises InvalidInput: the text is neither, or has more than 10,000 rows.
    """
    text = text.lstrip("\ufeff")
    found = list(_json_rows(text) if text.lstrip().startswith(("[", "{")) else _csv_rows(text))
    if len(found) > MOST_ROWS:
        raise InvalidInput(f"at most {MOST_ROWS:,} keys can be imported at once", field="rows")
    return [_row(number, item) for number, item in enumerate(found, 1)]


def _json_rows(text: str) -> Iterator[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # the error would quote the text, and so a secret
        raise InvalidInput("the text begins like JSON and cannot be read as such", field="rows") from None
    items = document.get("items") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise InvalidInput('JSON must be a list of keys, or {"items": [...]}', field="rows")
    yield from items


def _csv_rows(text: str) -> Iterator[Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if len(names) == 1 and ";" in names[0]:
            raise InvalidInput("columns must be separated by commas, not by semicolons", field="rows")
        if missing := [name for name in _NEEDED if name not in names]:
            known = ", ".join(_FIELDS)
            raise InvalidInput(
                f"the first line must name the columns {known}; {missing[0]} is missing", field="rows"
            )
        reader.fieldnames = names
        yield from reader
    except csv.Error:
        raise InvalidInput(f"line {reader.line_num + 1} cannot be read as CSV", field="rows") from None


def _row(number: int, item: object) -> ImportRow:
    if not isinstance(item, dict):
        return ImportRow(number, error="it is not an object with provider and secret")
    if wrong := _wrong_fields(item):
        return ImportRow(number, error=wrong)
    provider, secret, name = (str(item.get(field) or "").strip() for field in ("provider", "secret", "name"))
    if not provider or not secret:
        return ImportRow(number, error=f"{'secret' if provider else 'provider'} is missing")
    enabled = item.get("enabled")
    truth = enabled if isinstance(enabled, bool) else _TRUTHS.get(str(enabled or "").strip().lower())
    if truth is None:
        return ImportRow(number, error="enabled must be true or false")
    return ImportRow(number, provider, secret, name or None, truth)


def _wrong_fields(item: dict[Any, Any]) -> str | None:
    if None in item:
        return "it has more columns than the first line"
    if unknown := [name for name in item if name not in _FIELDS]:
        return f"it has a field that is none of {', '.join(_FIELDS)} ({len(unknown)} in all)"
    texts = [name for name in ("provider", "secret", "name") if not isinstance(item.get(name), str | None)]
    return f"{texts[0]} must be text" if texts else None
