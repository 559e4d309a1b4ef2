"""Recovery: drain the journal into SQL, then bring Redis up to SQL, then let everybody in again."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from quotaflow.control.closing import LEASE_S
from quotaflow.control.plans import plan_of, reopening
from quotaflow.control.prepaid_recovery import PrepaidRecovery
from quotaflow.errors import StoreMismatch
from quotaflow.journal.flusher import Flusher, Portion
from quotaflow.limiter import keys, restore
from quotaflow.limiter.admission import Ends, trim_call
from quotaflow.limiter.fence import Raw
from quotaflow.limiter.incarnation import Incarnation
from quotaflow.model import QuotaKind, Status
from quotaflow.rates import pace_of
from quotaflow.records import Trace
from quotaflow.store import Store


class StoreIncarnations:
    """Keeps the number in SQL."""

    may_recover = True

    def __init__(self, store: Store) -> None:
        self._store = store

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep every other process from recovering."""
        return self._store.fence_lock()

    async def read(self) -> Incarnation:
        """Return the current one."""
        return Incarnation(*await self._store.read_incarnation())

    async def write(self, incarnation: Incarnation) -> None:
        """Make it the current one."""
        await self._store.write_incarnation(incarnation.number, incarnation.run_id or "")


class Recovery:
    """What the fence calls, under its lock, when Redis may have lost data."""

    def __init__(
        self,
        store: Store,
        look: Callable[[], Awaitable[restore.Found]],
        flusher: Flusher,
        prepaid: PrepaidRecovery,
    ) -> None:
        self._store = store
        self._prepaid = prepaid
        self._look = look
        self._flusher = flusher

    async def __call__(self, raw: Raw, run_id: str) -> None:
        """Recover; running it twice changes nothing.

        :raises StoreMismatch: this Redis carries the journal of another store.
        """
        store_id = await self._store.store_id()
        found = await self._look()
        if found.store_id is not None and found.store_id != store_id:
            raise StoreMismatch(
                "this Redis belongs to another quotaflow store; point redis.url at its own server or database, "
                f"or remove the keys {keys.TAG}:* if nobody needs them"
            )
        await self._store.wait_for_writers()
        await self._flusher.drain(_raw_trim(raw))
        items = [*await self._items(found), *await self._prepaid.items()]
        await restore.write(raw, items, store_id, run_id)

    async def _items(self, found: restore.Found) -> list[restore.Item]:
        quotas = [quota for quota in await self._store.all_quotas() if quota.kind is QuotaKind.BUCKET]
        counters = {
            snapshot.quota_id: restore.Counters(snapshot.allowed, snapshot.limited)
            for snapshot in await self._store.snapshots()
        }
        ticks = await self._store.last_ticks()
        tasks = [
            restore.KnownTask(
                task.id,
                ticks.get(task.id, task.registered_us),
                task.paused,
                task.skip_us or 0,
                pace_of(task.rate),
            )
            for task in await self._store.list_tasks()
        ]
        providers = {key.provider for key in await self._store.all_upstream_keys()}
        open_runs = await self._store.open_runs()
        slotted = {quota.id for quota in quotas if quota.max_concurrent}
        runs = [
            restore.OpenRun(
                row.run_id, row.task_id, open_fact(row), row.quota_id if row.quota_id in slotted else None
            )
            for row in open_runs
            if row.status is not Status.WAITING
        ]
        waiting = [
            restore.WaitingRun(row.run_id, row.due_us or 0, row.attempt, is_paid(row), reopening(row))
            for row in open_runs
            if row.status is Status.WAITING
        ]
        return [
            *restore.quota_items(quotas, counters, found.names),
            *restore.override_items(quotas, await self._store.overrides()),
            *restore.task_items(tasks),
            *restore.pool_items(providers),
            *restore.run_items(runs, round(LEASE_S * 1e6)),
            *restore.waiting_items(waiting, found.due),
        ]


def is_paid(row: Trace) -> bool:
    """Say whether a waiting run has its units already."""
    return plan_of({} if row.plan is None else {"plan": row.plan}).is_paid


def open_fact(row: Trace) -> str:
    """Write again the line that opened a run which is running."""
    return f"{reopening(row)} claimed={row.claimed_us}"


def ends_of(portion: Portion) -> Ends:
    """Tell the limiter which stretch of the stream a portion was."""
    return Ends((portion.first_id, portion.first_event), (portion.last_id, portion.last_event))


def _raw_trim(raw: Raw) -> Callable[[Portion], Awaitable[int]]:
    async def trim(portion: Portion) -> int:
        return int(await raw("trim", *trim_call(ends_of(portion), len(portion.facts))))

    return trim
