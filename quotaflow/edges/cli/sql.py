"""A look at the SQL store from outside, also while a daemon has it; nothing is changed and nothing is made."""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from quotaflow.control.place import sqlite_path
from quotaflow.errors import Unavailable
from quotaflow.store.engine import Database

DURABLE = ("wal", "on", "remote_apply")  # SQLite's journal_mode, PostgreSQL's synchronous_commit


@dataclass(frozen=True, slots=True)
class Peek:
    """What was found. `revision` is None in a database without our tables; `durability` where there is none."""

    server: str
    durability: str | None
    revision: str | None

    @property
    def is_durable(self) -> bool:
        """A commit is on disk when it returns."""
        return self.durability is None or self.durability in DURABLE


async def peek(store_url: str, deadline_s: float) -> Peek:
    """Look.

    :raises ConfigError: a URL that cannot work. :raises Unavailable: nobody answers there.
    """
    path = sqlite_path(store_url)
    return _sqlite(path) if path else await _postgres(store_url, deadline_s)


def _sqlite(path: Path) -> Peek:
    server = f"SQLite {sqlite3.sqlite_version}"
    if not path.exists():
        return Peek(server, None, None)
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            return Peek(server, str(mode), _revision(connection))
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def _revision(connection: sqlite3.Connection) -> str | None:
    with contextlib.suppress(sqlite3.OperationalError):
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None
    return None


async def _postgres(url: str, deadline_s: float) -> Peek:
    database = await Database.open(url, deadline_s=deadline_s)
    try:
        async with database.read() as connection:
            version = (await connection.exec_driver_sql("SHOW server_version")).scalar_one()
            commit = (await connection.exec_driver_sql("SHOW synchronous_commit")).scalar_one()
            table = (await connection.exec_driver_sql("SELECT to_regclass('alembic_version')::text")).scalar()
            ask = "SELECT version_num FROM alembic_version"
            revision = (await connection.exec_driver_sql(ask)).scalar() if table else None
    finally:
        await database.close()
    return Peek(f"PostgreSQL {version}", str(commit), revision)
