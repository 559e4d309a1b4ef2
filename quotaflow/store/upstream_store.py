"""The part of the store about upstream keys. `Store` has it all."""

from collections.abc import Sequence
from typing import Any

from quotaflow.balances import UpstreamKey
from quotaflow.operators import By, Subject
from quotaflow.store import upstream
from quotaflow.store.admin_audit import AuditWriter
from quotaflow.store.audit_fields import Difference, key_fields
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock
from quotaflow.store.paging import Page
from quotaflow.store.upstream import UpstreamFilter
from quotaflow.timing import Clock


class UpstreamStore:
    """Upstream keys."""

    _database: Database
    _clock: Clock
    _audit: AuditWriter

    async def insert_upstream_key(self, key: UpstreamKey, *, by: By | None = None) -> None:
        """Add a key.

        :raises Conflict: its secret is stored already, or a key of its provider has its name; says which.
        """
        async with self._database.write() as connection:
            await upstream.insert_key(connection, key)
            await self._audit.note(connection, by, Subject.UPSTREAM_KEY, {key.id: (None, key_fields(key))})

    async def insert_upstream_keys(
        self, keys: Sequence[UpstreamKey], *, by: By | None = None
    ) -> dict[str, str]:
        """Add the keys that collide neither with a stored one nor with one before them.

        Return why the others were left out, by their ids.
        """
        async with self._database.write() as connection:
            refused = await upstream.insert_keys(connection, keys)
            made = {key.id: (None, key_fields(key)) for key in keys if key.id not in refused}
            await self._audit.note(connection, by, Subject.UPSTREAM_KEY, made)
            return refused

    async def update_upstream_key(self, key_id: str, *, by: By | None = None, **changes: Any) -> UpstreamKey:
        """Change fields of a key, set `updated_us` and return it.

        :raises NotFound: no such key.
        :raises Conflict: the new secret is stored already, or another key of the provider has the new name.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            before = await upstream.get_key(connection, key_id)
            after = await upstream.update_key(connection, key_id, changes, self._clock.wall_us())
            found = (key_fields(before), key_fields(after, was=before))
            await self._audit.note(connection, by, Subject.UPSTREAM_KEY, {key_id: found})
            return after

    async def delete_upstream_key(self, key_id: str, *, by: By | None = None) -> None:
        """Remove a key; nothing stays of it.

        :raises NotFound: no such key.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            before = await upstream.get_key(connection, key_id)
            await upstream.delete_key(connection, key_id)
            await self._audit.note(connection, by, Subject.UPSTREAM_KEY, {key_id: (key_fields(before), None)})

    async def get_upstream_key(self, key_id: str) -> UpstreamKey:
        """Return a key.

        :raises NotFound: no such key.
        """
        async with self._database.read() as connection:
            return await upstream.get_key(connection, key_id)

    async def list_upstream_keys(
        self, wanted: UpstreamFilter | None = None, cursor: str | None = None, *, limit: int = 100
    ) -> Page[UpstreamKey]:
        """Return at most `limit` keys, newest first.

        :raises InvalidInput: a cursor that no earlier page gave.
        """
        async with self._database.read() as connection:
            return await upstream.list_keys(connection, wanted or UpstreamFilter(), cursor, limit)

    async def all_upstream_keys(self, provider: str | None = None) -> list[UpstreamKey]:
        """Return every key, or those of one provider, disabled ones too, ordered by provider and name."""
        async with self._database.read() as connection:
            return await upstream.all_keys(connection, provider)

    async def write_checked(self, keys: Sequence[UpstreamKey]) -> int:
        """Write what checks brought: amounts, status, cooldown, moment, error, failures; return how many rows.

        Rows are found by their fingerprint: a key that was deleted meanwhile, or has another secret, is left alone.
        Nothing of the definition changes, `updated_us` neither.
        """
        async with self._database.write() as connection:
            return await upstream.write_checked(connection, keys)

    async def reseal_upstream_keys(
        self, resealed: Sequence[tuple[str, str, str]], *, by: By | None = None
    ) -> int:
        """Replace sealed texts, each (id, old, new), where the old one still stands; return how many.

        The secret is the same as before, so `updated_us` stays.
        """
        async with self._database.write() as connection:
            anew = await upstream.reseal_keys(connection, resealed)
            found: Difference = ({}, {"secret": "encrypted anew"})
            await self._audit.note(connection, by, Subject.UPSTREAM_KEY, dict.fromkeys(anew, found))
            return len(anew)
