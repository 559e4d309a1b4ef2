"""The admin token: where it comes from, and who has it. Only its SHA-256 is ever kept."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from ipaddress import IPv6Address

from quotaflow.edges.http.problems import TooManyTries
from quotaflow.errors import Unauthorized
from quotaflow.settings import Settings
from quotaflow.store import Store
from quotaflow.timing import Clock

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


def hash_of(token: str | bytes) -> str:
    """Return what is kept of a token: SHA-256 in hex; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).hexdigest()


class Door:
    """Lets in who has the admin token, and slows those who guess.

    Each address may send 20 wrong tokens, and one more each second; above that none of its tokens is looked at.
    The socket in the data directory knows no token, so nobody can lock the owner out.
    """

    def __init__(self, token_hash: str | None, clock: Clock) -> None:
        self._hash = token_hash
        self._clock = clock
        self._tries: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # address -> tries left, at which second

    def check(self, authorization: bytes | None, address: str) -> None:
        """Return if the header holds the token.

        :raises Unauthorized: it does not. :raises TooManyTries: nobody looked.
        """
        scheme, _, token = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthorized("send the admin token: Authorization: Bearer ...")
        who = network_of(address) if self._tries else address
        if self._left(who) < 1:
            raise TooManyTries("too many wrong tokens came from this address; try again later")
        if self._hash is None or not hmac.compare_digest(hash_of(token.strip()), self._hash):
            self._count(network_of(address))
            raise Unauthorized("this is not the admin token")

    def _left(self, who: str) -> float:
        left, since_s = self._tries.get(who, (float(TRIES), 0.0))
        return min(float(TRIES), left + self._clock.mono_s() - since_s)

    def _count(self, who: str) -> None:
        self._tries[who] = self._left(who) - 1, self._clock.mono_s()
        self._tries.move_to_end(who)
        if len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)


def network_of(address: str) -> str:
    """Return whom to hold responsible: an IPv4 address, or the 64-bit network that one IPv6 customer has."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed.exploded[:19])
