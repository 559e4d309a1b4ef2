"""What an error says of the key it was made with. Pure."""

from datetime import datetime

from quotaflow.answers import asked_delay_s, http_status
from quotaflow.balances import KeyStatus, Verdict
from quotaflow.errors import QuotaflowError

REST_S = 60.0  # a service that refuses without saying for how long
LEAST_REST_S = 1.0
LONGEST_REST_S = 86_400.0


def rest_of(seconds: float) -> float:
    """Return how long a key rests that was asked to for so many seconds; 0 when no number was given."""
    return min(max(seconds or REST_S, LEAST_REST_S), LONGEST_REST_S)


def verdict_of(error: BaseException, now: datetime) -> Verdict:
    """Judge the key by an error of the call that used it: an answer that refused it cost nothing, others may have."""
    if isinstance(error, QuotaflowError):  # its `status` is about us, not about the key's service
        return Verdict()
    match http_status(error):
        case 401:
            return Verdict(KeyStatus.INVALID, is_spent=False)
        case 429:
            return Verdict(KeyStatus.COOLDOWN, rest_of(asked_delay_s(error, now)), is_spent=False)
        case 402 | 432 | 433:  # Payment Required; Tavily's own two for a limit that is reached
            return Verdict(KeyStatus.EXHAUSTED, is_spent=False)
        case 403:
            return Verdict(is_spent=False)
        case _:
            return Verdict()
