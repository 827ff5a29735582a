"""Values as text that tells their type, and back: what SimpleHeaderConverter, Cast and InsertHeader use
(`org.apache.kafka.connect.data.Values`).

    text_of(schema, value)    42, true, plain text, 2024-02-29, [1,"a"], {"k":1}
    value_of("[1, 2]")        (array of int8, [1, 2])

A text that is none of null, true, false, a number, a date, time, timestamp, array or map is a string; in
arrays and maps, strings stand in quotes.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from connect.api.java_patterns import MS_PER_DAY, JavaPattern, epoch_ms_of
from connect.api.java_text import java_text, shortest_of_single
from connect.api.records import SchemaAndValue
from connect.api.schemas import (
    BOOLEAN,
    DATE,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    TIME,
    TIMESTAMP,
    Schema,
    SchemaType,
    decimal,
)

_DATE_FORMAT: Final = JavaPattern.simple_date_format("yyyy-MM-dd")
_TIME_FORMAT: Final = JavaPattern.simple_date_format("HH:mm:ss.SSS'Z'")
_TIMESTAMP_FORMAT: Final = JavaPattern.simple_date_format("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
_DATE_SCHEMA: Final = Schema(SchemaType.INT32, name=DATE, version=1)
_TIME_SCHEMA: Final = Schema(SchemaType.INT32, name=TIME, version=1)
_TIMESTAMP_SCHEMA: Final = Schema(SchemaType.INT64, name=TIMESTAMP, version=1)
# Smallest first.
_INTEGERS: Final = ((7, INT8), (15, INT16), (31, INT32), (63, INT64))
_NUMERIC: Final = [*(schema for _, schema in _INTEGERS), FLOAT32, FLOAT64]
_DEPTH_MAX: Final = 100

Parsed = SchemaAndValue[Any]


def text_of(schema: Schema | None, value: Any) -> str | None:
    """The text of a value; strings as they are, None for null."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode("ascii")
    return _embedded(schema, value)


def _embedded(schema: Schema | None, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str | bytes | bytearray | memoryview):
        text = text_of(None, value) or ""
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        element = schema.value_schema if schema is not None else None
        return f"[{','.join([_embedded(element, part) for part in value])}]"
    if isinstance(value, dict):
        return _mapping(schema, value)
    if isinstance(value, datetime):
        return _TIMESTAMP_FORMAT.format(epoch_ms_of(value))
    if schema is not None and schema.name == DATE:
        return _DATE_FORMAT.format(value * MS_PER_DAY)
    if schema is not None and schema.name == TIME:
        return _TIME_FORMAT.format(value)
    if schema is not None and schema.name == TIMESTAMP:
        return _TIMESTAMP_FORMAT.format(value)
    return java_text(schema, value)


def _mapping(schema: Schema | None, value: Mapping[Any, Any]) -> str:
    pairs = []
    for key, part in value.items():
        if schema is None:
            key_schema = part_schema = None
        elif schema.type is SchemaType.STRUCT:
            key_schema, part_schema = None, schema.by_name[key].schema
        else:
            key_schema, part_schema = schema.key_schema, schema.value_schema
        pairs.append(f"{_embedded(key_schema, key)}:{_embedded(part_schema, part)}")
    return f"{{{','.join(pairs)}}}"


def value_of(text: str) -> Parsed:
    """The value that a text stands for, with its schema."""
    stripped = text.strip()
    if stripped == "null":
        return SchemaAndValue(None, None)
    if stripped[:1] in ("[", "{"):
        try:
            return _Parser(stripped).whole()
        except _NotAValue:
            return SchemaAndValue(STRING, text)
    return _scalar(stripped) or SchemaAndValue(STRING, text)


def _scalar(text: str) -> Parsed | None:
    if text in ("true", "false"):
        return SchemaAndValue(BOOLEAN, text == "true")
    return _temporal(text) or _number(text)


_TEMPORAL: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)?(?:(?P<t>T)?(?P<time>\d\d:\d\d:\d\d\.\d{3})Z)?", re.ASCII
)


