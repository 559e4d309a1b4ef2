"""Numbers of other people's answers, made exact micro-units."""

import re
from decimal import ROUND_FLOOR, Decimal

from quotaflow.amounts import MAX_MICRO, MAX_UNITS, MICRO
from quotaflow.upstream.providers import BadAnswer

_TEXT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?").fullmatch
_MICRO_UNIT = Decimal(1).scaleb(-6)


def figure_micro(value: object, name: str) -> int:
    """Return the micro-units of a number or of text that is one, rounded down, at most 9e9 units; it may be negative.

    :raises BadAnswer: naming the figure, for what is no finite number.
    """
    if isinstance(value, str) and _TEXT(value):
        value = Decimal(value)
    elif isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadAnswer(f"{name} is not a number")
    if isinstance(value, Decimal) and not value.is_finite():
        raise BadAnswer(f"{name} is not a finite number")
    if not -MAX_UNITS < value < MAX_UNITS:  # first: 1e999999 is JSON too, and would be long as an int
        return MAX_MICRO if value > 0 else -MAX_MICRO
    if isinstance(value, int):
        return value * MICRO
    return int(value.quantize(_MICRO_UNIT, rounding=ROUND_FLOOR).scaleb(6))  # 16 digits: within every context


def amount_of(value: object, name: str) -> int:
    """Do the same for what cannot be negative.

    :raises BadAnswer: also for a negative number.
    """
    micro = figure_micro(value, name)
    if micro < 0:
        raise BadAnswer(f"{name} is negative")
    return micro
