"""The schema as text, for those who read it or create it themselves."""

from typing import Literal

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from quotaflow.store.migrate import HEAD
from quotaflow.store.tables import metadata

_DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]
}
# With it a daemon finds its schema and leaves it alone.
_VERSION = f"""CREATE TABLE alembic_version (
\tversion_num VARCHAR(32) NOT NULL,
\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version (version_num) VALUES ('{HEAD}');
"""


def ddl(dialect: Literal["sqlite", "postgresql"]) -> str:
    """Return the statements that make an empty database ready for a daemon of this version."""
    statements: list[CreateTable | CreateIndex] = []
    for table in metadata.sorted_tables:
        statements.append(CreateTable(table))
        statements += [
            CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
    texts = [str(statement.compile(dialect=_DIALECTS[dialect])).strip() for statement in statements]
    return "\n\n".join([f"{text};" for text in texts] + [_VERSION])
