"""What answers about access tokens and prepaid units carry."""

from dataclasses import asdict, dataclass, field

from quotaflow.amounts import MICRO
from quotaflow.control.charges import Refund
from quotaflow.control.tokens import TokenView
from quotaflow.ledger import LedgerRow, Request
from quotaflow.timing import iso, iso_or_none


@dataclass(frozen=True, slots=True)
class TokenQuotaShown:
    """What a token has; the first three are null for type time."""

    quota_type: str
    total_quota: float | None
    remaining_quota: float | None
    consumed_quota: float | None
    expires_at: str | None
    active: bool


@dataclass(frozen=True, slots=True)
class TokenShown:
    """An access token. What it has is live; as SQL knew it at `quota_synced_at` while Redis is away."""

    id: str
    prefix: str
    ws_id: str
    email: str
    quota_type: str
    total_quota: float | None
    remaining_quota: float | None
    consumed_quota: float | None
    expires_at: str | None
    rate_limit_per_minute: int | None
    rate_limit_burst: int | None
    active: bool
    created_at: str
    updated_at: str
    deleted_at: str | None
    quota_synced_at: str | None
    allowed: int | None
    limited: int | None
    version: int


@dataclass(frozen=True)
class TokenMade(TokenShown):
    """A token that was just made: its secret is shown this once and kept nowhere."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogShown:
    """A change of what a token or prepaid quota has. `execution_*` say how the work ended that a charge paid for."""

    event_id: str
    subject: str
    action: str
    quota_before: float
    quota_change: float
    quota_after: float
    epoch: int
    seq: int
    request_id: str | None
    actor: str | None
    created_at: str
    execution_success: bool | None
    execution_error_type: str | None
    execution_error_message: str | None


@dataclass(frozen=True, slots=True)
class RequestShown:
    """Where a request id stands; `remaining` after its charge, null when that is not known."""

    request_id: str
    state: str
    cost: float
    remaining: float | None


@dataclass(frozen=True, slots=True)
class CancelShown:
    """A cancelled request, and how many units went back just now."""

    request_id: str
    state: str
    amount: float
    repeated: bool


@dataclass(frozen=True, slots=True)
class RefundShown:
    """What went back to a token or prepaid quota; nothing when it had gone back before."""

    token_id: str
    request_id: str
    state: str
    amount: float
    remaining_quota: float | None
    repeated: bool


def token_shown(view: TokenView) -> TokenShown:
    """Show a token."""
    token, held = view.token, view.holding
    quota = token_quota_shown(view)
    return TokenShown(
        id=token.id,
        prefix=token.prefix,
        ws_id=token.ws_id,
        email=token.email,
        quota_type=quota.quota_type,
        total_quota=quota.total_quota,
        remaining_quota=quota.remaining_quota,
        consumed_quota=quota.consumed_quota,
        expires_at=quota.expires_at,
        rate_limit_per_minute=token.rate_limit_per_minute,
        rate_limit_burst=token.rate_limit_burst,
        active=token.active,
        created_at=iso(token.created_us),
        updated_at=iso(token.updated_us),
        deleted_at=iso_or_none(token.deleted_us),
        quota_synced_at=iso_or_none(token.synced_us),
        allowed=held.allowed if held else None,
        limited=held.limited if held else None,
        version=token.version,
    )


def token_made(view: TokenView, secret: str) -> TokenMade:
    """Show a token and its secret."""
    return TokenMade(**asdict(token_shown(view)), secret=secret)


def token_quota_shown(view: TokenView) -> TokenQuotaShown:
    """Show what a token has."""
    token, held = view.token, view.holding
    metered = token.quota_type.is_metered
    total = held.total_micro if held else token.total_micro
    remaining = held.remaining_micro if held else token.remaining_micro
    consumed = None if total is None or remaining is None else total - remaining
    return TokenQuotaShown(
        quota_type=token.quota_type,
        total_quota=units(total) if metered else None,
        remaining_quota=units(remaining) if metered else None,
        consumed_quota=units(consumed) if metered else None,
        expires_at=iso_or_none(token.expires_us),
        active=token.active,
    )


def log_shown(row: LedgerRow) -> LogShown:
    """Show a row of the ledger."""
    return LogShown(
        event_id=row.event_id,
        subject=row.subject,
        action=row.action,
        quota_before=row.before_micro / MICRO,
        quota_change=row.change_micro / MICRO,
        quota_after=row.after_micro / MICRO,
        epoch=row.epoch,
        seq=row.seq,
        request_id=row.request_id,
        actor=row.actor,
        created_at=iso(row.created_us),
        execution_success=row.execution_success,
        execution_error_type=row.execution_error_type,
        execution_error_message=row.execution_error_message,
    )


def request_shown(request: Request) -> RequestShown:
    """Show where a request id stands."""
    return RequestShown(request.request_id, request.state, request.cost, request.remaining)


def cancel_shown(refund: Refund) -> CancelShown:
    """Show a cancelled request."""
    return CancelShown(refund.request.request_id, refund.request.state, refund.amount, refund.repeated)


def refund_shown(refund: Refund, remaining: float | None) -> RefundShown:
    """Show what went back."""
    request = refund.request
    return RefundShown(
        request.subject, request.request_id, request.state, refund.amount, remaining, refund.repeated
    )


def units(micro: int | None) -> float | None:
    """Write an amount that may not be known."""
    return None if micro is None else micro / MICRO
