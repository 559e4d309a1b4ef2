"""What an error says of the service that caused it: which status it answered, and when to come again.

Read off by attribute, as httpx, requests, aiohttp and the SDKs built on them name it; none of them is imported.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error, None when there is none."""
    response = getattr(error, "response", None)
    for holder, name in (
        (response, "status_code"),
        (response, "status"),
        (error, "status_code"),
        (error, "status"),
    ):
        status = getattr(holder, name, None)
        if isinstance(status, int) and not isinstance(status, bool):
            return status
    return None


def asked_delay_s(error: BaseException, now: datetime) -> float:
    """Return how long the other side asked us to wait, in seconds; 0 if it did not say."""
    given = getattr(error, "retry_after", None)
    if given is None:
        headers = getattr(getattr(error, "response", error), "headers", None)
        given = headers.get("Retry-After") if isinstance(headers, Mapping) else None
    return 0.0 if given is None or isinstance(given, bool) else delay_s(given, now)


def delay_s(given: object, now: datetime) -> float:
    """Read a Retry-After: seconds, or an HTTP date (RFC 9110, 10.2.3); 0 for what is neither."""
    try:
        seconds = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return _until(given, now)
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _until(text: object, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(str(text))
    except (ValueError, OverflowError):  # the latter for years and zones of many digits
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
