"""Values of a schema from text cells and from JSON."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from connect.api import DataError, Schema, SchemaType
from connect.api.java_patterns import MS_PER_DAY, JavaPattern
from connect.api.schemas import DATE, DECIMAL, TIME, TIMESTAMP

TIMESTAMP_FORMATS: Final = ("yyyy-MM-dd'T'HH:mm:ss", "yyyy-MM-dd' 'HH:mm:ss")
_BITS: Final = {SchemaType.INT8: 7, SchemaType.INT16: 15, SchemaType.INT32: 31, SchemaType.INT64: 63}
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")

Parse = Callable[[str], Any]


class TextParser:
    """Makes parsers of text for schemas; they raise `ValueError` with what is wrong."""

    def __init__(self, formats: Sequence[str] = TIMESTAMP_FORMATS, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._formats = list(formats)

    def parser(self, schema: Schema) -> Parse:
        """That for a schema; raises `DataError` for one that no single text can be."""
        if schema.name == DECIMAL:
            return _decimal_parser(schema)
        if schema.name == DATE:
            days = self._moments("yyyy-MM-dd")
            return lambda text: days(text) // MS_PER_DAY
        if schema.name == TIME:
            since_midnight = self._moments("HH:mm:ss")
            return lambda text: since_midnight(text) % MS_PER_DAY
        if schema.name == TIMESTAMP:
            return self._moments()
        if schema.type in _BITS:
            return _integer_parser(schema.type)
        found = _PARSERS.get(schema.type)
        if found is None:
            raise DataError(f"a field of type {schema.type.value} cannot be read from text")
        return found

    def _moments(self, *more: str) -> Callable[[str], int]:
        formats = [*self._formats, *more]
        patterns = [JavaPattern.simple_date_format(pattern, self._zone) for pattern in self._formats]
        patterns += [JavaPattern.simple_date_format(pattern) for pattern in more]

        def parse(text: str) -> int:
            for pattern in patterns:
                try:
                    return pattern.parse(text.strip())
                except ValueError:
                    continue
            raise ValueError(f"{text!r} is like none of {', '.join(formats)}")

        return parse


def _integer_parser(kind: SchemaType) -> Parse:
    limit = 1 << _BITS[kind]

    def parse(text: str) -> int:
        if _INTEGER.fullmatch(text.strip()) is None or not -limit <= (value := int(text)) < limit:
            raise ValueError(f"{text!r} is no {kind.value}")
        return value

    return parse


def _decimal_parser(schema: Schema) -> Parse:
    scale = int(schema.parameters.get("scale", "0"))

    def parse(text: str) -> Decimal:
        try:
            value = Decimal(text.strip())
            exact = value.quantize(Decimal(1).scaleb(-scale))
        except InvalidOperation:
            raise ValueError(f"{text!r} is no decimal number") from None
        if exact != value:
            raise ValueError(f"{text!r} has more than {scale} digits behind the point")
        return exact

    return parse


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return lowered == "true"


def _float(text: str) -> float:
    try:
        if "_" not in text:  # Python's own way to group digits
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no number")


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{text!r} is no base64") from None


_PARSERS: Final[Mapping[SchemaType, Parse]] = {
    SchemaType.STRING: str, SchemaType.BOOLEAN: _boolean, SchemaType.BYTES: _bytes,
    SchemaType.FLOAT32: _float, SchemaType.FLOAT64: _float,
}  # fmt: skip


def fitted(schema: Schema, value: Any, parser: TextParser, path: str = "") -> Any:
    """A value of parsed JSON as a value of the schema; raises `DataError` that names the field."""
    if value is None:
        if schema.optional or schema.default is not None:
            return schema.default
        raise DataError(f"{_place(path)} is missing, which its schema does not allow")
    if schema.type is SchemaType.STRUCT:
        if type(value) is not dict:
            raise DataError(f"{_place(path)} is {_word(value)}, not an object")
        return {
            field.name: fitted(
                field.schema, value.get(field.name), parser, f"{path}.{field.name}" if path else field.name
            )
            for field in schema.fields
        }
    if schema.type is SchemaType.ARRAY and type(value) is list:
        assert schema.value_schema is not None, "an array says what it holds"
        return [fitted(schema.value_schema, item, parser, f"{path}[{i}]") for i, item in enumerate(value)]
    if schema.type is SchemaType.MAP and type(value) is dict:
        assert schema.value_schema is not None, "a map says what it holds"
        return {
            key: fitted(schema.value_schema, item, parser, f"{path}.{key}") for key, item in value.items()
        }
    return _scalar(schema, value, parser, path)


def _scalar(schema: Schema, value: Any, parser: TextParser, path: str) -> Any:
    kind = schema.type
    if kind is SchemaType.BOOLEAN and type(value) is bool:
        return value
    if type(value) is int and (kind in _BITS):
        if -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]:
            return value
    elif type(value) in (int, float) and kind in (SchemaType.FLOAT32, SchemaType.FLOAT64):
        return float(value)
    elif type(value) is str or (type(value) in (int, float) and schema.name == DECIMAL):
        try:
            return parser.parser(schema)(str(value))
        except (ValueError, DataError) as exc:
            raise DataError(f"{_place(path)}: {exc}") from None
    raise DataError(f"{_place(path)} is {_word(value)}, not {schema.name or kind.value}")


def _place(path: str) -> str:
    return f"field {path}" if path else "the value"


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return str(value) if not isinstance(value, str) else repr(value[:80])
