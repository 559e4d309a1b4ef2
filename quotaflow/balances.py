"""The nouns of upstream keys: API keys of other people's services, whose balances we mirror.

Amounts are integer micro-units, moments integer microseconds in UTC. A secret is nowhere among them.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class KeyStatus(StrEnum):
    """What may be done with an upstream key."""

    ACTIVE = "active"
    EXHAUSTED = "exhausted"  # nothing is left of it until its service says otherwise
    INVALID = "invalid"  # its service does not know it
    COOLDOWN = "cooldown"  # its service asked to be left alone until a moment


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """One key as SQL keeps it. The fields are the columns of `upstream_keys`, in their order.

    `sealed`: where its secret is: `env:NAME`, `file:/path`, or `fernet:` and the encrypted text. `fingerprint`: SHA-256
    of provider and secret: no secret is there twice. `shown`: its first and last characters.
    `failures`: checks in a row that brought no balance. Before the first check the amounts are None.
    """

    id: str
    provider: str
    name: str
    sealed: str = field(repr=False)
    fingerprint: str = field(repr=False)
    shown: str
    enabled: bool
    created_us: int
    updated_us: int
    plan_limit_micro: int | None = None
    used_micro: int | None = None
    remaining_micro: int | None = None
    status: KeyStatus = KeyStatus.ACTIVE
    cooldown_until_us: int | None = None
    checked_us: int | None = None
    error: str | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a service says of one key. `limit_micro` is None where it does not say; `remaining_micro` is 0 or more."""

    remaining_micro: int
    used_micro: int | None = None
    limit_micro: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking a service about one key: its usage, or in `error` one line that says why not.

    `status`: INVALID or COOLDOWN where the answer says so, else None: the key stays what it was.
    `rest_s`: of COOLDOWN, seconds.
    """

    key_id: str
    usage: Usage | None
    error: str | None = None
    status: KeyStatus | None = None
    rest_s: float = 0.0


class Verdict(NamedTuple):
    """What a call that was made with a key told about it.

    `status`: INVALID, EXHAUSTED or COOLDOWN for `rest_s` seconds, else None. `is_spent`: it may have cost units.
    """

    status: KeyStatus | None = None
    rest_s: float = 0.0
    is_spent: bool = True


@dataclass(frozen=True, slots=True)
class LiveKey:
    """What Redis knows of a key at this moment.

    `available_micro`: its balance less what is reserved and what was spent since, below 0 when more was spent than it
    had; None while no check has brought a balance. `held_micro`: what is reserved of it.
    """

    id: str
    status: KeyStatus
    available_micro: int | None
    held_micro: int
    cooldown_until_us: int | None = None


@dataclass(frozen=True, slots=True)
class KeyTrouble:
    """Why one key could not be refreshed."""

    id: str
    provider: str
    name: str
    error: str


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did. `provider` is None when it was for all."""

    provider: str | None
    started_us: int
    success: int
    failed: int
    total_keys: int
    elapsed_seconds: float
    errors: tuple[KeyTrouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a refresh is: how many keys were asked about, and of how many nothing could be learnt. `id` names it.

    `report` is there when it is over.
    """

    id: str
    provider: str | None
    done: int
    failed: int
    total_keys: int
    report: RefreshReport | None = None


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key and what Redis knows of it at this moment; `live` is None where it knows nothing, or cannot be asked."""

    key: UpstreamKey
    live: LiveKey | None

    @property
    def status(self) -> KeyStatus:
        """What may be done with it now."""
        return self.live.status if self.live else self.key.status

    @property
    def remaining_micro(self) -> int | None:
        """What may still be reserved; what its service said last where nothing may, None while nobody knows."""
        if self.live is None or self.live.status is KeyStatus.INVALID:
            return self.key.remaining_micro
        return None if self.live.available_micro is None else max(0, self.live.available_micro)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How many keys were stored; `errors`: row number, counted from 1, and why it was not."""

    success: int
    failed: int
    errors: tuple[tuple[int, str], ...]
