"""Moments as people write them: ISO 8601 in UTC, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

from quotaflow.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LATEST_US = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MICROSECOND

_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LOST_PLUS = re.compile(r"(T[0-9:.]+) ([0-9]{2}:?[0-9]{2})$")  # in a query string "+" means a space


def go_duration(seconds: float) -> str:
    """Write a span of time as Go does: `24h0m0s`, `30m0s`, `1.5s`, `360ms`."""
    if seconds < 1:
        return f"{round(seconds * 1000, 6):g}ms"
    minutes, left = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{round(left, 6):g}s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail


def moment_of(text: str | None, field: str) -> datetime | None:
    """Read a moment in ISO 8601; without a zone it is UTC.

    :raises InvalidInput: it is none.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{field} must be a moment like 2025-06-15T12:00:00Z", field=field) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_moment(text: str, now_us: int, *, field: str) -> int:
    """Return microseconds since 1970. `90s`, `15m`, `1h`, `7d`, `2w` are so long ago; without a zone it is UTC.

    :raises InvalidInput: it is neither.
    """
    if ago := _AGO.fullmatch(text):
        return max(0, now_us - int(ago[1]) * _UNIT_S[ago[2]] * 1_000_000)
    try:
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
    except ValueError:
        message = (
            f"{field} must be a moment like 2025-06-15T12:00:00Z, or how long ago, like 90s, 15m, 1h, 7d"
        )
        raise InvalidInput(message, field=field) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0, (aware - _EPOCH) // _MICROSECOND), LATEST_US)
