"""What all sections of the settings are made of: their base, and the fields and checks they share."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen group of keys. A key's description completes the sentence "it must be ..."."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def whole(default: int | None, low: int, high: int, unit: str) -> Any:
    """Make the field of a whole number."""
    return Field(
        default=default, ge=low, le=high, description=f"a whole number of {unit} from {low} to {high}"
    )


def seconds(default: float, low: float, high: float) -> Any:
    """Make the field of a number of seconds."""
    return Field(
        default=default, ge=low, le=high, description=f"a number of seconds from {low:g} to {high:g}"
    )


def check_url(url: str, pattern: str) -> str:
    """ValueError unless it matches and its port, if any, is one. The text may hold a password."""
    if not re.fullmatch(pattern, url) or not url.isprintable() or "\0" in unquote(url):
        raise ValueError
    parts = urlsplit(url)
    if parts.port == 0 or parts.netloc.endswith(":"):  # reading what is no port raises ValueError too
        raise ValueError
    return url


def zone_name(name: str) -> str:
    """ValueError unless a time zone has this name."""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, OSError) as error:  # OSError: "Europe" is a directory
        raise ValueError from error


def is_zone(name: object) -> bool:
    """Say whether a time zone has this name."""
    try:
        return isinstance(name, str) and bool(zone_name(name))
    except ValueError:
        return False
