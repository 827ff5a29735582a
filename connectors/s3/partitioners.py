"""Partitioners: the *encoded partition* of a record, which is the folder below that of its topic."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import repeat
from math import gcd
from typing import Final

from connect.api import DataError, Schema, SchemaType, SinkRecord
from connect.api.java_patterns import JavaPattern, time_zone
from connectors.s3.config import DAILY_PARTITIONER, FIELD_PARTITIONER, HOURLY_PARTITIONER, S3SinkConfig
from connectors.s3.custom_partitioner import configured, is_custom
from connectors.s3.fields import find_field, where

_INTEGERS: Final = (SchemaType.INT8, SchemaType.INT16, SchemaType.INT32, SchemaType.INT64)
_FIELD_TYPES: Final = (*_INTEGERS, SchemaType.STRING, SchemaType.BOOLEAN)

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# Since 1973 every zone's offset is a multiple of 15 minutes and changes at one.
_QUARTER_MS: Final = 15 * 60_000
_QUARTERS_SINCE_MS: Final = 3 * 366 * _DAY_MS
_KNOWN_SLOTS_MAX: Final = 4096


class Partitioner(ABC):
    @abstractmethod
    def places(self, records: Sequence[SinkRecord], times: Sequence[int] | None) -> Sequence[str]:
        """The encoded partition of each record. `times` (ms) are there for time-based partitioners.
        Raises `DataError` if a record has none."""


class DefaultPartitioner(Partitioner):
    """`partition=N`, the Kafka partition."""

    def places(self, records: Sequence[SinkRecord], times: Sequence[int] | None) -> Sequence[str]:
        # All are of one Kafka partition.
        return [f"partition={records[0].original_partition}"] * len(records)


class FieldPartitioner(Partitioner):
    """`field=value` for each of the fields."""

    def __init__(self, fields: Sequence[str], delimiter: str) -> None:
        self._fields = [field for field in fields if field]
        self._delimiter = delimiter

    def places(self, records: Sequence[SinkRecord], times: Sequence[int] | None) -> Sequence[str]:
        return [self._place(record) for record in records]

    def _place(self, record: SinkRecord) -> str:
        return self._delimiter.join([f"{field}={_field_text(record, field)}" for field in self._fields])


def _field_text(record: SinkRecord, field: str) -> str:
    schema, value = find_field(record, field)
    if _fits_a_name(schema, value):
        if value is None:
            return "null"
        return str(value).lower() if isinstance(value, bool) else str(value)
    kind = schema.type.value if schema is not None else type(value).__name__
    raise DataError(f"field {field} of {where(record)} is of type {kind}, which cannot name a folder")


def _fits_a_name(schema: Schema | None, value: object) -> bool:
    if schema is not None and schema.type not in _FIELD_TYPES:
        return False
    return value is None or isinstance(value, str | int | bool)


class TimePartitioner(Partitioner):
    """The time of the record as text, in steps of `duration_ms` of the zone's local time."""

    def __init__(self, pattern: str, zone: tzinfo, duration_ms: int) -> None:
        self._pattern = JavaPattern.joda(pattern, zone)
        self._zone = zone
        self._duration_ms = duration_ms
        # All times within a slot are of one place.
        self._slot_ms = gcd(duration_ms, _QUARTER_MS)
        self._known: dict[int, str] = {}

    def places(self, records: Sequence[SinkRecord], times: Sequence[int] | None) -> Sequence[str]:
        assert times is not None, "a time-based partitioner needs times"
        known, slot_ms = self._known, self._slot_ms
        if len(known) > _KNOWN_SLOTS_MAX:
            known.clear()
        return [known.get(time_ms // slot_ms) or self._place(time_ms) for time_ms in times]

    def _place(self, time_ms: int) -> str:
        try:
            local_ms = time_ms + _offset_ms(_EPOCH + timedelta(milliseconds=time_ms), self._zone)
            floor_ms = local_ms - local_ms % self._duration_ms
            local = (_EPOCH + timedelta(milliseconds=floor_ms)).replace(tzinfo=self._zone)
            offset = local.utcoffset()
            assert offset is not None, "a datetime with a zone has an offset"
            place = self._pattern.format(floor_ms - offset // _MILLISECOND)
        except (OverflowError, ValueError) as exc:
            raise DataError(f"a record's time is {time_ms} ms since 1970, which no folder can have") from exc
        if time_ms >= _QUARTERS_SINCE_MS:
            self._known[time_ms // self._slot_ms] = place
        return place


def _offset_ms(moment: datetime, zone: tzinfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, "a datetime with a zone has an offset"
    return offset // _MILLISECOND


class _Custom(Partitioner):
    """One of the user's."""

    def __init__(self, encode: Callable[[SinkRecord, int | None], str]) -> None:
        self._encode = encode

    def places(self, records: Sequence[SinkRecord], times: Sequence[int] | None) -> Sequence[str]:
        return [
            self._place(record, time_ms)
            for record, time_ms in zip(records, times or repeat(None), strict=False)
        ]

    def _place(self, record: SinkRecord, time_ms: int | None) -> str:
        try:
            place: object = self._encode(record, time_ms)
        except DataError:
            raise
        except Exception as exc:  # the code is the user's, and may raise anything
            why = f"partitioner.class failed at {where(record)}: {type(exc).__name__}: {exc}"
            raise DataError(why) from exc
        if not isinstance(place, str):
            raise DataError(f"partitioner.class gave {place!r}, which is no text, for {where(record)}")
        return place


def partitioner_for(config: S3SinkConfig) -> Partitioner:
    """The partitioner that the settings name."""
    delimiter = config.directory_delim
    if is_custom(config.partitioner):
        return _Custom(configured(config.partitioner, config.originals).encode)
    if config.partitioner == FIELD_PARTITIONER:
        return FieldPartitioner(config.partition_fields, delimiter)
    if not config.is_time_based:
        return DefaultPartitioner()
    parts, duration_ms = ["'year'=YYYY", "'month'=MM", "'day'=dd"], _DAY_MS
    if config.partitioner == HOURLY_PARTITIONER:
        parts, duration_ms = [*parts, "'hour'=HH"], _HOUR_MS
    pattern = delimiter.join(parts)
    if config.partitioner not in (HOURLY_PARTITIONER, DAILY_PARTITIONER):
        pattern, duration_ms = config.path_format.removesuffix(delimiter), config.partition_duration_ms
    return TimePartitioner(pattern, time_zone(config.timezone), duration_ms)
