"""The terms of an access token, checked: how long, how much, how fast. Pure."""

from collections.abc import Iterable, Mapping

from quotaflow.amounts import MICRO, check_id, cost_micro, prepaid_micro
from quotaflow.errors import InvalidInput
from quotaflow.ledger import AccessToken, Change, QuotaType
from quotaflow.limiter.allowances import Definition

PER_MINUTE_MAX = 1_000_000_000
EMAIL_CHARS = 320

Costs = Mapping[str, float] | Iterable[str]  # of shared quotas: by name, or names that are asked the same


def definition_of(token: AccessToken) -> Definition:
    """Return what Redis must know of a token. Its own rate lets `burst` requests through at once."""
    per_minute = token.rate_limit_per_minute
    burst = token.rate_limit_burst or per_minute or 0
    return Definition(
        subject=token.id,
        kind=token.quota_type,
        version=token.version,
        total_micro=token.total_micro or 0,
        expires_us=token.expires_us,
        active=token.active and token.deleted_us is None,
        pace=None if per_minute is None else (burst * MICRO, max(1, per_minute * MICRO // 60)),
    )


def shared_costs(quotas: Costs, cost: object) -> dict[str, int]:
    """Check what is asked of shared quotas.

    :raises InvalidInput: no names, or a cost that is none.
    """
    if isinstance(quotas, str) or not isinstance(quotas, Iterable):
        raise InvalidInput("quotas must be names, or a mapping of names to costs", field="quotas")
    named = dict(quotas) if isinstance(quotas, Mapping) else dict.fromkeys(quotas, cost)
    return {check_id(name, field="quotas"): cost_micro(each, field="quotas") for name, each in named.items()}


def change_micro(change: Change, amount: object) -> int | None:
    """Check the amount of a change.

    :raises InvalidInput: missing, negative, zero for a recharge, or above 2e9 units.
    """
    if change is Change.EXPIRE:
        return None
    if amount is None:
        if change is Change.RESET:
            return None
        raise InvalidInput("amount is missing", field="amount")
    return prepaid_micro(amount, field="amount", minimum=1 if change is Change.RECHARGE else 0)


def check_kind(token: AccessToken) -> None:
    """Check what belongs together.

    :raises InvalidInput: naming the field.
    """
    if token.quota_type is QuotaType.HYBRID and token.expires_us is None:
        raise InvalidInput(
            "a hybrid token needs an end: operation add with days, or set with specific_date",
            field="operation",
        )
    if token.rate_limit_burst is not None and token.rate_limit_per_minute is None:
        raise InvalidInput("rate_limit_burst needs rate_limit_per_minute", field="rate_limit_burst")


def total_of(quota_type: QuotaType, total: object) -> int | None:
    """Check the units a token begins with.

    :raises InvalidInput: missing where units are counted, given where they are not, or no number above 0.
    """
    if not quota_type.is_metered:
        if total is not None:
            raise InvalidInput(
                "a token of type time counts no units: leave total_quota out", field="total_quota"
            )
        return None
    if total is None:
        raise InvalidInput(f"total_quota is needed with quota_type {quota_type}", field="total_quota")
    return prepaid_micro(total, field="total_quota", minimum=1)


def per_minute_of(value: object, field: str) -> int | None:
    """Check a number of requests.

    :raises InvalidInput: not a whole number from 1 to 1e9.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= PER_MINUTE_MAX:
        raise InvalidInput(f"{field} must be a whole number from 1 to {PER_MINUTE_MAX}", field=field)
    return value


def email_of(value: object) -> str:
    """Check an address, roughly: it is a label here, nothing is sent to it.

    :raises InvalidInput: no text of at most 320 characters with an @ inside and no space.
    """
    if not isinstance(value, str) or len(value) > EMAIL_CHARS or "@" not in value[1:-1]:
        raise InvalidInput("email must be an address like name@example.com", field="email")
    if not value.isprintable() or " " in value:
        raise InvalidInput("email must not contain spaces or control characters", field="email")
    return value
