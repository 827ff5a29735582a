"""Into which folder a record goes."""

from typing import Any

import pytest
from support.s3_sink import SETTINGS, json_record

from connect.api import DataError, Schema, SinkRecord
from connect.api.java_patterns import time_zone
from connect.api.schemas import (
    BOOLEAN,
    BYTES,
    FLOAT64,
    INT32,
    INT64,
    OPTIONAL_STRING,
    STRING,
    TIMESTAMP,
    SchemaType,
    map_of,
    struct,
)
from connectors.s3.config import S3SinkConfig
from connectors.s3.partitioners import TimePartitioner, partitioner_for
from connectors.s3.timestamps import extractor_for

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
SPRING = 1_711_846_800_000  # 2024-03-31T01:00:00Z: Berlin goes from 02:00 to 03:00
AUTUMN = 1_729_990_800_000  # 2024-10-27T01:00:00Z: Berlin goes from 03:00 back to 02:00


def config(**settings: str) -> S3SinkConfig:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return S3SinkConfig.parse({**SETTINGS, "s3.bucket.name": "b", **given})


def record(value: Any, schema: Schema | None = None) -> SinkRecord:
    return SinkRecord("t", 3, 7, value, value_schema=schema, timestamp_ms=5)


def places(times: list[int], **settings: str) -> list[str]:
    partitioner = partitioner_for(config(**settings))
    return list(partitioner.places([json_record(0)] * len(times), times))


def test_by_kafka_partition() -> None:
    assert list(partitioner_for(config()).places([record(1)] * 2, None)) == ["partition=3"] * 2


@pytest.mark.parametrize(
    ("value", "schema", "place"),
    [
        ({"f": "x/y"}, None, "f=x/y"),
        ({"f": 5}, None, "f=5"),
        ({"f": True}, None, "f=true"),
        ({"f": None}, None, "f=null"),
        ({"f": None}, struct({"f": OPTIONAL_STRING}), "f=null"),
        ({"f": False}, struct({"f": BOOLEAN}), "f=false"),
        ({"f": 5}, map_of(STRING, INT32), "f=5"),
    ],
)
def test_by_field(value: Any, schema: Schema | None, place: str) -> None:
    partitioner = partitioner_for(config(partitioner__class="FieldPartitioner", partition__field__name="f"))
    assert list(partitioner.places([record(value, schema)], None)) == [place]


def test_by_several_fields_that_may_be_nested_or_have_dots() -> None:
    settings = {"partitioner__class": "FieldPartitioner", "partition__field__name": "a.b, c.d"}
    partitioner = partitioner_for(config(**settings))
    value = {"a": {"b": 1}, "c.d": 2, "c": {"d": 3}}
    assert list(partitioner.places([record(value)], None)) == ["a.b=1/c.d=2"]


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        ({"g": 1}, None, "the record at t-3@7 has no field f"),
        ("text", None, "the record at t-3@7 is not a struct or map that could have the field f"),
        ({"f": 1.5}, None, "field f of the record at t-3@7 is of type float, which cannot name a folder"),
        ({"f": [1]}, None, "is of type list"),
        ({"f": 1.5}, struct({"f": FLOAT64}), "is of type double"),
        ({"f": b"x"}, struct({"f": BYTES}), "is of type bytes"),
    ],
)
def test_a_field_that_cannot_name_a_folder(value: Any, schema: Schema | None, why: str) -> None:
    partitioner = partitioner_for(config(partitioner__class="FieldPartitioner", partition__field__name="f"))
    with pytest.raises(DataError, match=why):
        partitioner.places([record(value, schema)], None)


def test_hourly_and_daily() -> None:
    assert (
        places([0, HOUR_MS - 1], partitioner__class="HourlyPartitioner", timezone="UTC")
        == ["year=1970/month=01/day=01/hour=00"] * 2
    )
    assert places([-1], partitioner__class="DailyPartitioner", timezone="UTC") == [
        "year=1969/month=12/day=31"
    ]


def test_clock_changes() -> None:
    times = [SPRING - 1, SPRING, AUTUMN - 1, AUTUMN, AUTUMN + HOUR_MS]
    found = places(times, partitioner__class="HourlyPartitioner", timezone="Europe/Berlin")
    assert [place[-7:] for place in found] == ["hour=01", "hour=03", "hour=02", "hour=02", "hour=03"]


@pytest.mark.parametrize(
    "zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "+05:45"]
)
@pytest.mark.parametrize("duration_ms", [1000, 7 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS])
def test_the_remembered_place_is_the_right_one(zone: str, duration_ms: int) -> None:
    """A partitioner that has seen many times gives the place that a new one gives."""
    pattern = "YYYY-MM-dd'T'HH:mm:ss"
    seasoned = TimePartitioner(pattern, time_zone(zone), duration_ms)
    times = [-DAY_MS * 9000, SPRING - DAY_MS]
    times += [SPRING - 3 * HOUR_MS + n * 11 * MINUTE_MS for n in range(60)]
    for time_ms in times:
        fresh = TimePartitioner(pattern, time_zone(zone), duration_ms)
        assert seasoned.places([], [time_ms]) == fresh.places([], [time_ms])
    assert seasoned.places([], times) == seasoned.places([], times)


def test_folders_step_by_the_duration_in_local_time() -> None:
    settings = {
        "partitioner__class": "TimeBasedPartitioner", "timezone": "Asia/Kathmandu",  # +05:45
        "path__format": "HH:mm/", "partition__duration__ms": str(30 * MINUTE_MS),
    }  # fmt: skip
    assert places([SPRING, SPRING + 16 * MINUTE_MS], **settings) == ["06:30", "07:00"]


def test_a_time_beyond_all_calendars() -> None:
    with pytest.raises(DataError, match="a record's time is 1000000000000000000000 ms since 1970"):
        places([10**21], partitioner__class="DailyPartitioner", timezone="UTC")


def times_of(extractor: str, *records: SinkRecord) -> list[int]:
    settings = {"timestamp__extractor": extractor, "timestamp__field": "at"}
    return list(extractor_for(config(**settings)).times(records, 99))


def test_wallclock_and_record_time() -> None:
    assert times_of("Wallclock", record(1), record(2)) == [99, 99]
    assert times_of("Record", record(1)) == [5]
    with pytest.raises(DataError, match="the record at t-0@4 has no timestamp"):
        times_of("Record", json_record(4, timestamp_ms=None))


@pytest.mark.parametrize(
    ("at", "schema", "time_ms"),
    [
        (1234, None, 1234),
        (1234.9, None, 1234),
        (1234, INT64, 1234),
        (1234, Schema(SchemaType.INT64, name=TIMESTAMP, version=1), 1234),
        ("1970-01-01T00:00:01Z", STRING, 1000),
        ("1970-01-01T02:00:01.123456789+02:00", None, 1123),
        ("1970-01-02", None, DAY_MS),
    ],
)
def test_a_time_in_a_field(at: Any, schema: Schema | None, time_ms: int) -> None:
    whole = struct({"at": schema}) if schema is not None else None
    assert times_of("RecordField", record({"at": at}, whole)) == [time_ms]


@pytest.mark.parametrize(
    ("at", "schema"), [("soon", None), (None, None), (True, None), (1.5, FLOAT64), (["x"], None)]
)
def test_a_field_that_is_no_time(at: Any, schema: Schema | None) -> None:
    whole = struct({"at": schema}) if schema is not None else None
    with pytest.raises(DataError, match=r"field at of the record at t-3@7 is .* neither milliseconds nor"):
        times_of("RecordField", record({"at": at}, whole))
