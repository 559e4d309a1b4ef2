"""`quotaflow db`: the schema of the SQL store."""

import asyncio
import sys
from enum import StrEnum
from typing import Annotated

import typer

from quotaflow.control.place import claim_place
from quotaflow.edges.cli.client import Config, DataDir, command
from quotaflow.edges.cli.sql import peek
from quotaflow.edges.cli.words import say
from quotaflow.errors import StoreLocked
from quotaflow.settings import Settings, load
from quotaflow.store import Store
from quotaflow.store.ddl import ddl
from quotaflow.store.migrate import HEAD

app = typer.Typer(no_args_is_help=True, help=say("The schema of the SQL store."))


class Dialect(StrEnum):
    """Whose words the statements are in."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@command(app, "upgrade")
def upgrade(config: Config = None, data_dir: DataDir = None) -> None:
    """Bring the store to this version's schema; a daemon does so when it starts."""
    asyncio.run(_upgrade(load(config, data_dir=data_dir)))
    sys.stdout.write(HEAD + "\n")


@command(app, "current")
def current(config: Config = None, data_dir: DataDir = None) -> None:
    """Show the store's schema version, and the one this program needs."""
    found = asyncio.run(peek(load(config, data_dir=data_dir).store_url))
    sys.stdout.write(
        say("{found} (this program: {head})", found=found.revision or say("none"), head=HEAD) + "\n"
    )


@command(app, "ddl")
def show_ddl(
    dialect: Annotated[
        Dialect, typer.Argument(help=say("The database that is to read them"))
    ] = Dialect.SQLITE,
) -> None:
    """Print the statements that make the schema."""
    sys.stdout.write(ddl(dialect.value))


async def _upgrade(settings: Settings) -> None:
    async with claim_place(settings, "library") as place:
        if not place.owns_store:
            raise StoreLocked(say("a daemon has this store open; it brought it up to date when it started"))
        store = await Store.open(settings.store_url)
        await store.close()
