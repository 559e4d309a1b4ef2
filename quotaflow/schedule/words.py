"""A cron expression in words. Pure, but for the library's catalogue of each language, which it reads from a file.

The library reads other dialects than ours, so it is given what our parser understood, written out so that both mean
the same: no steps that do not come out even, no names, Sunday as 7 only at the end of a range.
"""

import re
from functools import lru_cache
from itertools import count, pairwise
from typing import Literal

from cron_descriptor import ExpressionDescriptor, Options
from cron_descriptor.Exception import FormatError

from quotaflow.schedule.cron import Cron, parse

Language = Literal["en", "zh"]

REMEMBERED = 1_024  # texts, well under 1 kB each; to make one reads a file and takes 1 ms
RANGE = 3  # values in a row
LISTED = 8  # values that are written one by one; more become a step where they are one

_LOCALES = {"en": "en_US", "zh": "zh_CN"}
_SIZES = (60, 60, 24, 31, 12, 7)
_DAY, _MONTH, _WEEKDAY = 3, 4, 5
_EVERY: tuple[int, ...] = ()  # all values of a field

# The library takes these from the locale of the process.
_NAMES = {
    "Monday": "星期一", "Tuesday": "星期二", "Wednesday": "星期三", "Thursday": "星期四", "Friday": "星期五",
    "Saturday": "星期六", "Sunday": "星期日", "January": "一月", "February": "二月", "March": "三月",
    "April": "四月", "May": "五月", "June": "六月", "July": "七月", "August": "八月", "September": "九月",
    "October": "十月", "November": "十一月", "December": "十二月",
}  # fmt: skip
_NAME = re.compile(rf" ?({'|'.join(_NAMES)}) ?")


def in_words(cron: str, language: Language) -> str:
    """Say when an expression is due; what cannot be said truly stays the expression, normalised.

    :raises InvalidCron: it cannot be read.
    """
    return _in_words(parse(cron), language)


@lru_cache(maxsize=REMEMBERED)
def _in_words(cron: Cron, language: Language) -> str:
    written = _written(cron)
    if written is None:
        return cron.expression
    options = Options(
        locale_code=_LOCALES[language],
        use_24hour_time_format=True,
        verbose=not written[2].startswith("*"),  # "every day" is news only after a time of day
    )
    try:
        text = str(ExpressionDescriptor(" ".join(written), options).get_description())
    except FormatError:
        return cron.expression
    return _chinese(text) if language == "zh" else text


def _written(cron: Cron) -> list[str] | None:
    """Return the six fields as the library reads them; None where it has no words for them."""
    day, weekday = cron.values[_DAY], cron.values[_WEEKDAY]
    if "l" in day and len(day) > 1:
        return None
    fields = [_field(place, _numbers(place, allowed)) for place, allowed in enumerate(cron.values)]
    fields[_DAY] = "L" if "l" in day else fields[_DAY]
    *_, day_text, _, weekday_text = cron.expression.split(" ")
    if day_text.startswith("*") or weekday_text.startswith("*"):
        if "*" not in (fields[_DAY], fields[_WEEKDAY]):
            return None  # for the library one of the two is enough
    elif len(day) == _SIZES[_DAY] or len(weekday) == _SIZES[_WEEKDAY]:
        fields[_DAY] = fields[_WEEKDAY] = "*"
    elif "*" not in day:  # of a range it would say that both must match
        fields[_WEEKDAY] = ",".join(map(str, _numbers(_WEEKDAY, weekday)))
    return fields


def _numbers(place: int, allowed: frozenset[int | str]) -> tuple[int, ...]:
    numbers = [value for value in allowed if isinstance(value, int)]
    if len(numbers) == _SIZES[place]:
        return _EVERY
    return tuple(sorted((value or 7 if place == _WEEKDAY else value) for value in numbers))


def _field(place: int, numbers: tuple[int, ...]) -> str:
    """Write a field as a step that comes out even, a range, a step within a range, or values and ranges."""
    if numbers == _EVERY:
        return "*"
    first, last = numbers[0], numbers[-1]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    if len(steps) == 1:
        (step,) = steps
        if _is_even(place, numbers, step):
            return f"*/{step}"
        if step == 1 and len(numbers) >= RANGE:
            return f"{first}-{last}"
        if len(numbers) > LISTED:
            return f"{first}-{last}/{step}"
    return ",".join(_runs(numbers))


def _is_even(place: int, numbers: tuple[int, ...], step: int) -> bool:
    """Say whether the values go on with the same step in the next minute, hour, day or year."""
    if place in (_DAY, _WEEKDAY) or (place == _MONTH and len(numbers) < RANGE):
        return False  # two months have names
    return numbers[0] == (place == _MONTH) and step * len(numbers) == _SIZES[place]


def _runs(numbers: tuple[int, ...]) -> list[str]:
    """Write values, and three or more in a row as a range."""
    written, rest = [], numbers
    while rest:
        run = [number for number, next_one in zip(rest, count(rest[0])) if number == next_one]
        short = len(run) < RANGE
        written += [str(rest[0])] if short else [f"{run[0]}-{run[-1]}"]
        rest = rest[1 if short else len(run) :]
    return written


def _chinese(text: str) -> str:
    plain = text.replace(", 和 ", " 和 ").replace(", ", "，")
    return _NAME.sub(lambda match: _NAMES[match[1]], plain)
