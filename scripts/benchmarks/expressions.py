"""Cron expressions that differ in text and in what they list, and are all due every second."""

from itertools import product

_EACH_60 = ("*", "*/1", "0-59", "0-29,30-59", "0-59/2,1-59/2")
_EACH_24 = ("*", "*/1", "0-23", "0-11,12-23")
_EACH_DAY = ("*", "*/1", "1-31")

EVERY_SECOND = [
    f"{second} {minute} {hour} {day} * *"
    for day, hour, minute, second in product(_EACH_DAY, _EACH_24, _EACH_60, _EACH_60)
]  # 300; those that begin minute and hour with a digit are fixed times of day, which take another path
