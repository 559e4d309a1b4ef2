"""Rates as people give them: so many units a second, a minute, an hour or a day. Pure."""

from quotaflow import rates
from quotaflow.amounts import MICRO
from quotaflow.model import Override, Quota

PERIODS_S = {**rates.PERIODS_S, "d": 86_400}


def rate_of(of: Quota | Override) -> tuple[float, str]:
    """Return a rate as a person would give it: the first period in which a whole number is kept as this rate."""
    for period, seconds in PERIODS_S.items():
        count = round(of.refill_rate * seconds)
        if count and round(count / seconds * MICRO) == of.refill_micro_s:
            return count, period
    return of.refill_rate, "s"
