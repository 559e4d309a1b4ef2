"""`quotaflow db`: the SQL store itself."""

import asyncio
import contextlib
import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from quotaflow.control.cleanup import cutoff_us, sweep
from quotaflow.control.place import claim_place
from quotaflow.edges.cli.cleanup import Days
from quotaflow.edges.cli.client import Config, Daemon, DataDir, command
from quotaflow.edges.cli.sql import peek
from quotaflow.edges.cli.words import say
from quotaflow.errors import StoreLocked
from quotaflow.settings import Settings, load
from quotaflow.store import Cut, Store
from quotaflow.store.ddl import ddl
from quotaflow.store.migrate import HEAD
from quotaflow.timing import SystemClock

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
    settings = load(config, data_dir=data_dir)
    found = asyncio.run(peek(settings.store_url, settings.store.deadline_s))
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


@command(app, "cleanup")
def cleanup(days: Days = None, config: Config = None, data_dir: DataDir = None) -> None:
    """Remove old rows now, with or without a daemon, also when retention.enabled is false."""
    settings = load(config, data_dir=data_dir)
    days = days or settings.retention.days
    removed = asyncio.run(_clean(settings, days))
    if removed is None:
        started = _ask_to_clean(settings, days)
        answer = say("the daemon removes old rows now") if started else BUSY
    else:
        answer = BUSY if removed < 0 else say("rows removed: {count}", count=removed)
    sys.stdout.write(answer + "\n")


BUSY = say("old rows are being removed already")


async def _clean(settings: Settings, days: int) -> int | None:
    """Return how many rows were removed, -1 while somebody else does it; None when a daemon has the store."""
    async with claim_place(settings, "library") as place:
        if not place.owns_store:
            return None
        store = await Store.open(settings.store_url, deadline_s=settings.store.deadline_s)
        clock = SystemClock()
        try:
            owner = f"cli-{os.getpid()}-{clock.wall_us():x}"
            if not await store.begin_cleanup(owner):
                return -1
            edge_us = cutoff_us(clock.wall_us(), days, settings.journal.request_ttl_s)
            return await sweep(store, clock, Cut(owner, edge_us, settings.retention.batch))
        finally:
            await store.close()


def _ask_to_clean(settings: Settings, days: int) -> bool:
    with contextlib.closing(Daemon(settings.data_dir)) as daemon:
        return bool(daemon.ask("POST", "/api/cleanup/run", {"days": days, "force": True})["started"])


async def _upgrade(settings: Settings) -> None:
    async with claim_place(settings, "library") as place:
        if not place.owns_store:
            raise StoreLocked(say("a daemon has this store open; it brought it up to date when it started"))
        store = await Store.open(settings.store_url, deadline_s=settings.store.deadline_s)
        await store.close()
