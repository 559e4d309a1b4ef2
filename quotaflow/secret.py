"""Secrets of access tokens (`qf_`) and operators (`qf_op_`): 256 random bits in base 62, a checksum in hex.

Only hashes are kept. The checksum (CRC-32, as in GitHub's tokens) tells a mistyped secret from a wrong one without
asking anybody.
"""

import hashlib
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

from quotaflow.ledger import TOKEN_PREFIX

PREFIX = "qf_"
OPERATOR_PREFIX = "qf_op_"  # no access token begins so: base 62 has no underscore
RANDOM_BYTES = 32
SHOWN = 6  # random characters that identify it for people: 36 of 256 bits

_IDS = {PREFIX: TOKEN_PREFIX, OPERATOR_PREFIX: "op_"}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = 43  # digits of 256 bits
_SECRET = re.compile(rf"([0-9A-Za-z]{{{_BODY}}})([0-9a-f]{{8}})").fullmatch


class Known(NamedTuple):
    """What is kept of a secret. The id is the first half of its hash, so that whoever has it need not look it up."""

    id: str
    token_hash: str
    prefix: str


def make(random_bytes: Callable[[int], bytes], prefix: str = PREFIX) -> tuple[str, Known]:
    """Make a secret; the second value is what is kept of it."""
    body = _base62(int.from_bytes(random_bytes(RANDOM_BYTES)), _BODY)
    secret = prefix + body + _checksum(body)
    return secret, _known(secret, prefix)


def known_of(secret: str, prefix: str = PREFIX) -> Known | None:
    """Return what is kept of a secret; None for text that is none with this prefix."""
    if not isinstance(secret, str) or not secret.startswith(prefix):
        return None
    found = _SECRET(secret, len(prefix))
    if found is None or _checksum(found[1]) != found[2]:
        return None
    return _known(secret, prefix)


def hash_of(secret: str | bytes) -> str:
    """Return what is kept of a secret: SHA-256 in hex; 256 random bits need no slow hash."""
    raw = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return hashlib.sha256(raw).hexdigest()


def _known(secret: str, prefix: str) -> Known:
    digest = hash_of(secret)
    return Known(_IDS[prefix] + digest[:32], digest, secret[: len(prefix) + SHOWN])


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
