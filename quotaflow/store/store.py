"""The store as other rooms see it: one method per question, each its own transaction."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from quotaflow.records import Batch, BatchResult, Snapshot, Trace
from quotaflow.store import meta, reads, snapshots, summaries, writes
from quotaflow.store.admin_audit import AuditWriter
from quotaflow.store.audit_store import AuditStore
from quotaflow.store.definition_store import DefinitionStore
from quotaflow.store.engine import Database
from quotaflow.store.fence import hold_fence
from quotaflow.store.figure_store import FigureStore
from quotaflow.store.locks import Lock, lock
from quotaflow.store.migrate import upgrade
from quotaflow.store.operator_store import OperatorStore
from quotaflow.store.paging import Page
from quotaflow.store.prepaid import PrepaidStore
from quotaflow.store.reads import StoreCounts, TraceFilter
from quotaflow.store.summaries import TaskSummary
from quotaflow.store.upstream_store import UpstreamStore
from quotaflow.timing import Clock, SystemClock


class Store(DefinitionStore, FigureStore, PrepaidStore, UpstreamStore, OperatorStore, AuditStore):
    """Everything in SQL. Each method raises Unavailable when the database does not answer in time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`random_bytes`: of the ids of what people changed."""
        self._database = database
        self._clock = clock
        self._audit = AuditWriter(clock, random_bytes)
        self._fence = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, *, deadline_s: float, clock: Clock | None = None) -> Self:
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

    async def summarize(
        self, task_ids: Sequence[str], since_us: int | None = None, until_us: int | None = None
    ) -> dict[str, TaskSummary]:
        """Return how each of these tasks fared over its newest 10,000 runs with since_us <= claimed < until_us."""
        async with self._database.read() as connection:
            return await summaries.summarize(connection, task_ids, since_us, until_us)

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

    async def faults(self) -> tuple[int, int]:
        """Count dead letters and double claims."""
        async with self._database.read() as connection:
            return await reads.count_faults(connection)