def _temporal(text: str) -> Parsed | None:
    found = _TEMPORAL.fullmatch(text)
    if found is None or not text or (found["t"] is None) == bool(found["date"] and found["time"]):
        return None
    try:
        instant = datetime.fromisoformat(f"{found['date'] or '1970-01-01'}T{found['time'] or '00:00:00.000'}")
    except ValueError:
        return None
    epoch_ms = epoch_ms_of(instant)
    if found["time"] is None:
        return SchemaAndValue(_DATE_SCHEMA, epoch_ms // MS_PER_DAY)
    return SchemaAndValue(_TIME_SCHEMA if found["date"] is None else _TIMESTAMP_SCHEMA, epoch_ms)


def _number(text: str) -> Parsed | None:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", text, re.ASCII):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "the pattern lets no NaN through"
    if number.adjusted() < 19 and number == number.to_integral_value():
        for bits, schema in _INTEGERS:
            if -(1 << bits) <= number < 1 << bits:
                return SchemaAndValue(schema, int(number))
    as_float = float(number)
    # Digits without a point or exponent are never rounded; nor is what no float can hold.
    if exponent == 0 or as_float in (float("inf"), float("-inf")) or (as_float == 0 and number != 0):
        return SchemaAndValue(decimal(-exponent), number)
    single = shortest_of_single(as_float)
    if single is not None and Decimal(single) == number:
        return SchemaAndValue(FLOAT32, float(single))
    return SchemaAndValue(FLOAT64, as_float)


# A colon ends a map's key, but is also part of a time.
_TIME_TOKEN: Final = re.compile(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_TOKEN: Final = re.compile(r"[^,:\[\]{}\"]+")


class _NotAValue(Exception):
    """The text is not an array or map."""


class _Parser:
    """Reads arrays and maps."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0

    def whole(self) -> Parsed:
        parsed = self._element()
        if self._position != len(self._text):
            raise _NotAValue
        return parsed

    def _element(self) -> Parsed:
        self._skip_spaces()
        if self._take("["):
            return self._nested(self._array)
        if self._take("{"):
            return self._nested(self._map)
        if self._take('"'):
            text = self._quoted()
            return _temporal(text) or SchemaAndValue(STRING, text)
        token = _TIME_TOKEN.match(self._text, self._position) or _TOKEN.match(self._text, self._position)
        if token is not None and (parsed := _scalar(token[0].strip())) is not None:
            self._position = token.end()
            return parsed
        raise _NotAValue

    def _nested(self, read: Callable[[], Parsed]) -> Parsed:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise _NotAValue
        parsed = read()
        self._depth -= 1
        return parsed

    def _array(self) -> Parsed:
        parts: list[Parsed] = []
        while not self._take("]"):
            if parts:
                self._expect(",")
            parts.append(self._element())
        schema, values = _aligned(parts)
        return SchemaAndValue(Schema(SchemaType.ARRAY, value_schema=schema), values)

    def _map(self) -> Parsed:
        keys: list[Parsed] = []
        parts: list[Parsed] = []
        while not self._take("}"):
            if keys:
                self._expect(",")
            keys.append(self._element())
            self._expect(":")
            parts.append(self._element())
        key_schema, names = _aligned(keys)
        part_schema, values = _aligned(parts)
        if any(isinstance(name, list | dict) for name in names):
            raise _NotAValue
        schema = Schema(SchemaType.MAP, key_schema=key_schema, value_schema=part_schema)
        return SchemaAndValue(schema, dict(zip(names, values, strict=True)))

    def _quoted(self) -> str:
        found = re.compile(r'((?:[^"\\]|\\.)*)"', re.DOTALL).match(self._text, self._position)
        if found is None:
            raise _NotAValue
        self._position = found.end()
        return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)

    def _take(self, mark: str) -> bool:
        self._skip_spaces()
        if not self._text.startswith(mark, self._position):
            return False
        self._position += len(mark)
        return True

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise _NotAValue

    def _skip_spaces(self) -> None:
        while self._text[self._position : self._position + 1].isspace():
            self._position += 1


def _aligned(parts: list[Parsed]) -> tuple[Schema | None, list[Any]]:
    """The schema that all parts have in common, if there is one, and their values."""
    values = [part.value for part in parts]
    schemas = {part.schema for part in parts}
    if len(schemas) == 1:
        return schemas.pop(), values
    if not schemas or not schemas.issubset(_NUMERIC):
        return None, values
    widest = next(schema for schema in reversed(_NUMERIC) if schema in schemas)
    if widest in (FLOAT32, FLOAT64):
        values = [float(value) for value in values]
    return widest, values
