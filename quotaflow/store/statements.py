"""Writing many rows at once, and reading by many keys: the fastest durable way of each database.

SQLite takes tuples one after the other; its driver does that without leaving C. PostgreSQL takes one array per column
and reads them with `unnest`: one statement to parse, plan and answer, whatever the number of rows.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Dialect,
    Executable,
    Row,
    Select,
    String,
    Table,
    Text,
    any_,
    bindparam,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy import column as named
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

Rows = Sequence[Sequence[Any]]
POSTGRESQL = "postgresql"
ALWAYS = literal_column("1") == literal_column("1")  # the `only` of an update without a further condition


class Many(NamedTuple):
    """A statement for many rows. `pack` makes the driver's parameters of them."""

    sql: str
    pack: Callable[[Rows], Any]


async def insert_new(connection: AsyncConnection, table: Table, rows: Rows) -> int:
    """Insert the rows, in the table's column order, that collide with none; return how many that were."""
    return await _run(connection, _insert_new(table, connection.dialect), rows)


async def insert_or_replace(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    """Insert the rows, in the table's column order, each over the one with the same primary key."""
    await _run(connection, _insert_or_replace(table, connection.dialect), rows)


async def update(
    connection: AsyncConnection, table: Table, names: tuple[str, ...], only: ColumnElement[bool], rows: Rows
) -> int:
    """Set the columns `names` where the first of them, the key, matches a row and `only` holds; return how often."""
    return await _run(connection, _update(table, names, only, connection.dialect), rows)


async def fetch_in(
    connection: AsyncConnection,
    query: Select[*tuple[Any, ...]],
    key: ColumnElement[str],
    values: Sequence[str],
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the rows whose key is among the values, which travel as one parameter however many they are."""
    if not values:
        return []
    return (await connection.execute(query.where(among(connection, key, values)))).all()


def among(connection: AsyncConnection, key: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that the key is among the values, which travel as one parameter."""
    if connection.dialect.name == POSTGRESQL:
        return key == any_(literal(values, ARRAY(key.type)))
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return key.in_(select(listed.c.value))


async def _run(connection: AsyncConnection, many: Many, rows: Rows) -> int:
    if not rows:
        return 0
    return (await connection.exec_driver_sql(many.sql, many.pack(rows))).rowcount


@cache  # a dialect lives as long as its engine
def _insert_new(table: Table, dialect: Dialect) -> Many:
    return _prepare(_insert(table, dialect).on_conflict_do_nothing(), [*table.columns], dialect)


@cache
def _insert_or_replace(table: Table, dialect: Dialect) -> Many:
    statement = _insert(table, dialect)
    keys = list(table.primary_key.columns)
    values = {column: statement.excluded[column.key] for column in table.columns if column not in keys}
    replacing = statement.on_conflict_do_update(index_elements=keys, set_=values)
    return _prepare(replacing, [*table.columns], dialect)


def _insert(table: Table, dialect: Dialect) -> sqlite.Insert | postgresql.Insert:
    columns = [*table.columns]
    if dialect.name == POSTGRESQL:
        return postgresql.insert(table).from_select(columns, select(*_arrays(columns).c))
    return sqlite.insert(table).values({column: bindparam(_parameter(column)) for column in columns})


@lru_cache(maxsize=64)
def _update(table: Table, names: tuple[str, ...], only: ColumnElement[bool], dialect: Dialect) -> Many:
    columns = [table.c[name] for name in names]
    given: Any
    if dialect.name == POSTGRESQL:
        given = _arrays(columns).c
    else:
        given = {_parameter(column): bindparam(_parameter(column), type_=column.type) for column in columns}
    key, *changed = columns
    statement = table.update().where(key == given[_parameter(key)], only)
    return _prepare(
        statement.values({column: given[_parameter(column)] for column in changed}), columns, dialect
    )


def _arrays(columns: Sequence[Column[Any]]) -> TableValuedAlias:
    """Return the rows of one array parameter per column."""
    parameters = [bindparam(_parameter(column), type_=ARRAY(_unsized(column.type))) for column in columns]
    rows = [named(_parameter(column), _unsized(column.type)) for column in columns]
    return func.unnest(*parameters).table_valued(*rows, name="given").render_derived()


def _unsized(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type without its length: a cast to `varchar(64)` would cut what an assignment refuses."""
    plain = getattr(kind, "impl", kind)
    return Text() if isinstance(plain, String) else plain


def _parameter(column: Column[Any]) -> str:
    return f"p_{column.key}"


def _prepare(statement: Executable, columns: Sequence[Column[Any]], dialect: Dialect) -> Many:
    """Compile once. SQLAlchemy's own way looks up every value by name and takes several times as long."""
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    places = {_parameter(column): place for place, column in enumerate(columns)}
    order = [places[name] for name in compiled.positiontup]
    processors = [columns[place].type.dialect_impl(dialect).bind_processor(dialect) for place in order]
    plan = list(zip(order, processors, strict=True))
    if dialect.name == POSTGRESQL:
        return Many(str(compiled), lambda rows: _by_column(plan, rows))
    return Many(str(compiled), lambda rows: [_in_order(plan, row) for row in rows])


Plan = Sequence[tuple[int, Callable[[Any], Any] | None]]


def _by_column(plan: Plan, rows: Rows) -> tuple[list[Any], ...]:
    columns = list(zip(*rows, strict=True))
    return tuple([[*columns[at]] if to is None else [to(value) for value in columns[at]] for at, to in plan])


def _in_order(plan: Plan, row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([row[at] if to is None else to(row[at]) for at, to in plan])
