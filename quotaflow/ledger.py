"""The nouns of prepaid work: access tokens, charges of allowances, and the ledger that records them."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from quotaflow.amounts import MICRO
from quotaflow.errors import InvalidInput
from quotaflow.model import Reason

TOKEN_PREFIX = "tok_"  # noqa: S105  of every token's id, and of no quota's
HOLD_PREFIX = "hold-"  # of the request ids of reservations; then a moment, so that SQL finds the young ones
DAY_US = 86_400_000_000
DAYS_MAX = 36_500
LATEST_US = 9_000_000_000_000_000  # in the year 2255: scripts in Redis know no larger number
REQUEST_ID_CHARS = 128
MESSAGE_CHARS = 500  # of the error that a charge's work ended with


class QuotaType(StrEnum):
    """What ends an access token: time, units, or whichever comes first."""

    TIME = "time"
    COUNT = "count"
    HYBRID = "hybrid"

    @property
    def is_metered(self) -> bool:
        """Units are charged."""
        return self is not QuotaType.TIME


class Action(StrEnum):
    """What a row of the ledger says happened."""

    INIT = "init"
    CONSUME = "consume"
    REFUND = "refund"
    RECHARGE = "recharge"
    SET = "set"
    RESET = "reset"
    EXPIRE = "expire"
    ADJUST = "adjust"  # a new epoch begins, or units are taken: by a person, or those that an orphan took
    GAP = "gap"  # a new epoch begins, and this much happened that nobody recorded; recovery alone
    ORPHAN = "orphan"  # a charge of a life of Redis that SQL had already closed; outside the chain


class Change(StrEnum):
    """What a person may do to an allowance."""

    RECHARGE = "recharge"  # total and remaining grow
    SET = "set"  # remaining becomes the amount; the total is at least that
    RESET = "reset"  # total and remaining become the amount; without one, remaining becomes the total
    EXPIRE = "expire"  # nothing remains and it ends now
    ADJUST = "adjust"  # the amount is taken, at most what is there


@dataclass(frozen=True, slots=True)
class Validity:
    """Until when a token is valid: `add` so many days from now (or from its end), `set` a moment, or `unlimited`."""

    operation: str
    days: int | None = None
    until_us: int | None = None

    def end_us(self, now_us: int, before_us: int | None = None) -> int | None:
        """Return the moment it ends, None for never. Days are added to what is left.

        :raises InvalidInput: naming the field.
        """
        match self.operation:
            case "unlimited":
                return None
            case "add":
                if self.days is None or isinstance(self.days, bool) or not 1 <= self.days <= DAYS_MAX:
                    raise InvalidInput(f"days must be 1 to {DAYS_MAX} with operation add", field="days")
                return _sound(max(now_us, before_us or now_us) + self.days * DAY_US, "days")
            case "set":
                if self.until_us is None or self.until_us <= now_us:
                    raise InvalidInput(
                        "specific_date must be in the future with operation set", field="specific_date"
                    )
                return _sound(self.until_us, "specific_date")
        raise InvalidInput("operation must be add, set or unlimited", field="operation")


def _sound(end_us: int, field: str) -> int:
    if end_us > LATEST_US:
        raise InvalidInput(f"{field} must lead to no later than the year 2254", field=field)
    return end_us


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A credential that a customer presents. `id` and `token_hash` come from its secret, which is kept nowhere.

    The definition is changed by people; `total_micro`, `remaining_micro`, `epoch` and `seq` are the ledger's, as of
    `synced_us`. `rate_limit_per_minute` and `rate_limit_burst` count requests.
    """

    id: str
    token_hash: str
    prefix: str
    ws_id: str
    email: str
    quota_type: QuotaType
    expires_us: int | None
    rate_limit_per_minute: int | None
    rate_limit_burst: int | None
    active: bool
    version: int
    created_us: int
    updated_us: int
    deleted_us: int | None = None
    total_micro: int | None = None
    remaining_micro: int | None = None
    epoch: int = 0
    seq: int = 0
    synced_us: int | None = None


class Balance(NamedTuple):
    """What an allowance has, and up to which ledger fact that counts; `at_us` is when that was."""

    subject: str
    remaining_micro: int
    epoch: int
    seq: int
    at_us: int
    total_micro: int | None = None  # None: as it was


@dataclass(frozen=True, slots=True)
class Holding:
    """What an allowance has at this moment. `remaining_micro` is None when it is not metered."""

    subject: str
    kind: str
    total_micro: int
    remaining_micro: int | None
    epoch: int
    seq: int
    expires_us: int | None
    active: bool
    allowed: int
    limited: int
    version: int
    period_us: int  # when it last began with its total


class LedgerEntry(NamedTuple):
    """One change of an allowance, as the ledger keeps it. Moments in microseconds, amounts in micro-units.

    `total_micro` is the new total where the change set one; it is not part of the row.
    """

    event_id: str
    subject: str
    action: Action
    before_micro: int
    change_micro: int
    after_micro: int
    epoch: int
    seq: int
    request_id: str | None
    actor: str | None
    created_us: int
    total_micro: int | None = None


class LedgerRow(NamedTuple):
    """A row of the ledger as people see it, with how the work that was paid for ended."""

    event_id: str
    subject: str
    action: Action
    before_micro: int
    change_micro: int
    after_micro: int
    epoch: int
    seq: int
    request_id: str | None
    actor: str | None
    created_us: int
    checksum: str
    execution_success: bool | None = None
    execution_error_type: str | None = None
    execution_error_message: str | None = None


CHECKED = LedgerRow._fields.index("checksum")


class WorkOutcome(NamedTuple):
    """How the work that a charge paid for ended."""

    subject: str
    request_id: str
    success: bool
    error_type: str | None = None
    error_message: str | None = None


class RequestState(StrEnum):
    """Where a request id stands."""

    UNKNOWN = "unknown"
    CHARGED = "charged"
    HELD = "held"  # reserved: settled by its owner, or given back when its time is up
    SETTLED = "settled"
    RELEASED = "released"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class Part(NamedTuple):
    """What a request takes of one allowance or bucket."""

    id: str
    cost_micro: int
    is_bucket: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request id and what is known of it. `remaining` in units after the charge, None when that is not known."""

    subject: str
    request_id: str
    state: RequestState
    parts: tuple[Part, ...] = ()
    remaining: float | None = None

    @property
    def cost(self) -> float:
        """Units it took of its subject."""
        return self.parts[0].cost_micro / MICRO if self.parts else 0.0


class Charge(NamedTuple):
    """The answer to a request for prepaid units.

    `decided_by` is the allowance or bucket that decided. `remaining` is in units, None when it is not metered;
    `retry_after` in seconds, None when waiting does not help. `repeated`: it was charged before, under the same id.
    """

    allowed: bool
    subject: str
    decided_by: str
    remaining: float | None
    retry_after: float | None
    reason: Reason
    request_id: str
    repeated: bool = False


def checksum_of(entry: LedgerEntry | LedgerRow) -> str:
    """Return the checksum of the columns that never change: BLAKE2b of 64 bits, in hex. It finds an edit by hand."""
    text = "|".join([str(value) for value in entry[:CHECKED]])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def check_request_id(value: object) -> str:
    """Check a request id of a caller's own.

    :raises InvalidInput: not 1 to 128 printable ASCII characters without spaces.
    """
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= REQUEST_ID_CHARS
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise InvalidInput(
            "request_id must be 1 to 128 printable ASCII characters without spaces", field="request_id"
        )
    return value
