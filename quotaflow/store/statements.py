"""Writing many rows at once, and reading by many keys."""

import json
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Dialect, Row, Select, Table, Update, any_, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Statement = sqlite.Insert | postgresql.Insert | Update
Rows = Sequence[Sequence[Any]]


async def insert_new(connection: AsyncConnection, table: Table, rows: Rows) -> int:
    """Insert the rows, in the table's column order, that collide with none; return what `run_many` does."""
    return await run_many(
        connection, _insert_new(table, connection.dialect.name), tuple(table.c.keys()), rows
    )


async def insert_or_replace(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    """Insert the rows, in the table's column order, each over the one with the same primary key."""
    await run_many(
        connection, _insert_or_replace(table, connection.dialect.name), tuple(table.c.keys()), rows
    )


async def run_many(
    connection: AsyncConnection, statement: Statement, names: tuple[str, ...], rows: Rows
) -> int:
    """Run a statement once per row; `names` are the parameters that the row's values are for.

    Returns how many rows of the table it touched, or -1 where the driver (asyncpg) does not count.
    SQLAlchemy's own way looks up every value of every row by name and takes several times as long.
    """
    if not rows:
        return 0
    sql, bind = _prepare(statement, names, connection.dialect)
    return (await connection.exec_driver_sql(sql, [bind(row) for row in rows])).rowcount


async def fetch_in(
    connection: AsyncConnection,
    query: Select[*tuple[Any, ...]],
    key: ColumnElement[str],
    values: Sequence[str],
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the rows whose key is among the values, which travel as one parameter however many they are."""
    if not values:
        return []
    if connection.dialect.name == "postgresql":
        return (await connection.execute(query.where(key == any_(literal(values, ARRAY(key.type)))))).all()
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return (await connection.execute(query.where(key.in_(select(listed.c.value))))).all()


@lru_cache(maxsize=64)  # a dialect lives as long as its engine
def _prepare(
    statement: Statement, names: tuple[str, ...], dialect: Dialect
) -> tuple[str, Callable[[Sequence[Any]], tuple[Any, ...]]]:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    kinds = [compiled.binds[name].type.dialect_impl(dialect) for name in compiled.positiontup or ()]
    processors = [kind.bind_processor(dialect) for kind in kinds]
    places = [names.index(name) for name in compiled.positiontup or ()]
    plan = list(zip(places, processors, strict=True))
    return str(compiled), lambda row: tuple([row[at] if to is None else to(row[at]) for at, to in plan])


@cache
def _insert_new(table: Table, dialect: str) -> Statement:
    return _insert(table, dialect).on_conflict_do_nothing()


@cache
def _insert_or_replace(table: Table, dialect: str) -> Statement:
    statement = _insert(table, dialect)
    keys = list(table.primary_key.columns)
    values = {column: statement.excluded[column.key] for column in table.columns if column not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


def _insert(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
