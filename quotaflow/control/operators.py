"""Operators: who has which token, which browsers are signed in, and who may come in by a link, once."""

import base64
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

from quotaflow import secret
from quotaflow.amounts import check_id
from quotaflow.log import Event, get_logger
from quotaflow.operators import ADMIN, Actor, By, Operator, Role, Session, by_of
from quotaflow.secret import OPERATOR_PREFIX, hash_of
from quotaflow.store import Store
from quotaflow.timing import Clock

log = get_logger(room="operators")

RANDOM_BYTES = 32
SESSION_S = 12 * 3600  # how long a browser stays signed in: a working day
LINK_S = 600.0  # how long a link may be used
LINKS = 16  # at once; the oldest gives way
REMEMBERED_S = 1.0  # how long another process's revoking may go unnoticed
REMEMBERED = 1024  # operators and sessions, by hash

# Who has the admin token, or reaches the socket in the data directory. It is in no table.
ADMINISTRATOR = Operator(ADMIN, ADMIN, Role.ADMIN, token_hash="", prefix="", created_us=0)

_RANDOM_TEXT = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch  # 32 bytes as base64


class _Remembered(NamedTuple):
    operator: Operator
    until_s: float


class OperatorDesk:
    """Everything about operators. What it finds in SQL it remembers for a second."""

    def __init__(self, store: Store, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._admin_hash: str | None = None
        self._remembered: dict[str, _Remembered] = {}
        self._links: dict[str, float] = {}  # hash of the code -> the second at which it ends

    # Tokens

    def set_admin(self, token_hash: str) -> None:
        """Say which token is the admin's. Before that nobody has it."""
        self._admin_hash = token_hash
        self._remembered = {}

    async def identify(self, token: str | bytes) -> Operator | None:
        """Return who has this token, None for nobody. SQL is never asked about the admin token."""
        token_hash = hash_of(token)
        if self._is_admin(token_hash):
            return ADMINISTRATOR
        text = token if isinstance(token, str) else token.decode("latin-1")
        if secret.known_of(text, OPERATOR_PREFIX) is None:
            return None
        return self._recall(token_hash) or await self._look_up(token_hash)

    async def create(self, name: str, role: Role, actor: Actor | None = None) -> tuple[Operator, str]:
        """Make an operator; the second value is its token, which is shown this once.

        :raises InvalidInput: a name that is none. :raises Conflict: an operator has the name.
        """
        made, known = secret.make(self._random_bytes, OPERATOR_PREFIX)
        operator = Operator(
            id=known.id,
            name=check_id(name, field="name"),
            role=role,
            token_hash=known.token_hash,
            prefix=known.prefix,
            created_us=self._clock.wall_us(),
        )
        by = by_of(actor)
        await self._store.insert_operator(operator, by=by)
        self._tell(operator, "created", by)
        return operator, made

    async def all(self) -> list[Operator]:
        """Return all operators, revoked ones too, newest first."""
        return await self._store.list_operators()

    async def revoke(self, operator_id: str, actor: Actor | None = None) -> None:
        """Refuse an operator's token and sessions from now on; in other processes within a second.

        :raises NotFound: no such operator.
        """
        by = by_of(actor)
        operator = await self._store.revoke_operator(operator_id, by=by)
        self._remembered = {}
        self._tell(operator, "revoked", by)

    # Sessions

    async def sign_in(self, token: str | bytes) -> str | None:
        """Open a session of 12 hours and return its secret; None when nobody has this token."""
        operator = await self.identify(token)
        return None if operator is None else await self._open(operator, hash_of(token))

    async def of_session(self, session_secret: str) -> Operator | None:
        """Return whose session this is; None when it has ended, or the token it was opened with is no longer valid."""
        if not _RANDOM_TEXT(session_secret):
            return None
        secret_hash = hash_of(session_secret)
        if (known := self._recall(secret_hash)) is not None:
            return known
        remembered = self._remembered
        session = await self._store.find_session(secret_hash)
        left_s = 0.0 if session is None else (session.expires_us - self._clock.wall_us()) / 1e6
        if session is None or left_s <= 0:
            return None
        operator = (
            ADMINISTRATOR
            if self._is_admin(session.token_hash)
            else await self._store.find_operator(session.token_hash)
        )
        return self._remember(remembered, secret_hash, operator, min(left_s, REMEMBERED_S))

    async def sign_out(self, session_secret: str) -> None:
        """End a session; one that is not there is no error."""
        await self._store.close_session(hash_of(session_secret))
        self._remembered = {}

    # Links

    def one_time_link(self) -> str:
        """Return a code with which somebody may sign in as admin, once, within ten minutes, in this process."""
        code = self._random_text()
        while len(self._links) >= LINKS:
            del self._links[next(iter(self._links))]
        self._links[hash_of(code)] = self._clock.mono_s() + LINK_S
        return code

    async def sign_in_once(self, code: str) -> str | None:
        """Use up a code: open a session as admin and return its secret; None for a code that is not valid any more."""
        until_s = self._links.pop(hash_of(code), 0.0)
        if self._admin_hash is None or self._clock.mono_s() >= until_s:
            return None
        return await self._open(ADMINISTRATOR, self._admin_hash)

    # Within

    async def _open(self, operator: Operator, token_hash: str) -> str:
        session_secret, now_us = self._random_text(), self._clock.wall_us()
        expires_us = now_us + SESSION_S * 1_000_000
        await self._store.open_session(Session(hash_of(session_secret), token_hash, now_us, expires_us))
        log.info(Event.OPERATOR_SIGNED_IN, operator_id=operator.id, name=operator.name)
        return session_secret

    async def _look_up(self, token_hash: str) -> Operator | None:
        remembered = self._remembered
        operator = await self._store.find_operator(token_hash)
        return self._remember(remembered, token_hash, operator, REMEMBERED_S)

    def _recall(self, hashed: str) -> Operator | None:
        found = self._remembered.get(hashed)
        return found.operator if found is not None and self._clock.mono_s() < found.until_s else None

    def _remember(
        self, remembered: dict[str, _Remembered], hashed: str, operator: Operator | None, seconds: float
    ) -> Operator | None:
        """Keep what SQL said, in the memory as it was when SQL was asked: what was revoked since replaced it."""
        if operator is not None:
            remembered.pop(hashed, None)
            if len(remembered) >= REMEMBERED:
                del remembered[next(iter(remembered))]
            remembered[hashed] = _Remembered(operator, self._clock.mono_s() + seconds)
        return operator

    def _is_admin(self, token_hash: str) -> bool:
        return self._admin_hash is not None and hmac.compare_digest(token_hash, self._admin_hash)

    def _random_text(self) -> str:
        return base64.urlsafe_b64encode(self._random_bytes(RANDOM_BYTES)).rstrip(b"=").decode()

    def _tell(self, operator: Operator, change: str, by: By | None) -> None:
        log.info(
            Event.OPERATOR_CHANGED,
            operator_id=operator.id,
            name=operator.name,
            role=operator.role,
            change=change,
            actor=by and by.actor,
        )
