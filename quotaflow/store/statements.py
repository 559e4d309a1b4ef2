"""The two inserts that SQL has no common words for, and reading by a long list of keys."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

KEYS_AT_ONCE = 10_000  # PostgreSQL takes 32,767 parameters in a statement; a key has at most two

Rows = Sequence[dict[str, Any]]


async def insert_new(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    """Insert the rows that collide with none that is there."""
    if rows:
        await connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


async def insert_or_replace(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    """Insert the rows, each over the one with the same primary key."""
    if not rows:
        return
    statement = _insert(connection, table)
    keys = list(table.primary_key.columns)
    values = {column: statement.excluded[column.key] for column in table.columns if column not in keys}
    await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), rows)


def _insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    is_postgres = connection.dialect.name == "postgresql"
    return postgresql.insert(table) if is_postgres else sqlite.insert(table)


async def fetch_in(
    connection: AsyncConnection, select: Select[*tuple[Any, ...]], key: ColumnElement[Any], values: Sequence[Any]
) -> list[Row[*tuple[Any, ...]]]:
    """Run a SELECT for the rows whose key is among the values."""
    rows: list[Row[*tuple[Any, ...]]] = []
    for start in range(0, len(values), KEYS_AT_ONCE):
        rows += await connection.execute(select.where(key.in_(values[start : start + KEYS_AT_ONCE])))
    return rows
