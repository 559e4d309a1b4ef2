"""The part of the store about operators and their sessions. `Store` has it all."""

from quotaflow.operators import By, Operator, Session, Subject
from quotaflow.store import operators
from quotaflow.store.admin_audit import AuditWriter
from quotaflow.store.audit_fields import operator_fields
from quotaflow.store.engine import Database
from quotaflow.store.locks import Lock, lock
from quotaflow.timing import Clock


class OperatorStore:
    """Operators and their sessions."""

    _database: Database
    _clock: Clock
    _audit: AuditWriter

    async def insert_operator(self, operator: Operator, *, by: By | None = None) -> None:
        """Add an operator.

        :raises Conflict: one that is not revoked has the name, the name is "admin", or the id or the token is taken.
        """
        async with self._database.write() as connection:
            await operators.insert_operator(connection, operator)
            made = {operator.id: (None, operator_fields(operator))}
            await self._audit.note(connection, by, Subject.OPERATOR, made)

    async def list_operators(self) -> list[Operator]:
        """Return all operators, revoked ones too, newest first."""
        async with self._database.read() as connection:
            return await operators.list_operators(connection)

    async def revoke_operator(self, operator_id: str, *, by: By | None = None) -> Operator:
        """Revoke an operator, now unless it was before, and return it.

        :raises NotFound: no such operator.
        """
        async with self._database.write() as connection:
            await lock(connection, Lock.DEFINITIONS)  # the first moment stays, whoever comes second
            before = await operators.get_operator(connection, operator_id)
            after = await operators.revoke_operator(connection, operator_id, self._clock.wall_us())
            found = (operator_fields(before), operator_fields(after))
            await self._audit.note(connection, by, Subject.OPERATOR, {operator_id: found})
            return after

    async def find_operator(self, token_hash: str) -> Operator | None:
        """Return the operator with this token; None when nobody has it, or it was revoked."""
        async with self._database.read() as connection:
            return await operators.find_operator(connection, token_hash)

    async def open_session(self, session: Session) -> None:
        """Add a session, and remove those that had ended when it began."""
        async with self._database.write() as connection:
            await operators.remove_expired_sessions(connection, session.created_us)
            await operators.open_session(connection, session)

    async def find_session(self, secret_hash: str) -> Session | None:
        """Return the session with this secret, an expired one too; None when there is none."""
        async with self._database.read() as connection:
            return await operators.find_session(connection, secret_hash)

    async def close_session(self, secret_hash: str) -> None:
        """Remove a session; one that is not there is no error."""
        async with self._database.write() as connection:
            await operators.close_session(connection, secret_hash)
