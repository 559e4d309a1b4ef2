"""The part of the store about prepaid units: tokens and their ledger. `Store` has it all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from quotaflow.ledger import AccessToken, Action, Balance, LedgerEntry, LedgerRow
from quotaflow.operators import By, Subject
from quotaflow.store import cleanups, ledger, ledger_reads, meta, tokens
from quotaflow.store.admin_audit import AuditWriter
from quotaflow.store.audit_fields import token_fields
from quotaflow.store.cleanups import CleanupRecord, Cut
from quotaflow.store.engine import Database
from quotaflow.store.ledger_reads import LogFilter
from quotaflow.store.locks import Lock, lock
from quotaflow.store.paging import Page
from quotaflow.store.retention import LEDGER_CUT_US, Part, Portion
from quotaflow.store.tokens import TokenFilter
from quotaflow.timing import Clock


class PrepaidStore:
    """Tokens and ledger."""

    _database: Database
    _clock: Clock
    _audit: AuditWriter

    async def insert_token(self, token: AccessToken, *, by: By | None = None) -> None:
        """Add a token.

        :raises Conflict: a token with this secret exists.
        """
        async with self._database.write() as connection:
            await tokens.insert_token(connection, token)
            await self._audit.note(connection, by, Subject.TOKEN, {token.id: (None, token_fields(token))})

    async def update_token(self, token_id: str, *, by: By | None = None, **changes: Any) -> AccessToken:
        """Change columns of a token's definition, raise its version and return it.

        :raises NotFound: no such token, or it was deleted.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)
            before = await tokens.get_token(connection, token_id)
            after = await tokens.update_token(connection, token_id, changes, self._clock.wall_us())
            # Not the row that came back: the flush may have written to its total in between.
            found = (token_fields(before), token_fields(replace(before, **changes)))
            await self._audit.note(connection, by, Subject.TOKEN, {token_id: found})
            return after

    async def get_token(self, token_id: str) -> AccessToken:
        """Return a token, a deleted one too.

        :raises NotFound: no such token.
        """
        async with self._database.read() as connection:
            return await tokens.get_token(connection, token_id)

    async def list_tokens(
        self, wanted: TokenFilter | None = None, cursor: str | None = None, *, limit: int = 100
    ) -> Page[AccessToken]:
        """Return at most `limit` tokens, newest first.

        :raises InvalidInput: a cursor that no earlier page gave.
        """
        async with self._database.read() as connection:
            return await tokens.list_tokens(connection, wanted or TokenFilter(), cursor, limit)

    async def list_logs(
        self, wanted: LogFilter, cursor: str | None = None, *, limit: int = 100
    ) -> Page[LedgerRow]:
        """Return at most `limit` rows of the ledger, newest first.

        :raises InvalidInput: a cursor that no earlier page gave.
        """
        async with self._database.read() as connection:
            return await ledger_reads.list_logs(connection, wanted, cursor, limit)

    async def rows_of_requests(self, request_ids: Sequence[str]) -> list[LedgerRow]:
        """Return what the ledger knows of these request ids, oldest first."""
        async with self._database.read() as connection:
            return await ledger_reads.rows_of_requests(connection, request_ids)

    async def rows_after(
        self, subject: str, epoch: int, seq: int, *, created_us: int = 0, action: Action | None = None
    ) -> list[LedgerRow]:
        """Return the rows of an allowance after a place in its chain: those not older, and of one action if given."""
        async with self._database.read() as connection:
            return await ledger_reads.rows_after(connection, subject, epoch, seq, created_us, action)

    async def rows_between(self, since_event: str, request_prefix: str) -> list[LedgerRow]:
        """Return what the ledger knows of request ids that begin so and are not older than an event id."""
        async with self._database.read() as connection:
            return await ledger_reads.rows_between(connection, since_event, request_prefix)

    async def chain_page(self, after: tuple[str, int, int, str], *, limit: int) -> list[LedgerRow]:
        """Return rows in the order of their chains, those after (subject, epoch, seq, event id)."""
        async with self._database.read() as connection:
            return await ledger_reads.chain_page(connection, after, limit)

    async def last_periods(self, subjects: Sequence[str]) -> dict[str, int]:
        """Return when each of these allowances last began with its total, in microseconds."""
        async with self._database.read() as connection:
            return await ledger_reads.last_periods(connection, subjects)

    async def quota_balances(self) -> dict[str, Balance]:
        """Return where the chain of every prepaid quota ends."""
        async with self._database.read() as connection:
            return await ledger.quota_balances(connection)

    async def begin_epochs(self, rows: Sequence[LedgerEntry], incarnation: int) -> None:
        """Write the rows with which new epochs begin; for recovery, under the fence.

        :raises Recovering: a later recovery has begun.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.JOURNAL)
            await meta.check_incarnation(connection, incarnation)
            await ledger.write_ledger(connection, rows, self._clock.wall_us())

    # Retention

    async def begin_cleanup(self, owner: str) -> bool:
        """Take the lease for removing what is old; False while that goes on somewhere."""
        async with self._database.write() as connection:
            return await cleanups.begin(connection, owner, self._clock.wall_us())

    async def remove_old(self, part: Part, cut: Cut, after: str = "") -> Portion:
        """Remove a portion of the oldest rows, beginning after `after`, where the portion before has ended.

        :raises Conflict: the lease is not ours any more.
        """
        async with self._database.write() as connection:
            return await cleanups.remove(connection, part, cut, after, self._clock.wall_us())

    async def end_cleanup(self, owner: str, count: int) -> None:
        """Remember that so many rows were removed, and give the lease back.

        :raises Conflict: the lease is not ours any more.
        """
        async with self._database.write() as connection:
            await cleanups.end(connection, owner, count, self._clock.wall_us())

    async def cleanup_record(self) -> CleanupRecord:
        """Return what is remembered of removing what is old."""
        async with self._database.read() as connection:
            return await cleanups.read_record(connection)

    async def ledger_cut_us(self) -> int:
        """Return the latest moment of before which rows of the ledger were removed; 0: none ever were."""
        async with self._database.read() as connection:
            return await meta.get_count(connection, LEDGER_CUT_US)
