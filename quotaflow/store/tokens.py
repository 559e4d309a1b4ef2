"""Access tokens: definitions by people. What they have left is written by the ledger alone."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Conflict, NotFound
from quotaflow.ledger import AccessToken, QuotaType
from quotaflow.store.paging import Page, place_of
from quotaflow.store.tables import access_tokens

_c = access_tokens.c


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Which tokens to list; None does not filter. Deleted ones are left out unless wanted."""

    ws_id: str | None = None
    email: str | None = None
    quota_type: QuotaType | None = None
    active: bool | None = None
    with_deleted: bool = False


async def insert_token(connection: AsyncConnection, token: AccessToken) -> None:
    """Add a token.

    :raises Conflict: its secret is another token's too.
    """
    values = dict(zip(_c.keys(), astuple(token), strict=True))
    try:
        await connection.execute(access_tokens.insert().values(**values))
    except IntegrityError as error:
        raise Conflict("a token with this secret exists") from error


async def update_token(
    connection: AsyncConnection, token_id: str, changes: dict[str, Any], now_us: int
) -> AccessToken:
    """Change a definition, raise its version and return the token.

    :raises NotFound: no such token, or it was deleted.
    """
    statement = access_tokens.update().where(_c.id == token_id, _c.deleted_us.is_(None)).returning(*_c)
    statement = statement.values(**changes, version=_c.version + 1, updated_us=now_us)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise _missing(token_id)
    return AccessToken(*row)


async def get_token(connection: AsyncConnection, token_id: str) -> AccessToken:
    """Return a token, a deleted one too.

    :raises NotFound: no such token.
    """
    row = (await connection.execute(select(access_tokens).where(_c.id == token_id))).one_or_none()
    if row is None:
        raise _missing(token_id)
    return AccessToken(*row)


async def list_tokens(
    connection: AsyncConnection, wanted: TokenFilter, cursor: str | None, limit: int
) -> Page[AccessToken]:
    """Return tokens newest first, those older than the cursor.

    :raises InvalidInput: a cursor that is none of ours.
    """
    statement = select(access_tokens).where(*_conditions(wanted))
    statement = statement.order_by(_c.created_us.desc(), _c.id.desc()).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(tuple_(_c.created_us, _c.id) < place_of(cursor, of="tokens"))
    found = [AccessToken(*row) for row in await connection.execute(statement)]
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], f"{last.created_us}.{last.id}" if last else None)


def _conditions(wanted: TokenFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("ws_id", "email", "quota_type", "active"):
        value = getattr(wanted, name)
        if value is not None:
            yield _c[name] == value
    if not wanted.with_deleted:
        yield _c.deleted_us.is_(None)


def _missing(token_id: str) -> NotFound:
    return NotFound(f"no token has the id {token_id!r}")
