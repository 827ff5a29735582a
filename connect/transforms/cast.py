"""Cast: changes the type of fields, or of the whole key or value."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from connect.api import Config, ConfigError, DataError, FieldError, Importance, Schema, SchemaType, setting
from connect.api.java_text import shortest_of_single
from connect.api.per_schema import PerSchema
from connect.api.schemas import DATE, DECIMAL, TIME, TIMESTAMP
from connect.api.values import text_of
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    copy_of,
    like,
    null_as_default_setting,
    require_map,
    require_struct,
)

_PURPOSE = "cast types"
_TARGETS: Final = (
    SchemaType.INT8, SchemaType.INT16, SchemaType.INT32, SchemaType.INT64,
    SchemaType.FLOAT32, SchemaType.FLOAT64, SchemaType.BOOLEAN, SchemaType.STRING,
)  # fmt: skip
_SOURCES: Final = (*_TARGETS, SchemaType.BYTES)
_LOGICAL: Final = frozenset((DATE, TIME, TIMESTAMP, DECIMAL))
_BITS: Final = {SchemaType.INT8: 8, SchemaType.INT16: 16, SchemaType.INT32: 32, SchemaType.INT64: 64}
_INFERRED: Final[Mapping[type, SchemaType]] = {
    bool: SchemaType.BOOLEAN, int: SchemaType.INT64, float: SchemaType.FLOAT64, str: SchemaType.STRING,
    bytes: SchemaType.BYTES, Decimal: SchemaType.BYTES, datetime: SchemaType.INT64,
    list: SchemaType.ARRAY, dict: SchemaType.MAP,
}  # fmt: skip
# What `Float.parseFloat` and `Double.parseDouble` take, hexadecimal forms aside.
_FLOAT: Final = re.compile(
    r"[\x00-\x20]*([+-]?)(?:(NaN)|(Infinity)|((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFdD]?)[\x00-\x20]*",
    re.ASCII,
)


class CastConfig(Config):
    """Settings of Cast."""

    spec: list[str] = setting(
        "spec", importance=Importance.HIGH,
        doc="List of fields and the type to cast them to of the form field1:type,field2:type to cast fields "
            "of Maps or Structs. A single type to cast the entire value. Valid types are int8, int16, int32, "
            "int64, float32, float64, boolean, and string. Binary fields can only be cast to string.",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()

    def check(self) -> Iterable[FieldError]:
        try:
            self.targets()
        except ConfigError as exc:
            yield FieldError("spec", str(exc))

    def targets(self) -> dict[str | None, SchemaType]:
        """The type for each field; under None that of the whole value."""
        if not self.spec:
            raise ConfigError("spec: Must specify at least one field to cast.")
        targets: dict[str | None, SchemaType] = {}
        for part in self.spec:
            field, colon, kind = part.rpartition(":")
            targets[field.strip() if colon else None] = _target(kind.strip())
        if None in targets and len(self.spec) > 1:
            raise ConfigError(
                "spec: Cast transformations that specify a type to cast the entire value to may only specify "
                "a single cast in their spec"
            )
        return targets


def _target(name: str) -> SchemaType:
    supported = f"supported types are [{', '.join(kind.name for kind in _TARGETS)}]"
    try:
        kind = SchemaType[name.upper()]
    except KeyError:
        raise ConfigError(f"spec: Invalid type found in casting spec: {name}; {supported}") from None
    if kind not in _TARGETS:
        raise ConfigError(f"spec: Cast transformation does not support casting to {kind.name}; {supported}")
    return kind


class Cast(SidedTransform[R]):
    """Numbers, booleans and texts into each other; bytes, decimals and times into text too."""

    config_class = CastConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = CastConfig.parse(properties)
        targets = config.targets()
        self._whole = targets.get(None)
        self._fields = {name: kind for name, kind in targets.items() if name is not None}
        self._null_as_default = config.null_as_default
        self._cast_schema = PerSchema(self._make_schema)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if value is None:
            return record
        if self._whole is not None:
            new_schema = None if schema is None else self._cast_schema(schema)
            return self.renewed(record, new_schema, cast(schema, value, self._whole))
        if schema is None:
            fields = require_map(value, _PURPOSE)
            changed = {name: cast(None, fields.get(name), kind) for name, kind in self._fields.items()}
            return self.renewed(record, None, {**fields, **changed})
        fields = require_struct(schema, value, _PURPOSE)
        return self.renewed(record, self._cast_schema(schema), self._cast_struct(schema, fields))

    def _cast_struct(self, schema: Schema, fields: Mapping[str, Any]) -> dict[str, Any]:
        changed = copy_of(schema, fields, self._null_as_default)
        for name, target in self._fields.items():
            if name in changed:
                changed[name] = cast(schema.by_name[name].schema, changed[name], target)
        return changed

    def _make_schema(self, schema: Schema) -> Schema:
        if self._whole is not None:
            return _cast_schema(schema, self._whole)
        fields = []
        for field in schema.fields:
            target = self._fields.get(field.name)
            if target is None:
                fields.append((field.name, field.schema))
            else:
                default = cast(field.schema, field.schema.default, target)
                plain = Schema(target, optional=field.schema.optional, default=default)
                fields.append((field.name, plain))
        default = None if schema.default is None else self._cast_struct(schema, schema.default)
        return replace(like(schema, fields), optional=schema.optional, default=default)


def _cast_schema(schema: Schema, target: SchemaType) -> Schema:
    """The schema of a whole value. Where the type changes, the name of a logical type goes: a string is no
    Timestamp (Java keeps it, and its JsonConverter then fails)."""
    default = cast(schema, schema.default, target)
    if schema.name in _LOGICAL and schema.type is not target:
        return Schema(target, schema.optional, doc=schema.doc, default=default)
    return replace(schema, type=target, default=default)


def cast(schema: Schema | None, value: Any, target: SchemaType) -> Any:
    """The value as another type; raises `DataError` where there is no sensible one."""
    if value is None:
        return None
    source = _inferred(value) if schema is None else schema.type
    if source not in _SOURCES:
        raise DataError(
            f"Cast transformation does not support casting from {source.name}; supported types are "
            f"[{', '.join(kind.name for kind in _SOURCES)}]"
        )
    if target is SchemaType.STRING:
        return text_of(schema, value)
    try:
        if target is SchemaType.BOOLEAN:
            return value.lower() == "true" if isinstance(value, str) else _whole_number(value, 64) != 0
        if target in _BITS:
            return _to_integer(value, _BITS[target])
        return _to_float(value, single=target is SchemaType.FLOAT32)
    except ValueError:
        raise DataError(f"Value ({value}) was out of range for requested data type {target}") from None


def _inferred(value: Any) -> SchemaType:
    if type(value) not in _INFERRED:
        raise DataError(
            f"Cast transformation was passed a value of type {type(value).__name__} which is not supported "
            "by Connect's data API"
        )
    return _INFERRED[type(value)]


def _to_integer(value: Any, bits: int) -> int:
    if not isinstance(value, str):
        return _whole_number(value, bits)
    number = int(value) if re.fullmatch(r"[+-]?\d+", value, re.ASCII) else None
    if number is None or not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(value)
    return number


def _whole_number(value: Any, bits: int) -> int:
    """What Java's `byteValue()` … `longValue()` give: floats stop at the limits, integers lose high bits."""
    if isinstance(value, float):
        # A double goes to int before it goes to byte or short.
        wide = 64 if bits == 64 else 32
        limit = 1 << (wide - 1)
        value = 0 if value != value else max(-limit, min(limit - 1, int(max(-1e30, min(1e30, value)))))
    elif isinstance(value, Decimal):
        value = int(value)
    elif not isinstance(value, int):
        raise DataError(f"Unexpected type in Cast transformation: {type(value).__name__}")
    half = 1 << (bits - 1)
    return (int(value) + half) % (1 << bits) - half


def _to_float(value: Any, *, single: bool) -> float:
    if isinstance(value, str):
        found = _FLOAT.fullmatch(value)
        if found is None:
            raise ValueError(value)
        number = float(f"{found[1]}{found[2] or found[3] or found[4]}")
    elif isinstance(value, int | float | Decimal):
        number = float(value)
    else:
        raise DataError(f"Unexpected type in Cast transformation: {type(value).__name__}")
    if not single:
        return number
    shortest = shortest_of_single(number)
    return float(shortest) if shortest is not None else _beyond_single(number)


def _beyond_single(number: float) -> float:
    return number if math.isnan(number) else math.copysign(math.inf, number)


class CastKey(OnKey[R], Cast[R]):
    """Cast on keys."""


class CastValue(OnValue[R], Cast[R]):
    """Cast on values."""
