"""The store as other rooms see it: one method per question, each its own transaction."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from quotaflow.model import Override, Quota
from quotaflow.records import Batch, BatchResult, Snapshot, Trace
from quotaflow.store import meta, overrides, quotas, reads, snapshots, summaries, tasks, writes
from quotaflow.store.engine import Database
from quotaflow.store.fence import hold_fence
from quotaflow.store.locks import Lock, lock
from quotaflow.store.migrate import upgrade
from quotaflow.store.paging import Page
from quotaflow.store.prepaid import PrepaidStore
from quotaflow.store.reads import StoreCounts, TraceFilter
from quotaflow.store.summaries import TaskSummary
from quotaflow.store.tasks import DeclaredTask, TaskRow
from quotaflow.store.upstream_store import UpstreamStore
from quotaflow.timing import Clock, SystemClock

DEADLINE_S = 5.0
MANY = 1_000_000  # more than there are


class Store(PrepaidStore, UpstreamStore):
    """Everything in SQL. Each method raises Unavailable when the database does not answer in time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._fence = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, *, deadline_s: float = DEADLINE_S, clock: Clock | None = None) -> Self:
        """Connect and bring the schema up to date.

        :raises ConfigError: a URL that cannot work, or a schema newer than this program.
        """
        database = await Database.open(url, deadline_s=deadline_s)
        try:
            await upgrade(database)
        except BaseException:
            await database.close()
            raise
        return cls(database, clock or SystemClock())

    @property
    def is_shared(self) -> bool:
        """Say whether other processes may write this store too: PostgreSQL yes, SQLite never."""
        return self._database.is_postgres

    async def close(self) -> None:
        """End every connection; may be called twice."""
        await self._database.close()

    # The installation

    async def store_id(self) -> str:
        """Return the random name of this installation, made at first use."""
        async with self._database.write() as connection:
            return await meta.store_id(connection)

    async def admin_token_hash(self) -> str | None:
        """Return what `keep_admin_token_hash` kept, None before."""
        async with self._database.read() as connection:
            return await meta.get(connection, meta.ADMIN_TOKEN_HASH)

    async def keep_admin_token_hash(self, value: str) -> str:
        """Keep the hash of the admin token, never the token; return the one kept, which the first caller gave."""
        async with self._database.write() as connection:
            return await meta.keep(connection, meta.ADMIN_TOKEN_HASH, value)

    def fence_lock(self) -> AbstractAsyncContextManager[None]:
        """Keep every other process from recovering Redis while the block runs.

        :raises Recovering: another one does so for longer than the deadline.
        """
        return hold_fence(self._database, self._fence)

    async def read_incarnation(self) -> tuple[int, str | None]:
        """Return the number of Redis's current life (0 before the first) and its server's run id."""
        async with self._database.read() as connection:
            return await meta.read_incarnation(connection)

    async def write_incarnation(self, number: int, run_id: str) -> None:
        """Begin a new life of Redis.

        :raises Conflict: the number is not above the current one.
        """
        async with self._database.write() as connection:
            await meta.write_incarnation(connection, number, run_id)

    # The journal

    async def write_batch(self, batch: Batch, *, incarnation: int | None = None) -> BatchResult:
        """Write facts; all or nothing, and nothing the second time. Durable when this returns.

        :param incarnation: the life of Redis that they were read in; facts of another one are refused.
        :raises InvalidInput: a fact that SQL cannot hold is among them; nothing was written.
        :raises Recovering: another life of Redis has begun; nothing was written.
        """
        async with self._database.write() as connection:
            return await writes.write_batch(connection, batch, self._clock.wall_us(), incarnation)

    async def wait_for_writers(self) -> None:
        """Return when no write of facts is under way that began in an earlier life of Redis."""
        async with self._database.write() as connection:
            await lock(connection, Lock.JOURNAL)

    async def write_snapshots(self, newer: Sequence[Snapshot], minute_us: int) -> None:
        """Store levels; what their counters grew by goes to the metrics of the minute of `minute_us`."""
        async with self._database.write() as connection:
            await snapshots.write_snapshots(connection, newer, minute_us)

    async def snapshots(self) -> list[Snapshot]:
        """Return the last snapshot of every quota."""
        async with self._database.read() as connection:
            return await snapshots.read_snapshots(connection)

    # Definitions

    async def insert_quota(self, quota: Quota) -> Quota:
        """Add a quota.

        :raises Conflict: its id or its name is taken.
        """
        async with self._database.write() as connection:
            return await quotas.insert_quota(connection, quota, self._clock.wall_us())

    async def update_quota(
        self,
        quota_id: str,
        *,
        name: str | None = None,
        capacity_micro: int | None = None,
        refill_micro_s: int | None = None,
        enabled: bool | None = None,
        **removable: str | int | None,
    ) -> Quota:
        """Change what is given, raise the version by one and return the new quota.

        :param removable: reset_cron, timezone, max_concurrent; None removes them.
        :raises NotFound: no such quota. :raises Conflict: the new name is taken.
        """
        given = {
            "name": name,
            "capacity_micro": capacity_micro,
            "refill_micro_s": refill_micro_s,
            "enabled": enabled,
        }
        changes = {key: value for key, value in given.items() if value is not None} | removable
        async with self._database.write() as connection:
            return await quotas.update_quota(connection, quota_id, changes, self._clock.wall_us())

    async def delete_quota(self, quota_id: str) -> None:
        """Remove a quota; its history stays.

        :raises NotFound: no such quota.
        """
        async with self._database.write() as connection:
            await quotas.delete_quota(connection, quota_id)

    async def get_quota(self, quota_id: str) -> Quota:
        """Return a quota.

        :raises NotFound: no such quota.
        """
        async with self._database.read() as connection:
            return await quotas.get_quota(connection, quota_id)

    async def list_quotas(self, cursor: str | None = None, *, limit: int = 100) -> Page[Quota]:
        """Return at most `limit` quotas, ordered by id."""
        async with self._database.read() as connection:
            return await quotas.list_quotas(connection, cursor, limit)

    async def all_quotas(self) -> list[Quota]:
        """Return every quota, ordered by id."""
        async with self._database.read() as connection:
            return (await quotas.list_quotas(connection, None, MANY)).items

    async def put_override(self, override: Override) -> None:
        """Give a key of a quota a capacity and rate of its own.

        :raises NotFound: no such quota.
        """
        async with self._database.write() as connection:
            await overrides.put(connection, override)

    async def remove_override(self, quota_id: str, key: str) -> None:
        """Give a key the quota's own again.

        :raises NotFound: it has no other.
        """
        async with self._database.write() as connection:
            await overrides.remove(connection, quota_id, key)

    async def overrides(self, quota_id: str | None = None) -> list[Override]:
        """Return the overrides of one quota, or of all."""
        async with self._database.read() as connection:
            return await overrides.read(connection, quota_id)

    async def apply_declared(self, quota: Quota, text: str) -> Quota:
        """Apply a declaration whose text differs from the one last applied; return the quota that holds now.

        :raises Conflict: another quota has its name.
        """
        async with self._database.write() as connection:
            return await quotas.apply_declared(connection, quota, text, self._clock.wall_us())

    async def sync_tasks(self, declared: Sequence[DeclaredTask]) -> None:
        """Take over the tasks that the code declares and disable all others; pauses stay."""
        async with self._database.write() as connection:
            await tasks.sync_tasks(connection, declared, self._clock.wall_us())

    async def change_task(self, task_id: str, **values: Any) -> TaskRow:
        """Change what a person may decide of a task: paused, cron_override, rate_override, skip_us.

        :raises NotFound: no such task.
        """
        async with self._database.write() as connection:
            return await tasks.change_task(connection, task_id, values, self._clock.wall_us())

    async def overridden_tasks(self) -> list[TaskRow]:
        """Return the tasks for which a person has said something else than the code. Every daemon asks every 2 s."""
        async with self._database.read() as connection:
            return await tasks.overridden(connection)

    async def get_task(self, task_id: str) -> TaskRow:
        """Return a task.

        :raises NotFound: no such task.
        """
        async with self._database.read() as connection:
            return await tasks.get_task(connection, task_id)

    async def list_tasks(self) -> list[TaskRow]:
        """Return all tasks, disabled ones too, ordered by id."""
        async with self._database.read() as connection:
            return await tasks.list_tasks(connection)

    # Traces

    async def list_traces(
        self, wanted: TraceFilter | None = None, cursor: str | None = None, *, limit: int = 100
    ) -> Page[Trace]:
        """Return at most `limit` traces, newest first.

        :raises InvalidInput: a cursor that no earlier page gave.
        """
        async with self._database.read() as connection:
            return await reads.list_traces(connection, wanted or TraceFilter(), cursor, limit)

    async def get_trace(self, run_id: str) -> Trace:
        """Return one trace.

        :raises NotFound: no such run is recorded.
        """
        async with self._database.read() as connection:
            return await reads.get_trace(connection, run_id)

    async def summarize(self, task_ids: Sequence[str]) -> dict[str, TaskSummary]:
        """Return how each of these tasks fared over its newest 10,000 runs."""
        async with self._database.read() as connection:
            return await summaries.summarize(connection, task_ids)

    async def open_runs(self) -> list[Trace]:
        """Return the runs that have not ended, oldest first."""
        async with self._database.read() as connection:
            return await reads.open_runs(connection)

    async def last_ticks(self) -> dict[str, int]:
        """Return the latest recorded tick of every registered task that has one, in microseconds."""
        async with self._database.read() as connection:
            return await reads.last_ticks(connection)

    async def counts(self) -> StoreCounts:
        """Count traces by status, dead letters and double claims."""
        async with self._database.read() as connection:
            return await reads.count_rows(connection)
