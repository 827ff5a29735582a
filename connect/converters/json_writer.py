"""Values → what orjson can dump, by a plan compiled once per schema.

A writer returns the value itself where JSON has it as it is, so that most records reach orjson untouched;
where something inside must be told in another way (bytes, decimals, NaN, defaults for nulls, maps whose
keys are no strings), it returns a copy with those parts replaced. It raises `DataError` for a value that
does not fit its schema.
"""

import math
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from types import NoneType
from typing import Any, Final

import orjson

from connect.api import DataError, Schema, SchemaType
from connect.api.decimals import decimal_to_bytes, rescale, scale_of
from connect.api.java_patterns import epoch_ms_of
from connect.api.schemas import DECIMAL
from connect.converters.json_plan import (
    Action,
    Chooser,
    array_action,
    key_of,
    map_action,
    part_of,
    perform,
    struct_action,
)

_PYTHON_TYPES: Final[Mapping[SchemaType, tuple[type, ...]]] = {
    SchemaType.INT8: (int,),
    SchemaType.INT16: (int,),
    SchemaType.INT32: (int,),
    SchemaType.INT64: (int,),
    SchemaType.FLOAT32: (float, int),
    SchemaType.FLOAT64: (float, int),
    SchemaType.BOOLEAN: (bool,),
    SchemaType.STRING: (str,),
    SchemaType.BYTES: (bytes, bytearray, memoryview),
    SchemaType.ARRAY: (list, tuple),
    SchemaType.MAP: (dict,),
    SchemaType.STRUCT: (dict,),
}
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_FLOATS: Final = (SchemaType.FLOAT32, SchemaType.FLOAT64)


class DecimalFormat(StrEnum):
    """How Decimal values are written."""

    BASE64 = "BASE64"
    NUMERIC = "NUMERIC"


def compile_writer(
    schema: Schema, decimal_format: DecimalFormat = DecimalFormat.BASE64, null_as_default: bool = True
) -> Action:
    """The writer for values of a schema, null included."""
    return perform(_Compiler(decimal_format, null_as_default).chooser(schema))


def differs_from_default_settings(
    schema: Schema, decimal_format: DecimalFormat, null_as_default: bool
) -> bool:
    """Whether these settings can lead to other JSON than the default ones do."""
    return any(
        (decimal_format is not DecimalFormat.BASE64 and part.name == DECIMAL)
        or (not null_as_default and part.default is not None)
        for part in schema.walk()
    )


class _Compiler:
    def __init__(self, decimal_format: DecimalFormat, null_as_default: bool) -> None:
        self._decimal_format = decimal_format
        self._null_as_default = null_as_default

    def chooser(self, schema: Schema, field: str = "") -> Chooser:
        """What to do with a value of `schema`, by its type; `field` is its name, for errors."""
        wanted = _PYTHON_TYPES[schema.type] if not _is_decimal(schema) else (Decimal,)
        action = self._action(schema)
        nullable = schema.optional or (schema.default is not None and self._null_as_default)
        null = self._default(schema, action)

        def choose(kind: type) -> Action | None:
            if kind is NoneType:
                if not nullable:
                    raise _null_error(field)
                return null
            # bool is an int to Python, but not to a schema; other subclasses (enums) do for their base.
            if kind not in wanted and (kind is bool or not issubclass(kind, wanted)):
                raise _type_error(schema, kind, field)
            return action

        return choose

    def _default(self, schema: Schema, action: Action | None) -> Action | None:
        """What null becomes; None where it stays null."""
        if schema.default is None or not self._null_as_default:
            return None
        default = schema.default if action is None else action(schema.default)
        return lambda value: default

    def _action(self, schema: Schema) -> Action | None:
        """What must be done with a value that is not null; None for nothing."""
        if _is_decimal(schema):
            return _decimal_writer(scale_of(schema), self._decimal_format)
        if schema.type is SchemaType.BYTES:
            return _base64
        if schema.type in _FLOATS:
            return finite_or_text
        if schema.type is SchemaType.STRUCT:
            members = [self.chooser(member.schema, member.name) for member in schema.fields]
            return struct_action(schema, members, lambda value: _in_order(schema, value))
        if schema.type is SchemaType.ARRAY:
            return array_action(self.chooser(part_of(schema, "value_schema")))
        if schema.type is SchemaType.MAP:
            return self._map(schema)
        return None

    def _map(self, schema: Schema) -> Action:
        key_schema = key_of(schema)
        key, member = self.chooser(key_schema), self.chooser(part_of(schema, "value_schema"))
        if key_schema.type is SchemaType.STRING:
            return map_action(key, member)
        write_key, write_member = perform(key), perform(member)
        return lambda value: [[write_key(name), write_member(part)] for name, part in value.items()]


