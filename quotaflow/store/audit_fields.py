"""What the record of changes says of a thing: its definition, in the words and units of the HTTP API; no secret."""

from collections.abc import Iterable
from typing import Any

from quotaflow.amounts import MICRO
from quotaflow.balances import UpstreamKey
from quotaflow.ledger import AccessToken
from quotaflow.model import KIND_FIELDS, Override, Quota, QuotaKind
from quotaflow.operators import Operator
from quotaflow.store.tasks import TaskRow
from quotaflow.timing import iso_or_none

Fields = dict[str, Any]
Difference = tuple[Fields | None, Fields | None]  # before and after; None where it did not exist

LEFT = (
    "remaining"  # what a prepaid quota had left when it was removed: with its definition, but no part of it
)
UNKNOWN = "unknown"  # in place of it: Redis could not be asked


def quota_fields(
    quota: Quota, overrides: Iterable[Override] = (), *, remaining: float | str | None = None
) -> Fields:
    """Return what a person can say of a quota of its kind; `overrides` by their keys where there are some.

    :param remaining: what a prepaid one has left as it goes or comes back, or UNKNOWN; None: it is not said.
    """
    terms = {
        "capacity": quota.capacity,
        "refill_rate": quota.refill_rate,
        "total": quota.capacity,
        "reset_cron": quota.reset_cron,
        "timezone": quota.timezone,
        "max_concurrent": quota.max_concurrent,
        "mirrors": quota.mirrors,
    }
    needed, more = KIND_FIELDS[QuotaKind(quota.kind)]
    own = {field: terms[field] for field in (*needed, *more)}
    if quota.mirrors is not None:
        del own["total"]  # the provider says it
    named = {"id": quota.id, "name": quota.name, "kind": str(quota.kind), **own, "enabled": quota.enabled}
    if remaining is not None:
        named[LEFT] = remaining
    keys = {override.key: _pace(override) for override in overrides}
    return {**named, "overrides": keys} if keys else named


def override_fields(override: Override) -> Fields:
    """Return what a key of a quota has of its own."""
    return {"quota_id": override.quota_id, "key": override.key, **_pace(override)}


def override_subject(quota_id: str, key: str) -> str:
    """Return the subject id of an override."""
    return f"{quota_id}\n{key}"


def _pace(override: Override) -> Fields:
    return {"capacity": override.capacity, "refill_rate": override.refill_rate}


def task_fields(row: TaskRow) -> Fields:
    """Return what a person may decide of a task; None where the code decides."""
    return {
        "paused": row.paused,
        "skip_at": iso_or_none(row.skip_us),
        "cron": row.cron_override,
        "rate_limit": row.rate_override,
    }


def token_fields(token: AccessToken) -> Fields | None:
    """Return the definition of a token, None of a deleted one. What it has left is the ledger's."""
    if token.deleted_us is not None:
        return None
    return {
        "ws_id": token.ws_id,
        "email": token.email,
        "quota_type": str(token.quota_type),
        "total_quota": None if token.total_micro is None else token.total_micro / MICRO,
        "expires_at": iso_or_none(token.expires_us),
        "rate_limit_per_minute": token.rate_limit_per_minute,
        "rate_limit_burst": token.rate_limit_burst,
        "active": token.active,
    }


def key_fields(key: UpstreamKey, *, was: UpstreamKey | None = None) -> Fields:
    """Return the definition of an upstream key. Of its secret only that it is another than it `was`."""
    fields: Fields = {"provider": key.provider, "name": key.name, "enabled": key.enabled}
    return fields if was is None or was.sealed == key.sealed else {**fields, "secret": "changed"}


def operator_fields(operator: Operator) -> Fields | None:
    """Return the definition of an operator, None of one who was revoked."""
    return None if operator.revoked_us is not None else {"name": operator.name, "role": str(operator.role)}


def different(before: Fields | None, after: Fields | None) -> Difference | None:
    """Leave out what is the same; None when everything is."""
    if before is None or after is None:
        return None if before is after else (before, after)
    was = {field: value for field, value in before.items() if field not in after or after[field] != value}
    now = {field: value for field, value in after.items() if field not in before or before[field] != value}
    return (was, now) if was or now else None
