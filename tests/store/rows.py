"""Traces, a look at whole tables, and a hand on the server."""

from typing import Any

from sqlalchemy import select, text

from quotaflow.amounts import MICRO
from quotaflow.model import Status, Trigger
from quotaflow.records import Trace
from quotaflow.store import Store
from quotaflow.store.tables import metadata

START_US = 1_750_000_000_000_000  # 15:06:40: ManualClock's start, 40 s into a minute
MINUTE_US = 1_749_999_960_000_000
SECOND = 1_000_000


def claim(run_id: str = "r1", **changes: Any) -> Trace:
    """Make the row of a tick that begins to run; each run id has its own tick of task `t`."""
    at = START_US + sum(run_id.encode()) * SECOND
    row = Trace(
        run_id=run_id,
        task_id="t",
        trigger=Trigger.CRON,
        status=Status.RUNNING,
        claimed_us=at + 5_000,
        quota_id="q",
        scheduled_for_us=at,
        started_us=at + 6_000,
        cost_micro=MICRO,
        instance_id="host-1",
    )
    return row._replace(**changes)


def ended(row: Trace, status: Status = Status.OK, **changes: Any) -> Trace:
    """Make the row that ends this run, 40 ms later, in the minute of START_US."""
    end = {"finished_us": START_US + 40_000, "latency_ms": 34.0, "wait_ms": 1.0}
    return row._replace(**{"status": status, **end, **changes})


async def dump(store: Store) -> dict[str, list[Any]]:
    """Return every row of every table."""
    async with store._database.read() as connection:
        return {
            table.name: sorted(map(tuple, await connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


async def metrics(store: Store) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows of quota_metrics by quota and minute."""
    table = metadata.tables["quota_metrics"]
    async with store._database.read() as connection:
        rows = await connection.execute(select(table))
        return {(row[0], row[1]): row._asdict() for row in rows}


async def cut_off_all_others(store: Store) -> None:
    """End every other connection to this PostgreSQL database."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    async with store._database.write() as connection:
        await connection.execute(text(f"{others} AND datname = current_database()"))