def _is_decimal(schema: Schema) -> bool:
    return schema.name == DECIMAL and schema.type is SchemaType.BYTES


def _in_order(schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
    """A struct's value with all fields in the schema's order, absent ones as null."""
    for name in value:
        if name not in schema.by_name:
            raise DataError(f"{name} is not a valid field name of {schema.name or 'the struct'}")
    return {member.name: value.get(member.name) for member in schema.fields}


def _null_error(field: str) -> DataError:
    where = f" {field}" if field else ""
    return DataError(
        f"Conversion error: null value for field{where} that is required and has no default value"
    )


def _type_error(schema: Schema, kind: type, field: str) -> DataError:
    where = f', field: "{field}"' if field else ""
    return DataError(f"Invalid Python object for schema type {schema.type.name}: {kind.__name__}{where}")


def finite_or_text(value: float) -> float | str:
    """JSON has no NaN and no infinity; Connect writes them as these texts."""
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _decimal_writer(scale: int, decimal_format: DecimalFormat) -> Action:
    if decimal_format is DecimalFormat.NUMERIC:
        return lambda value: orjson.Fragment(str(rescale(value, scale)))
    return lambda value: b64encode(decimal_to_bytes(value, scale)).decode("ascii")


def dump(value: Any, other: Action | None = None) -> bytes:
    """The JSON of a value; `other` tells what orjson does not know. `DataError` where that fails."""
    try:
        return orjson.dumps(value, other, _OPTIONS)
    except TypeError as exc:
        if isinstance(exc.__cause__, DataError):
            raise exc.__cause__ from None
        raise DataError(f"Cannot convert the value to JSON: {exc}") from exc


def dump_schemaless(value: Any, decimal_format: DecimalFormat) -> bytes:
    """The JSON of a value without a schema."""
    other = partial(_schemaless_part, decimal_format)
    try:
        json = dump(value, other)
    except DataError as exc:
        if "Dict key" not in str(exc):
            raise
    else:
        # orjson writes null for NaN and the infinities; what reads back as it was had none of them.
        if b"null" not in json or orjson.loads(json) == value:
            return json
    return dump(_without_oddities(value), other)


def _schemaless_part(decimal_format: DecimalFormat, part: Any) -> Any:
    if isinstance(part, bytes | bytearray | memoryview):
        return _base64(bytes(part))
    if isinstance(part, Decimal):
        exponent = part.as_tuple().exponent
        if not isinstance(exponent, int):
            raise DataError(f"{part} is no number that JSON can hold")
        return _decimal_writer(-exponent, decimal_format)(part)
    if isinstance(part, datetime):
        return epoch_ms_of(part)
    raise DataError(f"{type(part).__name__} is not supported as schemaless data.")


def _without_oddities(value: Any) -> Any:
    """A copy in which NaN and infinities are texts and maps with other keys than strings are pairs."""
    if isinstance(value, float):
        return finite_or_text(value)
    if isinstance(value, list | tuple):
        return [_without_oddities(part) for part in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _without_oddities(part) for key, part in value.items()}
        return [[_without_oddities(key), _without_oddities(part)] for key, part in value.items()]
    return value
