"""The converters for text, bytes, numbers and headers, beyond what the recordings show."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.api import ConfigError, Converter, DataError, Header, JsonPayload, Schema
from connect.api.schemas import (
    BYTES,
    FLOAT32,
    INT16,
    INT32,
    INT64,
    OPTIONAL_BYTES,
    OPTIONAL_FLOAT32,
    OPTIONAL_INT16,
    OPTIONAL_STRING,
    STRING,
    array,
)  # fmt: skip
from connect.converters.bytes import ByteArrayConverter
from connect.converters.header import SimpleHeaderConverter
from connect.converters.primitives import (
    BooleanConverter,
    DoubleConverter,
    FloatConverter,
    IntegerConverter,
    LongConverter,
    ShortConverter,
)  # fmt: skip
from connect.converters.string import StringConverter


def made(kind: type[Any], **settings: str) -> Any:
    converter = kind()
    converter.configure({name.replace("_", "."): value for name, value in settings.items()})
    return converter


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_survives(text: str) -> None:
    converter = made(StringConverter)
    assert converter.to_connect("t", converter.from_connect("t", STRING, text)) == (OPTIONAL_STRING, text)


def test_text_in_another_character_set() -> None:
    converter = made(StringConverter, converter_encoding="ISO-8859-1")
    assert converter.from_connect("t", STRING, "é☃") == b"\xe9?"
    assert converter.to_connect("t", b"\xe9").value == "é"
    with pytest.raises(ConfigError, match=r"nosuch.*converter\.encoding"):
        made(StringConverter, converter_encoding="nosuch")


def test_json_as_text_is_the_value_as_java_shows_it() -> None:
    payload = JsonPayload(b'{"a":[1,null]}', None, {"a": [1, None]})
    assert made(StringConverter).from_connect("t", None, payload) == b"{a=[1, null]}"


def test_bytes_pass_and_nothing_else() -> None:
    converter = made(ByteArrayConverter)
    data = b"\x00\xff"
    assert converter.from_connect("t", BYTES, data) is data
    assert converter.from_connect("t", None, bytearray(data)) == data
    assert converter.to_connect("t", data) == (OPTIONAL_BYTES, data)
    for schema, value in ((STRING, "x"), (None, "x"), (None, JsonPayload(b"1", None, 1))):
        with pytest.raises(DataError, match="ByteArrayConverter"):
            converter.from_connect("t", schema, value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ShortConverter, [-(2**15), 0, 2**15 - 1]),
        (IntegerConverter, [-(2**31), 2**31 - 1]),
        (LongConverter, [-(2**63), 2**63 - 1]),
        (FloatConverter, [0.1, -1.5, math.inf]),
        (DoubleConverter, [0.1, math.inf]),
        (BooleanConverter, [True, False]),
    ],
)
def test_numbers_survive(kind: type[Converter], values: list[Any]) -> None:
    converter = made(kind)
    for value in values:
        data = converter.from_connect("t", None, value)
        assert converter.to_connect("t", data).value == value
        assert converter.to_connect_header("t", "h", data).value == value
    assert converter.to_connect("t", None).value is None


@pytest.mark.parametrize(
    ("kind", "schema", "value"),
    [
        (ShortConverter, None, 2**15),
        (ShortConverter, INT32, 5),
        (IntegerConverter, None, True),
        (FloatConverter, FLOAT32, 1e39),
        (LongConverter, INT64, 1.0),
        (BooleanConverter, None, 1),
    ],
)
def test_numbers_that_do_not_fit(kind: type[Converter], schema: Schema | None, value: Any) -> None:
    with pytest.raises(DataError, match="Failed to serialize"):
        made(kind).from_connect("t", schema, value)


def test_the_schemas_that_are_read() -> None:
    assert made(FloatConverter).to_connect("t", bytes.fromhex("3dcccccd")) == (OPTIONAL_FLOAT32, 0.1)
    assert made(ShortConverter).to_connect("t", b"\x00\x01") == (OPTIONAL_INT16, 1)


@pytest.mark.parametrize(
    "header",
    [
        Header("h", None, None),
        Header("h", STRING, "text"),
        Header("h", INT16, 300),
        Header("h", array(STRING), ["1", "true", "a,b"]),
    ],
)
def test_headers_survive_as_text(header: Header) -> None:
    converter = made(SimpleHeaderConverter)
    data = converter.from_connect_header("t", header)
    assert converter.to_connect_header("t", "h", data) == header


@given(st.binary())
def test_any_header_bytes_are_read(data: bytes) -> None:
    made(SimpleHeaderConverter).to_connect_header("t", "h", data)
