"""The part of the store about definitions: quotas, overrides, tasks. `Store` has it all.

What a person changes (`by`) is written down in the same transaction.
"""

from collections.abc import Sequence
from typing import Any

from quotaflow.model import Override, Quota
from quotaflow.operators import By, Subject
from quotaflow.store import overrides, quotas, tasks
from quotaflow.store.admin_audit import AuditWriter, kept_for
from quotaflow.store.audit_fields import override_fields, override_subject, quota_fields, task_fields
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock
from quotaflow.store.paging import Page
from quotaflow.store.tasks import DeclaredTask, TaskRow
from quotaflow.timing import Clock

MANY = 1_000_000  # more than there are


class DefinitionStore:
    """Quotas, overrides, tasks."""

    _database: Database
    _clock: Clock
    _audit: AuditWriter

    async def insert_quota(
        self,
        quota: Quota,
        keys: Sequence[Override] = (),
        *,
        remaining: float | str | None = None,
        by: By | None = None,
    ) -> Quota:
        """Add a quota, and what keys of it have of their own. One that comes back knows its declaration again.

        :param remaining: see `quota_fields`.
        :raises Conflict: its id or its name is taken.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            text = await kept_for(connection, by)
            made = await quotas.insert_quota(connection, quota, self._clock.wall_us(), text=text)
            for override in keys:
                await overrides.put(connection, override)
            after = quota_fields(made, keys, remaining=remaining)
            await self._audit.note(connection, by, Subject.QUOTA, {quota.id: (None, after)})
            return made

    async def update_quota(
        self,
        quota_id: str,
        *,
        name: str | None = None,
        capacity_micro: int | None = None,
        refill_micro_s: int | None = None,
        enabled: bool | None = None,
        by: By | None = None,
        **removable: str | int | None,
    ) -> Quota:
        """Change what is given, raise the version by one and return the new quota; the same one if nothing differs.

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
            await lock(connection, Lock.DEFINITIONS)
            before = await quotas.get_quota(connection, quota_id)
            after = before
            if any(getattr(before, field) != value for field, value in changes.items()):
                after = await quotas.update_quota(connection, quota_id, changes, self._clock.wall_us())
            await self._audit.note(
                connection, by, Subject.QUOTA, {quota_id: (quota_fields(before), quota_fields(after))}
            )
            return after

    async def delete_quota(
        self, quota_id: str, *, remaining: float | str | None = None, by: By | None = None
    ) -> None:
        """Remove a quota; its history stays.

        :param remaining: see `quota_fields`.
        :raises NotFound: no such quota.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            quota = await quotas.get_quota(connection, quota_id)
            keys = await overrides.read(connection, quota_id)
            before = quota_fields(quota, keys, remaining=remaining)
            text = await quotas.delete_quota(connection, quota_id)
            await self._audit.note(connection, by, Subject.QUOTA, {quota_id: (before, None)}, kept=text)

    async def get_quota(self, quota_id: str) -> Quota:
        """Return a quota.

        :raises NotFound: no such quota.
        """
        async with self._database.read() as connection:
            return await quotas.get_quota(connection, quota_id)

    async def list_quotas(
        self, cursor: str | None = None, *, limit: int = 100, text: str | None = None
    ) -> Page[Quota]:
        """Return at most `limit` quotas, ordered by id; with `text` those that have it in their id or name."""
        async with self._database.read() as connection:
            return await quotas.list_quotas(connection, cursor, limit, text)

    async def quota_ids(self, names: Sequence[str]) -> dict[str, str]:
        """Return the ids of quotas by what tasks call them; without those that do not exist."""
        async with self._database.read() as connection:
            return await quotas.quota_ids(connection, names)

    async def emptiest_quotas(self, below: float, limit: int) -> list[Quota]:
        """Return the enabled quotas with less than this part left at their last snapshot, the lowest first."""
        async with self._database.read() as connection:
            return await quotas.emptiest(connection, below, limit)

    async def all_quotas(self) -> list[Quota]:
        """Return every quota, ordered by id."""
        async with self._database.read() as connection:
            return (await quotas.list_quotas(connection, None, MANY)).items

    async def put_override(self, override: Override, *, by: By | None = None) -> None:
        """Give a key of a quota a capacity and rate of its own.

        :raises NotFound: no such quota.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            known = await overrides.find(connection, override.quota_id, override.key)
            await overrides.put(connection, override)
            found = (None if known is None else override_fields(known), override_fields(override))
            subject = override_subject(override.quota_id, override.key)
            await self._audit.note(connection, by, Subject.OVERRIDE, {subject: found})

    async def remove_override(self, quota_id: str, key: str, *, by: By | None = None) -> None:
        """Give a key the quota's own again.

        :raises NotFound: it has no other.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            known = await overrides.find(connection, quota_id, key)
            await overrides.remove(connection, quota_id, key)
            found = (None if known is None else override_fields(known), None)
            subject = override_subject(quota_id, key)
            await self._audit.note(connection, by, Subject.OVERRIDE, {subject: found})

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

    async def change_task(self, task_id: str, *, by: By | None = None, **values: Any) -> TaskRow:
        """Change what a person may decide of a task: paused, cron_override, rate_override, skip_us.

        :raises NotFound: no such task.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            before = await tasks.get_task(connection, task_id)
            after = await tasks.change_task(connection, task_id, values, self._clock.wall_us())
            await self._audit.note(
                connection, by, Subject.TASK, {task_id: (task_fields(before), task_fields(after))}
            )
            return after

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
