"""What an error says of the key that was used, whichever library raised it."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from quotaflow.balances import KeyStatus, Verdict
from quotaflow.errors import QuotaExceeded, TokenRefused
from quotaflow.upstream.verdicts import LONGEST_REST_S, REST_S, rest_of, verdict_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPENT, UNSPENT = Verdict(), Verdict(is_spent=False)


def of_httpx(status: int, **headers: str) -> Exception:
    request = httpx.Request("POST", "http://service/search")
    return httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(status, headers=headers, request=request)
    )


class SdkError(Exception):
    """As SDKs raise it: the status on the error itself."""

    def __init__(self, **fields: Any) -> None:
        super().__init__("no")
        vars(self).update(fields)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (of_httpx(401), Verdict(KeyStatus.INVALID, is_spent=False)),
        (of_httpx(403), UNSPENT),
        (of_httpx(402), Verdict(KeyStatus.EXHAUSTED, is_spent=False)),
        (of_httpx(432), Verdict(KeyStatus.EXHAUSTED, is_spent=False)),
        (of_httpx(433), Verdict(KeyStatus.EXHAUSTED, is_spent=False)),
        (of_httpx(429), Verdict(KeyStatus.COOLDOWN, REST_S, is_spent=False)),
        (of_httpx(429, **{"Retry-After": "7"}), Verdict(KeyStatus.COOLDOWN, 7.0, is_spent=False)),
        (
            of_httpx(429, **{"Retry-After": "Thu, 01 Jan 2026 00:01:30 GMT"}),
            Verdict(KeyStatus.COOLDOWN, 90.0, is_spent=False),
        ),
        (of_httpx(404), SPENT),
        (of_httpx(500), SPENT),
        (httpx.ReadTimeout("no"), SPENT),
        (ValueError("a bug of the caller"), SPENT),
        (SdkError(status_code=401), Verdict(KeyStatus.INVALID, is_spent=False)),
        (
            SdkError(status=429, headers={"Retry-After": "3"}),
            Verdict(KeyStatus.COOLDOWN, 3.0, is_spent=False),
        ),
        (SdkError(status_code=429, retry_after=4), Verdict(KeyStatus.COOLDOWN, 4.0, is_spent=False)),
        (SdkError(response=SimpleNamespace(status=402)), Verdict(KeyStatus.EXHAUSTED, is_spent=False)),
        (SdkError(status_code=True, status="401"), SPENT),
        (QuotaExceeded("no", quota_id="q", retry_after=5.0), SPENT),
        (TokenRefused("no"), SPENT),
    ],
)
def test_an_error_is_judged_by_the_status_behind_it(error: Exception, verdict: Verdict) -> None:
    assert verdict_of(error, NOW) == verdict


def test_a_rest_is_a_second_at_least_and_a_day_at_most() -> None:
    assert [rest_of(seconds) for seconds in (0, 0.2, 5, 1e9)] == [REST_S, 1.0, 5, LONGEST_REST_S]
