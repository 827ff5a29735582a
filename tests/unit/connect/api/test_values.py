"""Values as text and back, decimals as bytes, numbers as Java shows them."""

import math
import struct as packing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.api import DataError, Schema, SchemaType
from connect.api.decimals import decimal_from_bytes, decimal_to_bytes, rescale, scale_of
from connect.api.java_text import java_double, java_text, shortest_of_single
from connect.api.schemas import (
    BOOLEAN,
    BYTES,
    DATE,
    DECIMAL,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    TIME,
    TIMESTAMP,
    array,
    decimal,
    map_of,
    struct,
)  # fmt: skip
from connect.api.values import text_of, value_of

DATE_SCHEMA = Schema(SchemaType.INT32, name=DATE, version=1)
TIME_SCHEMA = Schema(SchemaType.INT32, name=TIME, version=1)
TIMESTAMP_SCHEMA = Schema(SchemaType.INT64, name=TIMESTAMP, version=1)

ROUND_TRIPS = [
    (BOOLEAN, True, "true"),
    (INT8, -128, "-128"),
    (INT16, 128, "128"),
    (INT32, 32768, "32768"),
    (INT64, 2**63 - 1, "9223372036854775807"),
    (decimal(0), Decimal(2**63), "9223372036854775808"),
    (FLOAT32, 1.1, "1.1"),
    (FLOAT64, 3.141592653589793, "3.141592653589793"),
    (DATE_SCHEMA, 19782, "2024-02-29"),
    (TIME_SCHEMA, 49890123, "13:51:30.123Z"),
    (TIMESTAMP_SCHEMA, 1709214690123, "2024-02-29T13:51:30.123Z"),
    (TIMESTAMP_SCHEMA, 1709164800000, "2024-02-29T00:00:00.000Z"),
    (STRING, "plain text", "plain text"),
    (array(INT8), [1, 2, 3], "[1,2,3]"),
    (array(STRING), ["a", 'b"c', "\\"], r'["a","b\"c","\\"]'),
    (array(DATE_SCHEMA), [19782], "[2024-02-29]"),
    (map_of(STRING, INT8), {"k": 1}, '{"k":1}'),
    (map_of(INT8, STRING), {1: "a"}, '{1:"a"}'),
    (map_of(TIME_SCHEMA, array(BOOLEAN)), {49890123: [True]}, "{13:51:30.123Z:[true]}"),
]


@pytest.mark.parametrize(("schema", "value", "text"), ROUND_TRIPS)
def test_a_value_survives_as_text(schema: Schema, value: Any, text: str) -> None:
    assert text_of(schema, value) == text
    assert value_of(text) == (schema, value)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("null", None, None),
        (" 42 ", INT8, 42),
        ("5.", INT8, 5),
        ("1e10", INT64, 10**10),
        ("3.5e38", FLOAT64, 3.5e38),
        ("1e309", decimal(-309), Decimal("1e309")),
        ("1e-400", decimal(400), Decimal("1e-400")),
        ("[1, 128, 2]", array(INT16), [1, 128, 2]),
        ("[1, 1.5]", array(FLOAT32), [1.0, 1.5]),
        ('[1,"a"]', Schema(SchemaType.ARRAY), [1, "a"]),
        ("[]", Schema(SchemaType.ARRAY), []),
        ('{"a":1,"b":true}', Schema(SchemaType.MAP, key_schema=STRING), {"a": 1, "b": True}),
    ],
)
def test_reads(text: str, schema: Schema | None, value: Any) -> None:
    assert value_of(text) == (schema, value)


@pytest.mark.parametrize(
    "text",
    ["", " ", "TRUE", "NULL", "NaN", "0x10", "1_0", "1,2", "[1", "[1,]", "[1]x", "[null,1]", "{1}", "{[1]:2}",
     '"q"',
     "13:51:30", "2024-02-30", "2024-02-29T13:51:30.123+02:00", "24:00:00.000Z", "T13:51:30.123Z", "[" * 5000,
     "٣", "1e99999999999"],
)  # fmt: skip
def test_all_else_is_a_string_as_it_stands(text: str) -> None:
    assert value_of(text) == (STRING, text)


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    schema, value = value_of(text)
    if schema == STRING:
        assert value == text


