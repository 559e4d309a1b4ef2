"""Bring the database to this program's schema, or refuse to touch it. Two daemons may start at once."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import ConfigError
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock

HEAD = "0008"  # a test compares it with the newest file in migrations/versions
DEADLINE_S = 600.0  # a later migration may have to copy a table of traces

_SCRIPTS = Path(__file__).parent / "migrations"


async def upgrade(database: Database) -> None:
    """Run the migrations that are missing, all in one transaction.

    :raises ConfigError: a newer program has been here. :raises Unavailable: the lock did not come free.
    """
    async with database.write(deadline_s=DEADLINE_S) as connection:
        if await _is_current(connection):
            return
        await lock(connection, Lock.MIGRATE)
        if not await _is_current(connection):  # somebody else may have done it while we waited
            await connection.run_sync(_run)


async def _is_current(connection: AsyncConnection) -> bool:
    version = await connection.run_sync(_version)
    if version is not None and version > HEAD:
        raise ConfigError(
            f"the store has schema {version}, this program knows {HEAD}; install the newer quotaflow"
        )
    return version == HEAD


def _version(connection: Connection) -> str | None:
    """Return the schema's version, None in an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _run(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  0.2 s to import, needed once in the life of a schema
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    command.upgrade(config, HEAD)
