"""What the recordings of Connect's transforms do not show. Those are in tests/conformance/smt."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connect.api import ConfigError, DataError, JsonPayload, Schema, SchemaType, SinkRecord, SourceRecord
from connect.api.schemas import (
    BOOLEAN,
    BYTES,
    DATE,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    OPTIONAL_INT32,
    OPTIONAL_STRING,
    STRING,
    TIME,
    TIMESTAMP,
    array,
    decimal,
    struct,
)  # fmt: skip
from connect.transforms.cast import CastValue
from connect.transforms.extract_field import ExtractFieldKey, ExtractFieldValue
from connect.transforms.flatten import FlattenValue
from connect.transforms.header_from import HeaderFromValue
from connect.transforms.insert_field import InsertFieldValue
from connect.transforms.mask_field import MaskFieldValue
from connect.transforms.predicates import RecordIsTombstone, TopicNameMatches
from connect.transforms.regex_router import RegexRouter
from connect.transforms.replace_field import ReplaceFieldValue
from connect.transforms.set_schema_metadata import SetSchemaMetadataValue
from connect.transforms.timestamp_converter import TimestampConverterValue
from connect.transforms.timestamp_router import TimestampRouter
from connect.transforms.value_to_key import ValueToKey

DEFAULTED = struct([("n", OPTIONAL_INT32.with_default(7)), ("s", OPTIONAL_STRING)], name="D")


def applied(
    kind: type[Any], settings: Mapping[str, str], value: Any, schema: Schema | None = None, **details: Any
) -> Any:
    transform = kind()
    transform.configure(settings)
    record = SinkRecord("topic", 0, 5, value, value_schema=schema, **details)
    before = repr(record)
    result = transform.apply(record)
    assert repr(record) == before, "a transform must not change its record"
    return result


def test_json_is_decoded_for_a_transform_and_dropped_from_what_it_makes() -> None:
    payload = JsonPayload(b'{"a":{"b":1}}', None, {"a": {"b": 1}})
    assert applied(FlattenValue, {}, payload).raw_value == {"a.b": 1}
    kept = applied(RegexRouter, {"regex": "t(.*)", "replacement": "$1"}, payload)
    assert (kept.topic, kept.raw_value) == ("opic", payload)


@pytest.mark.parametrize(("setting", "n"), [({}, 7), ({"replace.null.with.default": "false"}, None)])
def test_nulls_and_defaults(setting: dict[str, str], n: int | None) -> None:
    value = {"n": None, "s": "x"}
    copied = applied(InsertFieldValue, {"topic.field": "t", **setting}, value, DEFAULTED)
    assert copied.value == {"n": n, "s": "x", "t": "topic"}
    assert applied(ReplaceFieldValue, {"renames": "n:m", **setting}, value, DEFAULTED).value == {
        "m": n,
        "s": "x",
    }
    assert applied(ExtractFieldValue, {"field": "n", **setting}, value, DEFAULTED).value == n
    assert applied(ValueToKey, {"fields": "n", **setting}, value, DEFAULTED).key == {"n": n}
    assert applied(SetSchemaMetadataValue, {"schema.name": "N", **setting}, value, DEFAULTED).value["n"] == n
    masked = applied(MaskFieldValue, {"fields": "n", **setting}, value, DEFAULTED).value["n"]
    assert masked == (None if n is None else 0)
    settings = {"fields": "n", "headers": "h", "operation": "move", **setting}
    assert applied(HeaderFromValue, settings, value, DEFAULTED).headers[0].value == n


# Cast


@pytest.mark.parametrize(
    ("schema", "value", "target", "result"),
    [
        (FLOAT64, 1e20, "int32", 2**31 - 1),
        (FLOAT64, -1e300, "int64", -(2**63)),
        (FLOAT64, math.inf, "int64", 2**63 - 1),
        (FLOAT64, math.nan, "int32", 0),
        (FLOAT64, -2.9, "int16", -2),
        (FLOAT64, 1e20, "int8", -1),
        (FLOAT64, 0.5, "boolean", False),
        (FLOAT64, 0.1, "float32", 0.1),
        (FLOAT64, 1e39, "float32", math.inf),
        (INT64, 2**40 + 5, "int8", 5),
        (STRING, "+12", "int8", 12),
        (STRING, " 1.5f ", "float64", 1.5),
        (STRING, "-Infinity", "float32", -math.inf),
        (STRING, "TRUE", "boolean", True),
        (BOOLEAN, True, "float64", 1.0),
        (decimal(2), Decimal("-1.50"), "int32", -1),
        (decimal(2), Decimal("1.50"), "float64", 1.5),
        (BYTES, b"\xde\xad", "string", "3q0="),
        (FLOAT32, 0.1, "string", "0.1"),
    ],
)
def test_cast_of_a_whole_value(schema: Schema, value: Any, target: str, result: Any) -> None:
    cast = applied(CastValue, {"spec": target}, value, schema)
    assert cast.value == result
    assert cast.value_schema.type is SchemaType[target.upper()]
    assert cast.value_schema.name is None


@pytest.mark.parametrize(
    ("schema", "value", "target"),
    [
        (STRING, "128", "int8"), (STRING, "1_0", "int32"), (STRING, " 5", "int64"), (STRING, "٣", "int32"),
        (STRING, "", "float64"), (STRING, "0x", "float64"), (BYTES, b"1", "int32"),
        (array(INT8), [1], "string"), (None, {"a": 1}, "int8"),
    ],
)  # fmt: skip
def test_cast_refuses(schema: Schema | None, value: Any, target: str) -> None:
    with pytest.raises(DataError):
        applied(CastValue, {"spec": target}, value, schema)


def test_cast_takes_defaults_along_and_keeps_the_struct_optional() -> None:
    schema = struct([("n", INT32.with_default(7)), ("s", STRING)], name="N", optional=True)
    cast = applied(CastValue, {"spec": "n:string"}, {"n": 5, "s": "x"}, schema)
    assert cast.value_schema == struct(
        [("n", STRING.with_default("7")), ("s", STRING)], name="N", optional=True
    )
    assert cast.value == {"n": "5", "s": "x"}


# Fields


def test_a_field_in_a_nested_struct() -> None:
    inner = struct([("b.c", STRING), ("d", OPTIONAL_INT32.with_default(3))], optional=True)
    schema = struct([("a", inner)])
    value = {"a": {"b.c": "x", "d": None}}
    v2 = {"field.syntax.version": "V2"}
    assert applied(ExtractFieldValue, {"field": "a.`b.c`", **v2}, value, schema).value == "x"
    assert applied(ExtractFieldValue, {"field": "a.d", **v2}, value, schema).value == 3
    assert applied(ExtractFieldValue, {"field": "a.d", **v2}, {"a": None}, schema).value is None
    assert applied(ExtractFieldValue, {"field": r"`x\`.y`", **v2}, {"x`.y": 1}).value == 1
    with pytest.raises(ConfigError, match="Incomplete backtick"):
        applied(ExtractFieldValue, {"field": "`a", **v2}, value, schema)


def test_key_and_value_are_told_apart() -> None:
    record = applied(ExtractFieldKey, {"field": "k"}, {"k": "value"}, key={"k": "key"})
    assert (record.key, record.value) == ("key", {"k": "value"})


def test_flatten_hands_optional_and_defaults_down() -> None:
    inner = struct([("x", INT32), ("y", OPTIONAL_STRING.with_default("own"))], optional=True)
    inner = inner.with_default({"x": 1, "y": None})
    schema = struct([("in", inner), ("id", INT32)], name="Outer", version=2)
    flat = applied(FlattenValue, {"delimiter": "_"}, {"in": None, "id": 5}, schema)
    x, y = OPTIONAL_INT32.with_default(1), OPTIONAL_STRING.with_default("own")
    assert flat.value_schema == struct([("in_x", x), ("in_y", y), ("id", INT32)], name="Outer", version=2)
    assert flat.value == {"in_x": 1, "in_y": "own", "id": 5}


def test_inserted_fields_can_be_required() -> None:
    settings = {"topic.field": "t!", "offset.field": "o?", "static.field": "s", "static.value": "v"}
    longer = applied(InsertFieldValue, settings, {"id": 1}, struct([("id", INT32)]))
    assert longer.value_schema == struct(
        [("id", INT32), ("t", STRING), ("o", INT64.as_optional()), ("s", OPTIONAL_STRING)]
    )
    assert longer.value == {"id": 1, "t": "topic", "o": 5, "s": "v"}
    with pytest.raises(DataError, match="duplication id"):
        applied(InsertFieldValue, {"topic.field": "id"}, {"id": 1}, struct([("id", INT32)]))


def test_an_offset_is_known_of_sink_records_only() -> None:
    transform: InsertFieldValue[Any] = InsertFieldValue()
    transform.configure({"offset.field": "o"})
    with pytest.raises(DataError, match="Only SinkRecord"):
        transform.apply(SourceRecord({}, {}, "t", {"a": 1}))


@pytest.mark.parametrize(
    ("schema", "value", "result"),
    [
        (INT16, 300, 9),
        (FLOAT64, 1.5, 9.0),
        (STRING, "secret", "9"),
        (decimal(2), Decimal("1.50"), Decimal(9)),
        (STRING.as_optional(), None, None),
    ],
)
def test_mask_with_a_replacement(schema: Schema, value: Any, result: Any) -> None:
    settings = {"fields": "f", "replacement": "9"}
    masked = applied(MaskFieldValue, settings, {"f": value}, struct([("f", schema)]))
    assert masked.value == {"f": result}


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (INT16, 300, "Unable to convert x"),
        (FLOAT64, 1.5, "Unable to convert x"),
        (decimal(2), Decimal(1), "Unable to convert x"),
        (BOOLEAN, True, "Cannot mask value of type BOOLEAN with custom replacement"),
        (Schema(SchemaType.INT32, name=DATE), 5, "Cannot mask value of type org.apache"),
        (struct([("a", INT8)]), {"a": 1}, "Cannot mask value of type STRUCT"),
    ],
)
def test_mask_refuses(schema: Schema, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        applied(MaskFieldValue, {"fields": "f", "replacement": "x"}, {"f": value}, struct([("f", schema)]))


def test_a_replacement_must_fit_the_fields_type() -> None:
    with pytest.raises(DataError, match="Unable to convert 300"):
        applied(MaskFieldValue, {"fields": "f", "replacement": "300"}, {"f": 5}, struct([("f", INT8)]))
    assert applied(MaskFieldValue, {"fields": "f", "replacement": "300"}, {"f": 5}).value == {"f": 300}


def test_renames_must_be_pairs_and_different() -> None:
    for renames in ("a", "a:b:c", "a:x,b:x"):
        with pytest.raises(ConfigError, match="renames"):
            applied(ReplaceFieldValue, {"renames": renames}, {"a": 1})
    with pytest.raises(ConfigError, match="same number"):
        applied(HeaderFromValue, {"fields": "a,b", "headers": "h", "operation": "copy"}, {"a": 1})


# Time


@pytest.mark.parametrize(
    ("precision", "unix", "back"),
    [
        ("seconds", -1, -1),
        ("milliseconds", -1500, -1500),
        ("microseconds", -1_500_999, -1_500_000),
        ("nanoseconds", 1_500_999_999, 1_500_000_000),
    ],
)
def test_unix_times_of_any_precision(precision: str, unix: int, back: int) -> None:
    settings = {"unix.precision": precision}
    timestamp = applied(TimestampConverterValue, {"target.type": "Timestamp", **settings}, unix, INT64)
    assert timestamp.value_schema == Schema(SchemaType.INT64, name=TIMESTAMP, version=1)
    again = applied(
        TimestampConverterValue, {"target.type": "unix", **settings}, timestamp.value, timestamp.value_schema
    )
    assert again.value == back


def test_dates_and_times_before_1970() -> None:
    for target, result in (("Date", -1), ("Time", 86_399_999)):
        assert applied(TimestampConverterValue, {"target.type": target}, -1, INT64).value == result
        name = DATE if target == "Date" else TIME
        assert applied(TimestampConverterValue, {"target.type": target}, -1, INT64).value_schema.name == name
    schemaless = applied(TimestampConverterValue, {"target.type": "Date"}, -1)
    assert schemaless.value == datetime(1969, 12, 31, tzinfo=UTC)
    with pytest.raises(DataError, match="beyond the years"):
        applied(TimestampConverterValue, {"target.type": "Timestamp"}, 10**15)


def test_text_needs_a_pattern() -> None:
    with pytest.raises(DataError, match="format"):
        applied(TimestampConverterValue, {"target.type": "unix"}, "2024", STRING)
    settings = {"target.type": "unix", "format": "yyyy"}
    assert applied(TimestampConverterValue, settings, "1971", STRING).value == 365 * 86_400_000


def test_topics_by_time_and_by_regex() -> None:
    settings = {"topic.format": "${timestamp}.${topic}.${timestamp}", "timestamp.format": "yyyy"}
    assert applied(TimestampRouter, settings, None, timestamp_ms=0).topic == "1970.topic.1970"
    # As Java's replaceFirst does: the whole topic must match, but the first match is what is replaced.
    assert applied(RegexRouter, {"regex": "t|topic", "replacement": "x"}, None).topic == "xopic"
    with pytest.raises(ConfigError, match="replacement: No group 2"):
        applied(RegexRouter, {"regex": "(t)", "replacement": "$2"}, None)


def test_predicates() -> None:
    tombstone: RecordIsTombstone[Any] = RecordIsTombstone()
    assert tombstone.test(SinkRecord("t", 0, 0, None))
    assert not tombstone.test(SinkRecord("t", 0, 0, JsonPayload(b"{}", None, {})))
    matches: TopicNameMatches[Any] = TopicNameMatches()
    matches.configure({"pattern": r"my\..*"})
    assert matches.test(SinkRecord("my.topic", 0, 0, None))
    assert not matches.test(SinkRecord("my-topic", 0, 0, None))
