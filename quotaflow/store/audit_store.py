"""The part of the store about what people changed. `Store` has it all."""

from quotaflow.operators import Act, AuditEntry, By, Subject
from quotaflow.store import admin_audit
from quotaflow.store.admin_audit import AuditFilter, AuditWriter
from quotaflow.store.audit_fields import Fields
from quotaflow.store.engine import Database
from quotaflow.store.paging import Page


class AuditStore:
    """What people changed; it is kept for ever. Each change writes it down itself, in its own transaction."""

    _database: Database
    _audit: AuditWriter

    async def note_act(
        self, by: By, act: Act, kind: Subject, subject_id: str, before: Fields, after: Fields
    ) -> None:
        """Write down what a person did in Redis."""
        async with self._database.write() as connection:
            await self._audit.note(connection, by, kind, {subject_id: (before, after)}, act)

    async def get_audit_entry(self, entry_id: str) -> AuditEntry:
        """Return one change.

        :raises NotFound: no such change.
        """
        async with self._database.read() as connection:
            return await admin_audit.get(connection, entry_id)

    async def list_audit(
        self, wanted: AuditFilter | None = None, cursor: str | None = None, *, limit: int = 100
    ) -> Page[AuditEntry]:
        """Return at most `limit` changes, newest first."""
        async with self._database.read() as connection:
            return await admin_audit.list_entries(connection, wanted or AuditFilter(), cursor, limit)

    async def undone_by(self, entry_id: str) -> AuditEntry | None:
        """Return the entry that took this one back, None when none did."""
        async with self._database.read() as connection:
            return await admin_audit.undone_by(connection, entry_id)
