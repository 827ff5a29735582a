"""Timestamp extractors: the time by which a record is put into a folder, and files are rotated.

Times are milliseconds since 1970.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from connect.api import DataError, Schema, SchemaType, SinkRecord
from connectors.s3.config import S3SinkConfig
from connectors.s3.fields import find_field, where

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class TimestampExtractor(ABC):
    @abstractmethod
    def times(self, records: Sequence[SinkRecord], now_ms: int) -> Sequence[int]:
        """The time of each record; raises `DataError` if one has none."""

    def idle_time(self, now_ms: int) -> int | None:
        """The time that has come although no record has; None where only records tell the time."""
        return None


class WallclockExtractor(TimestampExtractor):
    """When the sink got the record."""

    def times(self, records: Sequence[SinkRecord], now_ms: int) -> Sequence[int]:
        return [now_ms] * len(records)

    def idle_time(self, now_ms: int) -> int | None:
        return now_ms


class RecordExtractor(TimestampExtractor):
    """The timestamp that the record has in its topic."""

    def times(self, records: Sequence[SinkRecord], now_ms: int) -> Sequence[int]:
        times = [record.timestamp_ms for record in records]
        if None in times:
            raise DataError(f"{where(records[times.index(None)])} has no timestamp")
        return times  # type: ignore[return-value]  # there is no None in it


class RecordFieldExtractor(TimestampExtractor):
    """A field of the value: milliseconds since 1970, or a text of ISO 8601 (UTC if it names no zone)."""

    def __init__(self, field: str) -> None:
        self._field = field

    def times(self, records: Sequence[SinkRecord], now_ms: int) -> Sequence[int]:
        return [self._time(record) for record in records]

    def _time(self, record: SinkRecord) -> int:
        schema, value = find_field(record, self._field)
        if isinstance(value, int | float) and not isinstance(value, bool) and _may_be_a_time(schema):
            return int(value)
        if isinstance(value, datetime):
            return _to_ms(value)
        if isinstance(value, str):
            try:
                return _to_ms(datetime.fromisoformat(value))
            except ValueError:
                pass  # told below, with the record
        raise DataError(
            f"field {self._field} of {where(record)} is {value!r}, neither milliseconds nor an ISO 8601 time"
        )


def _may_be_a_time(schema: Schema | None) -> bool:
    return schema is None or schema.type in (SchemaType.INT32, SchemaType.INT64)


def _to_ms(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def extractor_for(config: S3SinkConfig) -> TimestampExtractor:
    """The extractor that the settings name."""
    match config.timestamp_extractor:
        case "Record":
            return RecordExtractor()
        case "RecordField":
            return RecordFieldExtractor(config.timestamp_field)
        case _:
            return WallclockExtractor()
