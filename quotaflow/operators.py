"""The nouns of those who look after an installation: operators, their sessions in a browser, and what they changed.

Moments are integer microseconds in UTC. A secret is nowhere among them, only its SHA-256 in hex.
"""

from dataclasses import dataclass, field
from enum import StrEnum

ADMIN = "admin"  # actor of who has the admin token, or reaches the socket in the data directory


class Role(StrEnum):
    """What an operator may do."""

    ADMIN = "admin"
    VIEWER = "viewer"  # look at everything, change nothing


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody with an operator token. The fields are the columns of `operators`, in their order.

    `name` is unique among those not revoked, and the actor of what it changes. `prefix`: the token's first characters.
    """

    id: str
    name: str
    role: Role
    token_hash: str = field(repr=False)
    prefix: str
    created_us: int
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in: it may do what the token may with which it signed in, as long as that is valid."""

    secret_hash: str = field(repr=False)
    token_hash: str = field(repr=False)
    created_us: int
    expires_us: int


class Act(StrEnum):
    """What an operator did to something."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    REFILL = "refill"
    RECHARGE = "recharge"
    REFUND = "refund"
    CANCEL = "cancel"


class Subject(StrEnum):
    """What an operator may do something to."""

    QUOTA = "quota"
    OVERRIDE = "override"  # its id: quota id, a line break, key
    TASK = "task"
    RUN = "run"
    TOKEN = "token"  # noqa: S105  a word
    UPSTREAM_KEY = "upstream_key"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change by a person. The fields are the columns of `admin_audit`, in their order.

    `id` begins with its moment, so that ids are in the order of time. `before` and `after` are JSON objects as text:
    what of the subject changed, in the words and units of the API; None where it did not exist. `undoes`: the id of
    the entry whose change this one took back. `kept`: what undoing it needs and no page shows.
    """

    id: str
    at_us: int
    actor: str
    act: Act
    kind: Subject
    subject_id: str
    before: str | None = None
    after: str | None = None
    undoes: str | None = None
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class By:
    """A person who changes something. `undoes`: the id of the entry whose change is taken back."""

    actor: str
    undoes: str | None = None


Actor = str | By  # who a desk is told changes something: a name is enough


def by_of(actor: Actor | None) -> By | None:
    """Return who it is; None when it is not a person: configuration, recovery, the daemon itself."""
    return By(actor) if isinstance(actor, str) else actor
