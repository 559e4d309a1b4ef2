"""Operators, and the browsers that are signed in. Secrets come here as hashes."""

from dataclasses import astuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Conflict, NotFound
from quotaflow.operators import ADMIN, Operator, Session
from quotaflow.store.locks import Lock, lock
from quotaflow.store.statements import insert_new
from quotaflow.store.tables import operators, sessions

_c = operators.c


async def insert_operator(connection: AsyncConnection, operator: Operator) -> None:
    """Add an operator.

    :raises Conflict: one that is not revoked has the name, the name is "admin", or the id or the token is taken.
    """
    await lock(connection, Lock.DEFINITIONS)  # what is free here stays free until the row is in
    query = select(_c.id).where(_c.name == operator.name, _c.revoked_us.is_(None))
    if operator.name.casefold() == ADMIN or (await connection.execute(query)).first():
        raise Conflict(f"an operator has the name {operator.name!r}")
    if not await insert_new(connection, operators, [astuple(operator)]):
        raise Conflict("an operator with this id or token exists")


async def list_operators(connection: AsyncConnection) -> list[Operator]:
    """Return all operators, revoked ones too, newest first."""
    statement = select(operators).order_by(_c.created_us.desc(), _c.id.desc())
    return [Operator(*row) for row in await connection.execute(statement)]


async def revoke_operator(connection: AsyncConnection, operator_id: str, now_us: int) -> Operator:
    """Revoke an operator, unless it is revoked, and return it.

    :raises NotFound: no such operator.
    """
    statement = operators.update().where(_c.id == operator_id, _c.revoked_us.is_(None))
    await connection.execute(statement.values(revoked_us=now_us))
    return await get_operator(connection, operator_id)


async def get_operator(connection: AsyncConnection, operator_id: str) -> Operator:
    """Return an operator, a revoked one too.

    :raises NotFound: no such operator.
    """
    row = (await connection.execute(select(operators).where(_c.id == operator_id))).one_or_none()
    if row is None:
        raise NotFound(f"no operator has the id {operator_id!r}")
    return Operator(*row)


async def find_operator(connection: AsyncConnection, token_hash: str) -> Operator | None:
    """Return the operator with this token; None when nobody has it, or it was revoked."""
    query = select(operators).where(_c.token_hash == token_hash, _c.revoked_us.is_(None))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Operator(*row)


async def open_session(connection: AsyncConnection, session: Session) -> None:
    """Add a session."""
    values = dict(zip(sessions.c.keys(), astuple(session), strict=True))
    await connection.execute(sessions.insert().values(**values))


async def find_session(connection: AsyncConnection, secret_hash: str) -> Session | None:
    """Return the session with this secret, an expired one too; None when there is none."""
    query = select(sessions).where(sessions.c.secret_hash == secret_hash)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Session(*row)


async def close_session(connection: AsyncConnection, secret_hash: str) -> None:
    """Remove a session, if it is there."""
    await connection.execute(sessions.delete().where(sessions.c.secret_hash == secret_hash))


async def remove_expired_sessions(connection: AsyncConnection, now_us: int) -> None:
    """Remove the sessions that have ended by this moment."""
    await connection.execute(sessions.delete().where(sessions.c.expires_us <= now_us))
