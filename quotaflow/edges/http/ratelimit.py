"""What a decision looks like in HTTP: the status, and the headers of draft-ietf-httpapi-ratelimit-headers-11."""

import asyncio
import contextlib
import math
from http import HTTPStatus
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import JSONResponse

from quotaflow.edges.http.problems import problem, retry_after
from quotaflow.errors import NotFound, Unavailable
from quotaflow.model import Decision, Quota, Reason
from quotaflow.store import Store
from quotaflow.timing import Clock

FRESH_S = 2.0  # as long as other processes take to follow a change
READ_S = 0.25  # SQL that is slow costs one request this much every FRESH_S, not each of them
KNOWN_MAX = 10_000
LARGEST = 10**15 - 1  # of an integer in a structured field (RFC 9651)

REFUSED = {
    Reason.LIMITED: (HTTPStatus.TOO_MANY_REQUESTS, "quota_exceeded", "has too few units now"),
    Reason.IMPOSSIBLE: (HTTPStatus.UNPROCESSABLE_ENTITY, "impossible", "can never hold that many units"),
    Reason.DISABLED: (HTTPStatus.CONFLICT, "quota_disabled", "is switched off"),
    Reason.MISSING: (HTTPStatus.CONFLICT, "quota_missing", "does not exist"),
    Reason.EXHAUSTED: (HTTPStatus.TOO_MANY_REQUESTS, "quota_exhausted", "has too few units left"),
    Reason.EXPIRED: (HTTPStatus.CONFLICT, "quota_expired", "has expired"),
    Reason.CANCELLED: (HTTPStatus.CONFLICT, "request_cancelled", "was asked under a cancelled request id"),
}


class Policies:
    """What quotas allow at most, for the headers: they must not cost a query each time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[Quota | None, float]] = {}

    def forget(self, quota_id: str) -> None:
        """Read this quota again next time: it was changed."""
        self._known.pop(quota_id, None)

    async def headers(self, decision: Decision) -> dict[str, str]:
        """Return the headers that go with a decision; none while SQL cannot say what the quota is."""
        quota_ = await self._quota(decision.quota_id)
        return {} if quota_ is None else headers(quota_, decision)

    async def _quota(self, quota_id: str) -> Quota | None:
        known, read_s = self._known.get(quota_id, (None, -math.inf))
        now_s = self._clock.mono_s()
        if now_s - read_s < FRESH_S:
            return known
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[quota_id] = known, now_s  # before the read, so that others do not wait for it
        with contextlib.suppress(Unavailable, NotFound, TimeoutError):
            async with asyncio.timeout(READ_S):
                known = await self._store.get_quota(quota_id)
        self._known[quota_id] = known, now_s
        return known


def headers(policy: Quota, decision: Decision) -> dict[str, str]:
    """Write both headers: what the quota allows, and what is left of it."""
    name = item(policy.id)
    window = f";w={whole(policy.capacity / policy.refill_rate)}" if policy.refill_micro_s else ""
    reset = "" if decision.reset_after is None else f";t={whole(decision.reset_after)}"
    return {
        "RateLimit-Policy": f"{name};q={math.floor(policy.capacity)}{window}",
        "RateLimit": f"{name};r={math.floor(decision.remaining)}{reset}",
    }


def item(text: str) -> str:
    r"""Write a structured-field string: `"` and `\` escaped; "%" and all but printable ASCII percent-encoded."""
    ascii_ = quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    escaped = ascii_.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def whole(seconds: float) -> int:
    """Round up to what a structured field can hold."""
    return min(math.ceil(seconds), LARGEST)


def answer(decision: Decision, limits: dict[str, str], **members: object) -> Response:
    """Answer a decision: 200, or the problem that a refusal is; both with the same members."""
    said = {
        "allowed": decision.allowed,
        "remaining": decision.remaining,
        "retry_after": decision.retry_after,
        "reset_after": decision.reset_after,
        "reason": decision.reason,
    }
    if decision.allowed:
        return JSONResponse(said, headers=limits)
    status, code, why = REFUSED[decision.reason]
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        limits = {**retry_after(decision.retry_after), **limits}
    detail = f'quota "{decision.quota_id}" {why}'
    return problem(status, code, detail, headers=limits, **said, **members)