@given(st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_nested_values_survive_as_text(value: Any) -> None:
    if isinstance(value, str):  # a string at the top has no quotes, and may look like something else
        value = [value]
    again = value_of(text_of(None, value) or "").value
    assert again == value or "-" in str(value) or ":" in str(value)  # quoted times are read as times


def test_texts_of_other_values() -> None:
    assert text_of(BYTES, b"\xde\xad") == "3q0="
    assert text_of(None, datetime(2024, 2, 29, 13, 51, 30, 123000, UTC)) == "2024-02-29T13:51:30.123Z"
    assert text_of(STRING, None) is None
    row = struct([("id", INT32), ("day", DATE_SCHEMA), ("name", STRING.as_optional())])
    assert text_of(row, {"id": 1, "day": 0, "name": None}) == '{"id":1,"day":1970-01-01,"name":null}'


@pytest.mark.parametrize(
    ("number", "scale", "hexadecimal"),
    [("2.22", 2, "00de"), ("0", 0, "00"), ("-1", 0, "ff"), ("127", 0, "7f"), ("128", 0, "0080"),
     ("-128", 0, "80"), ("-129", 0, "ff7f"), ("2.5", 2, "00fa"), ("1E+3", -3, "01")],
)  # fmt: skip
def test_decimals_as_bytes(number: str, scale: int, hexadecimal: str) -> None:
    assert decimal_to_bytes(Decimal(number), scale).hex() == hexadecimal
    assert decimal_from_bytes(bytes.fromhex(hexadecimal), scale) == Decimal(number)


@given(st.integers(-(10**60), 10**60), st.integers(-20, 60))
def test_decimals_of_any_length_survive(unscaled: int, scale: int) -> None:
    number = Decimal((unscaled < 0, tuple(map(int, str(abs(unscaled)))), -scale))
    again = decimal_from_bytes(decimal_to_bytes(number, scale), scale)
    assert again.as_tuple()[1:] == number.as_tuple()[1:]
    assert again == number


@pytest.mark.parametrize(("number", "scale"), [("2.225", 2), ("5", -1), ("NaN", 0), ("Infinity", 0)])
def test_a_decimal_never_loses_digits(number: str, scale: int) -> None:
    with pytest.raises(DataError):
        decimal_to_bytes(Decimal(number), scale)


def test_scales() -> None:
    assert str(rescale(Decimal("1.5"), 3)) == "1.500"
    assert scale_of(decimal(4)) == 4
    with pytest.raises(DataError, match="scale"):
        scale_of(Schema(SchemaType.BYTES, name=DECIMAL))
    with pytest.raises(DataError, match="scale"):
        scale_of(Schema(SchemaType.BYTES, name=DECIMAL, parameters={"scale": "x"}))
    with pytest.raises(DataError, match="byte"):
        decimal_from_bytes(b"", 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e10, "1.0E10"), (1.0, "1.0"), (0.001, "0.001"), (1e-4, "1.0E-4"), (12345678.9, "1.23456789E7"),
     (-0.0, "-0.0"), (math.nan, "NaN"), (-math.inf, "-Infinity"), (1e300, "1.0E300"),
     (9999999.0, "9999999.0")],
)  # fmt: skip
def test_doubles_as_java_shows_them(value: float, text: str) -> None:
    assert java_double(value) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_shortest_text_of_a_single_means_the_same_single(value: float) -> None:
    shortest = shortest_of_single(value)
    assert shortest is not None
    assert packing.pack("f", float(shortest)) == packing.pack("f", value)


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        (FLOAT32, 0.10000000149011612, "0.1"),
        (DATE_SCHEMA, 19782, "Thu Feb 29 00:00:00 UTC 2024"),
        (TIMESTAMP_SCHEMA, 1709214690123, "Thu Feb 29 13:51:30 UTC 2024"),
        (None, datetime(2024, 2, 29, 13, 51, 30, tzinfo=UTC), "Thu Feb 29 13:51:30 UTC 2024"),
        (None, [1, None, {"k": True}], "[1, null, {k=true}]"),
        (struct([("a", INT32), ("b", STRING)]), {"a": 1, "b": None}, "Struct{a=1}"),
    ],
)
def test_texts_as_java_shows_them(schema: Schema | None, value: Any, text: str) -> None:
    assert java_text(schema, value) == text
