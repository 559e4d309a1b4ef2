"""Rows as a file, for spreadsheets and for programs: read a page at a time, so that memory does not grow with it."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse

from quotaflow.edges.http.token_shapes import ExportFormat
from quotaflow.store import Page

T = TypeVar("T")

ROWS = 1000  # read at once
MEDIA_TYPES = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.JSONL: "application/jsonl"}

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?").fullmatch
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute a cell that begins so

Values = Sequence[Any]
Writer = Callable[[Sequence[str], Iterable[Values], bool], str]


async def exported(
    name: str,
    kind: ExportFormat,
    columns: Sequence[str],
    read: Callable[[str | None], Awaitable[Page[T]]],
    values: Callable[[T], Values],
) -> StreamingResponse:
    """Answer with every row as a file called `name`. The first page is read before: what cannot be is refused.

    :param read: gives the page at a cursor, of about `ROWS` rows; `values` are those of one row by column.
    """
    first = await read(None)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)

    async def written() -> AsyncIterator[str]:
        page, write = first, WRITERS[kind]
        yield write(columns, map(values, page.items), True)
        while page.next_cursor is not None:
            page = await read(page.next_cursor)
            yield write(columns, map(values, page.items), False)

    return StreamingResponse(
        written(),
        media_type=MEDIA_TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="{safe}.{kind}"'},
    )


def csv_of(columns: Sequence[str], rows: Iterable[Values], is_first: bool) -> str:
    """Write rows as CSV, the first ones below the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def jsonl_of(columns: Sequence[str], rows: Iterable[Values], _is_first: bool) -> str:
    """Write rows as JSON, one a line."""
    return "".join([json.dumps(dict(zip(columns, row, strict=True)), default=asdict) + "\n" for row in rows])


def cell(value: Any) -> Any:
    """Return what stands in a cell of CSV; an apostrophe keeps a spreadsheet from taking text for a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value, default=asdict) if value else None
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER(value):
        return f"'{value}"
    return value


WRITERS: dict[ExportFormat, Writer] = {ExportFormat.CSV: csv_of, ExportFormat.JSONL: jsonl_of}
