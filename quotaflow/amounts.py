"""Numbers and ids that people give, checked and made exact."""

import math
import unicodedata
from decimal import Decimal

from quotaflow.errors import InvalidInput

MICRO = 1_000_000
MAX_UNITS = 9_000_000_000
MAX_MICRO = MAX_UNITS * MICRO  # 9e15 < 2**53: exact in a Lua double
MAX_PREPAID_UNITS = 2_000_000_000  # a double keeps every micro-unit of as many
MAX_SLOTS = 1_000_000
MAX_ID_BYTES = 128


def amount_micro(value: object, *, field: str, minimum: int = 0) -> int:
    """Turn units into micro-units.

    :raises InvalidInput: for anything but a finite number in [minimum micro-units, 9e9 units].
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidInput(f"{field} must be a number, not {type(value).__name__}", field=field)
    if not _is_finite(value):
        raise InvalidInput(f"{field} must be a finite number", field=field)
    if value < 0 or value > MAX_UNITS:
        least = f"{minimum / MICRO:f}" if minimum else "0"
        raise InvalidInput(f"{field} must be between {least} and {MAX_UNITS:,} units", field=field)
    micro = round(value * MICRO)
    if micro < minimum or (value > 0 and micro == 0):
        raise InvalidInput(f"{field} must be at least {max(minimum, 1) / MICRO:f} units", field=field)
    return micro


def prepaid_micro(value: object, *, field: str, minimum: int = 0) -> int:
    """Do the same for what an allowance has; SQL keeps every micro-unit of it up to 2e9 units.

    :raises InvalidInput: also above that.
    """
    micro = amount_micro(value, field=field, minimum=minimum)
    if isinstance(value, Decimal | float) and micro / MICRO != float(value):
        raise InvalidInput(f"{field} must be a multiple of 0.000001", field=field)
    if micro > MAX_PREPAID_UNITS * MICRO:
        raise InvalidInput(f"{field} must be at most {MAX_PREPAID_UNITS:,} units", field=field)
    return micro


def cost_micro(value: object, *, field: str = "cost") -> int:
    """Turn a cost into micro-units; 0 looks without taking.

    :raises InvalidInput: also for what is not a multiple of 1e-6: a charge is never rounded.
    """
    micro = amount_micro(value, field=field)
    if isinstance(value, Decimal | float) and micro / MICRO != float(value):
        raise InvalidInput(f"{field} must be a multiple of 0.000001", field=field)
    return micro


def slot_count(value: object, *, field: str = "max_concurrent") -> int:
    """Check how many may be under way at the same time.

    :raises InvalidInput: for anything but a whole number from 1 to 1,000,000.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{field} must be a whole number, not {type(value).__name__}", field=field)
    if not 1 <= value <= MAX_SLOTS:
        raise InvalidInput(f"{field} must be between 1 and {MAX_SLOTS:,}", field=field)
    return value


def wait_s(value: object, *, field: str = "wait") -> float:
    """Check how long somebody would wait.

    :raises InvalidInput: for anything but a finite number of seconds, 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{field} must be a number of seconds, not {type(value).__name__}", field=field)
    if not _is_finite(value) or value < 0:
        raise InvalidInput(f"{field} must be a finite number of seconds, 0 or more", field=field)
    return float(value)


def _is_finite(value: float | Decimal) -> bool:
    try:
        return math.isfinite(value)
    except (OverflowError, ValueError):  # a whole number above every float, a signalling NaN
        return False


def check_id(value: object, *, field: str = "id") -> str:
    """Normalise an id to NFC; two ids that look the same are the same.

    :raises InvalidInput: empty, longer than 128 bytes, surrounding space, or control characters.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{field} must be text, not {type(value).__name__}", field=field)
    text = value if value.isascii() else unicodedata.normalize("NFC", value)
    if not text or text != text.strip():
        raise InvalidInput(f"{field} must not be empty nor begin or end with space", field=field)
    if not text.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise InvalidInput(f"{field} must not contain control characters", field=field)
    if len(text.encode()) > MAX_ID_BYTES:
        raise InvalidInput(f"{field} must be at most {MAX_ID_BYTES} bytes of UTF-8", field=field)
    return text


def check_key(key: object) -> str:
    """Check the key of one bucket among a quota's many, as an id is checked.

    :raises InvalidInput: as `check_id` does.
    """
    # Nearly every decision has such a key: 1,500 instructions, where a regular expression took 2,500.
    if (
        type(key) is str
        and key.isascii()
        and key.isprintable()
        and " " not in key
        and 0 < len(key) <= MAX_ID_BYTES
    ):
        return key
    return check_id(key, field="key")
