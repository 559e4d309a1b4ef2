"""`quotaflow ledger`: whether the ledger tells the truth."""

import asyncio
import sys
from dataclasses import asdict
from typing import Any

import typer

from quotaflow.control.place import claim_place
from quotaflow.edges.cli.client import Config, Daemon, DataDir, Format, command
from quotaflow.edges.cli.show import Columns, Output, Show
from quotaflow.edges.cli.words import say
from quotaflow.edges.http.ledger import audit_shown
from quotaflow.flow import Quotaflow
from quotaflow.settings import Settings, load

app = typer.Typer(no_args_is_help=True, help=say("The ledger of prepaid units."))

COLUMNS: Columns = {"subject": "subject", "what": "what", "detail": "detail"}
LONGEST_S = 3_600.0
TOLD_EVERY = 10_000  # rows


@command(app, "verify")
def verify(config: Config = None, data_dir: DataDir = None, output: Format = Output.TABLE) -> None:
    """Check every chain, every sum, and Redis against SQL.

    Exit code 1: there is a difference. A daemon that has the SQLite store is asked to do it.
    """
    settings = load(config, data_dir=data_dir)
    audit = asyncio.run(_audit(settings))
    show = Show(output)
    if output is Output.JSON:
        show.one(audit)
    else:
        show.items({"items": audit["differences"]}, COLUMNS) if audit["found"] else None
        show.done(
            say(
                "{rows} rows of {subjects} tokens and quotas: {found} differences",
                rows=audit["rows"],
                subjects=audit["subjects"],
                found=audit["found"],
            )
        )
    if audit["found"]:
        raise typer.Exit(1)


async def _audit(settings: Settings) -> dict[str, Any]:
    async with claim_place(settings, "library") as place:
        owns = place.owns_store
    if not owns:
        daemon = Daemon(settings.data_dir, deadline_s=LONGEST_S)
        try:
            return dict(await asyncio.to_thread(daemon.ask, "POST", "/api/ledger/verify"))
        finally:
            daemon.close()
    async with Quotaflow.open(settings) as qf:
        return asdict(audit_shown(await qf.audit(_tell if sys.stderr.isatty() else _silent)))


def _tell(rows: int) -> None:
    if rows % TOLD_EVERY == 0:
        sys.stderr.write("\r" + say("{rows} rows", rows=rows))


def _silent(_: int) -> None:
    """Say nothing."""
