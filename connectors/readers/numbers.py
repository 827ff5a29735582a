"""From what decoders make of dates and times back to the numbers that Connect's logical types hold."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

Convert = Callable[[Any], Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MS: Final = timedelta(milliseconds=1)
_US: Final = timedelta(microseconds=1)


def days(value: date) -> int:
    """Days since 1970."""
    return value.toordinal() - _EPOCH_DAY


def _since_midnight(value: time) -> timedelta:
    return timedelta(
        hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
    )


def _instant(value: datetime) -> timedelta:
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - _EPOCH


def plain_number(logical: str) -> Convert | None:
    """What undoes the decoding of one of Avro's logical types; None where it is not decoded."""
    return _UNDO.get(logical)


def _uuid(value: UUID) -> str:
    return str(value)


_UNDO: Final[Mapping[str, Convert]] = {
    "date": days,
    "time-millis": lambda value: _since_midnight(value) // _MS,
    "time-micros": lambda value: _since_midnight(value) // _US,
    "timestamp-millis": lambda value: _instant(value) // _MS,
    "timestamp-micros": lambda value: _instant(value) // _US,
    "local-timestamp-millis": lambda value: _instant(value) // _MS,
    "local-timestamp-micros": lambda value: _instant(value) // _US,
    "uuid": _uuid,
}


def or_null(convert: Convert | None) -> Convert | None:
    """The same for a value that may be null."""
    return None if convert is None else lambda value: None if value is None else convert(value)


def each(convert: Convert | None) -> Convert | None:
    """For each element of a list."""
    return None if convert is None else lambda values: [convert(value) for value in values]


def each_of_map(convert: Convert | None) -> Convert | None:
    """For each value of a dict."""
    return None if convert is None else lambda values: {key: convert(value) for key, value in values.items()}


def members(converts: Mapping[str, Convert]) -> Convert | None:
    """For some members of a dict."""
    if not converts:
        return None
    return lambda values: {**values, **{name: convert(values[name]) for name, convert in converts.items()}}
