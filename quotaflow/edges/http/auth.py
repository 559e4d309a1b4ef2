"""Who may come in: operators and the browsers they signed in with, and customers with their access tokens."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from ipaddress import IPv6Address
from typing import Any, TypeVar

from quotaflow.control.operators import OperatorDesk
from quotaflow.edges.http.problems import TooManyTries
from quotaflow.errors import Unauthorized
from quotaflow.operators import Operator
from quotaflow.secret import hash_of
from quotaflow.settings import Settings
from quotaflow.store import Store
from quotaflow.timing import Clock

T = TypeVar("T")

PREFIX = "qf_admin_"
RANDOM_BYTES = 32
TRIES = 20  # wrong tokens at once from one address, then one a second
ADDRESSES = 1024  # remembered at most; who tried longest ago is forgotten first


async def admin_token(store: Store, settings: Settings) -> tuple[str, str | None]:
    """Return the hash of the admin token and, the first time only, the token itself: show it, it is kept nowhere.

    The one in the settings wins; otherwise it is made once per installation.
    """
    if settings.admin_token is not None:
        return hash_of(settings.admin_token.get_secret_value()), None
    if known := await store.admin_token_hash():
        return known, None
    token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    kept = await store.keep_admin_token_hash(hash_of(token))
    return kept, token if kept == hash_of(token) else None  # another daemon may have been first


class Tries:
    """Counts wrong tokens by address, to slow those who guess.

    Each address may send 20, and one more each second; above that none of its tokens is looked at.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # address -> tries left, at which second

    def admit(self, address: str) -> None:
        """Return if a token from there may be looked at.

        :raises TooManyTries: nobody looks.
        """
        if self._tries and self._left(network_of(address)) < 1:
            raise TooManyTries("too many wrong tokens came from this address; try again later")

    def count(self, address: str) -> None:
        """Note a wrong token."""
        who = network_of(address)
        self._tries[who] = self._left(who) - 1, self._clock.mono_s()
        self._tries.move_to_end(who)
        if len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)

    def _left(self, who: str) -> float:
        left, since_s = self._tries.get(who, (float(TRIES), 0.0))
        return min(float(TRIES), left + self._clock.mono_s() - since_s)


class Door:
    """Tells operators by their tokens and sessions, and slows those who guess a token."""

    def __init__(self, operators: OperatorDesk, tries: Tries) -> None:
        self._operators = operators
        self._tries = tries

    async def by_token(self, token: bytes, address: str) -> Operator:
        """Return who has the token.

        :raises Unauthorized: nobody. :raises TooManyTries: nobody looked.
        """
        return await self._looked_up(address, self._operators.identify(token))

    async def sign_in(self, token: str | bytes, address: str) -> str:
        """Open a session of who has the token, and return its secret.

        :raises Unauthorized: nobody. :raises TooManyTries: nobody looked.
        """
        return await self._looked_up(address, self._operators.sign_in(token))

    async def by_session(self, session_secret: str) -> Operator | None:
        """Return who signed in; None when nobody did, or it is over. Browsers keep old secrets: that is no guess."""
        return await self._operators.of_session(session_secret)

    async def still_knows(self, token: bytes | None, session_secret: str | None) -> bool:
        """Say whether who came in with one of these would come in again."""
        if token is not None:
            return await self._operators.identify(token) is not None
        return session_secret is not None and await self.by_session(session_secret) is not None

    async def _looked_up(self, address: str, look: Coroutine[Any, Any, T | None]) -> T:
        try:
            self._tries.admit(address)
        except TooManyTries:
            look.close()  # or Python warns that nobody awaited it
            raise
        found = await look
        if found is None:
            self._tries.count(address)
            raise Unauthorized("no operator has this token")
        return found


class Customers:
    """Tells customers by their access tokens, and slows those who guess, apart from those who guess at the door.

    `tries` is None for those whom the file system let in: they are not slowed, but present a token like everybody.
    """

    def __init__(self, id_of: Callable[[str], str], tries: Tries | None) -> None:
        self._id_of = id_of
        self._tries = tries

    def id_of(self, secret: bytes | None, address: str) -> str:
        """Return the id of the token with this secret, if there is one; nothing is looked up.

        :raises Unauthorized: the text is no secret. :raises TooManyTries: nobody looked.
        """
        if not secret:
            raise Unauthorized("send an access token: Authorization: Bearer ...")
        if self._tries is not None:
            self._tries.admit(address)
        try:
            return self._id_of(secret.decode("latin-1"))
        except Unauthorized:
            self.refused(address)
            raise

    def refused(self, address: str) -> None:
        """Note that no token has a secret which looked like one."""
        if self._tries is not None:
            self._tries.count(address)


def bearer_of(authorization: bytes | None) -> bytes | None:
    """Return the token in an Authorization header, None for no token or another scheme."""
    scheme, _, token = (authorization or b"").strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token else None


def network_of(address: str) -> str:
    """Return whom to hold responsible: an IPv4 address, or the 64-bit network that one IPv6 customer has."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed.exploded[:19])
