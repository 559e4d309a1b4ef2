"""How the model's integers look in SQL: moments as UTC timestamps, amounts as units, so that people can read both."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import DateTime, Dialect, Double, Enum, TypeDecorator

from quotaflow.model import MICRO

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[int]):
    """Whole microseconds since 1970 in Python; a timestamp in UTC in SQL. SQLite keeps it as sortable text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Turn microseconds into what the driver takes."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Turn what the driver gives (SQLite: without a zone) into microseconds."""
        return None if value is None else (value.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class Units(TypeDecorator[int]):
    """Integer micro-units in Python; units in SQL. A double keeps every micro-unit up to 2e9 units."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        """Turn micro-units into units."""
        return None if value is None else value / MICRO

    def process_result_value(self, value: float | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Turn units into micro-units."""
        return None if value is None else round(value * MICRO)


def word(words: type[StrEnum]) -> Enum:
    """Return the type of a column that holds one word of a closed list, kept as plain text."""
    return Enum(words, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind])
