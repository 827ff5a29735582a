"""What orjson parsed → values, by a plan compiled once per schema (`json_plan`).

Where the JSON is of another type than the schema says, the value becomes what Jackson's `intValue()`,
`textValue()` and so on make of it, as in Kafka Connect; a null that the schema does not allow, and JSON of
the wrong shape for a struct, array, map or logical type, raise `DataError`.
"""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import NoneType
from typing import Any, Final

from connect.api import DataError, Schema, SchemaType
from connect.api.decimals import decimal_from_bytes, rescale, scale_of
from connect.api.schemas import DATE, DECIMAL, TIME, TIMESTAMP
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

_INTEGER_BITS: Final = {SchemaType.INT8: 8, SchemaType.INT16: 16, SchemaType.INT32: 32, SchemaType.INT64: 64}
_FLOAT_TEXTS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_NUMBERS: Final = (int, float, Decimal)
_JSON_TYPES: Final[Mapping[type, str]] = {
    bool: "BOOLEAN", int: "NUMBER", float: "NUMBER", Decimal: "NUMBER", str: "STRING",
    list: "ARRAY", dict: "OBJECT", NoneType: "NULL",
}  # fmt: skip


class InexactNumberError(Exception):
    """A Decimal stands in the JSON as a number with a fraction: parse again with `Decimal` for floats."""


def compile_reader(schema: Schema, null_as_default: bool = True) -> Action:
    """The reader for values of a schema, null included."""
    return perform(_Compiler(null_as_default).chooser(schema))


class _Compiler:
    def __init__(self, null_as_default: bool) -> None:
        self._null_as_default = null_as_default

    def chooser(self, schema: Schema, field: str = "") -> Chooser:
        """What to do with JSON for `schema`, by its Python type; `field` is its name, for errors."""
        by_type = self._by_type(schema)
        otherwise = self._otherwise(schema)

        def choose(kind: type) -> Action | None:
            if kind is NoneType:
                return self._null(schema, field)
            return by_type[kind] if kind in by_type else otherwise(kind)

        return choose

    def _null(self, schema: Schema, field: str) -> Action | None:
        if schema.default is not None and self._null_as_default:
            return lambda value: schema.default
        if schema.optional:
            return None
        where = f" {field}" if field else ""
        raise DataError(f"Invalid null value for required {schema.type.name} field{where}")

    def _by_type(self, schema: Schema) -> Mapping[type, Action | None]:
        """What to do with JSON of the types that the schema expects."""
        kind = schema.type
        if schema.name == DECIMAL and kind is SchemaType.BYTES:
            return _decimal_actions(scale_of(schema))
        if kind in _INTEGER_BITS:
            return {int: _integer_reader(_INTEGER_BITS[kind])}
        if kind in (SchemaType.FLOAT32, SchemaType.FLOAT64):
            return {float: None, int: float, Decimal: float, str: lambda text: _FLOAT_TEXTS.get(text, 0.0)}
        if kind is SchemaType.BOOLEAN:
            return {bool: None}
        if kind is SchemaType.STRING:
            return {str: None}
        if kind is SchemaType.BYTES:
            return {str: _read_base64}
        if kind is SchemaType.ARRAY:
            return {list: array_action(self.chooser(part_of(schema, "value_schema")))}
        if kind is SchemaType.MAP:
            return self._map(schema)
        members = [self.chooser(member.schema, member.name) for member in schema.fields]
        names = [member.name for member in schema.fields]
        return {dict: struct_action(schema, members, lambda value: {name: value.get(name) for name in names})}

    def _map(self, schema: Schema) -> Mapping[type, Action | None]:
        key_schema = key_of(schema)
        key, member = self.chooser(key_schema), self.chooser(part_of(schema, "value_schema"))
        if key_schema.type is SchemaType.STRING:
            return {dict: map_action(key, member)}
        read_key, read_member = perform(key), perform(member)

        def read_pairs(pairs: list[Any]) -> dict[Any, Any]:
            for pair in pairs:
                if type(pair) is not list:
                    raise DataError(
                        f"Found invalid map entry instead of array tuple: {_json_type(type(pair))}"
                    )
                if len(pair) != 2:
                    raise DataError(f"Found invalid map entry, expected length 2 but found: {len(pair)}")
            return {read_key(name): read_member(part) for name, part in pairs}

        return {list: read_pairs}

    def _otherwise(self, schema: Schema) -> Callable[[type], Action | None]:
        """What to do with JSON of other types than those."""
        refusal = _REFUSALS.get(schema.name or "") or _refusal_of_shape(schema)
        if refusal is not None:
            text = refusal

            def refuse(kind: type) -> Action | None:
                raise DataError(f"{text}{_json_type(kind)}")

            return refuse
        empty = _EMPTY.get(schema.type)
        if schema.type in _INTEGER_BITS:
            wrap = _wrapper(_INTEGER_BITS[schema.type])
            return lambda kind: (lambda value: wrap(int(value))) if kind in _NUMBERS else lambda value: 0
        return lambda kind: lambda value: empty


# What a value of the wrong JSON type becomes.
_EMPTY: Final[Mapping[SchemaType, Any]] = {
    SchemaType.BOOLEAN: False,
    SchemaType.FLOAT32: 0.0,
    SchemaType.FLOAT64: 0.0,
}
_REFUSALS: Final[Mapping[str, str]] = {
    DECIMAL: "Invalid type for Decimal, underlying representation should be numeric or bytes but was ",
    DATE: "Invalid type for Date, underlying representation should be integer but was ",
    TIME: "Invalid type for Time, underlying representation should be integer but was ",
    TIMESTAMP: "Invalid type for Timestamp, underlying representation should be integral but was ",
}


def _refusal_of_shape(schema: Schema) -> str | None:
    if schema.type is SchemaType.STRUCT:
        return "Structs should be encoded as JSON objects, but found "
    if schema.type is SchemaType.ARRAY:
        return "Arrays should be encoded as JSON arrays, but found "
    if schema.type is SchemaType.MAP:
        if part_of(schema, "key_schema").type is SchemaType.STRING:
            return "Maps with string fields should be encoded as JSON objects, but found "
        return "Maps with non-string fields should be encoded as JSON arrays of tuples, but found "
    return None


def _json_type(kind: type) -> str:
    return _JSON_TYPES.get(kind, kind.__name__)


def _wrapper(bits: int) -> Callable[[int], int]:
    half = 1 << (bits - 1)
    mask = (1 << bits) - 1
    return lambda value: ((value + half) & mask) - half


def _integer_reader(bits: int) -> Action:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    wrap = _wrapper(bits)
    return lambda value: value if low <= value <= high else wrap(value)


def _read_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise DataError(f"Invalid bytes field: {exc}") from None


def _decimal_actions(scale: int) -> Mapping[type, Action]:
    def refuse(value: float) -> Any:
        raise InexactNumberError

    return {
        str: lambda text: decimal_from_bytes(_read_base64(text), scale),
        int: lambda value: rescale(Decimal(value), scale),
        Decimal: lambda value: rescale(value, scale),
        float: refuse,
    }
