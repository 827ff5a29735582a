"""Cast: changes the type of fields, or of the whole key or value."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple

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
_SCHEMALESS_SOURCES: Final = frozenset((bool, int, float, str, bytes, Decimal, datetime))
_JAVA_NAMES: Final[Mapping[type, str]] = {list: "ARRAY", dict: "MAP"}
# What `Float.parseFloat` and `Double.parseDouble` take, hexadecimal forms aside.
_FLOAT: Final = re.compile(
    r"[\x00-\x20]*([+-]?)(?:(NaN)|(Infinity)|((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFdD]?)[\x00-\x20]*",
    re.ASCII,
)

Caster = Callable[[Any], Any]


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


class _Plan(NamedTuple):
    """The schema that comes out, and what to do with the value: all of it, or with which fields."""

    schema: Schema | None
    whole: Caster | None
    fields: list[tuple[str, Caster]]


class Cast(SidedTransform[R]):
    """Numbers, booleans and texts into each other; bytes, decimals and times into text too."""

    config_class = CastConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = CastConfig.parse(properties)
        targets = config.targets()
        self._whole = targets.get(None)
        self._fields = {name: target for name, target in targets.items() if name is not None}
        self._null_as_default = config.null_as_default
        whole = None if self._whole is None else caster(None, self._whole)
        fields = [(name, caster(None, target)) for name, target in self._fields.items()]
        self._schemaless = _Plan(None, whole, fields)
        self._plan = PerSchema(self._make_plan)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if value is None:
            return record
        plan = self._schemaless if schema is None else self._plan(schema)
        return self.renewed(record, plan.schema, self._cast(schema, value, plan))

    def _cast(self, schema: Schema | None, value: Any, plan: _Plan) -> Any:
        if plan.whole is not None:
            return plan.whole(value)
        if schema is None:
            fields = require_map(value, _PURPOSE)
            return {**fields, **{name: cast(fields.get(name)) for name, cast in plan.fields}}
        changed = copy_of(schema, require_struct(schema, value, _PURPOSE), self._null_as_default)
        for name, cast in plan.fields:
            changed[name] = cast(changed[name])
        return changed

    def _make_plan(self, schema: Schema) -> _Plan:
        if self._whole is not None:
            cast = caster(schema, self._whole)
            return _Plan(_cast_schema(schema, self._whole, cast), cast, [])
        fields: list[tuple[str, Schema]] = []
        casters: list[tuple[str, Caster]] = []
        for field in schema.fields:
            target = self._fields.get(field.name)
            if target is None:
                fields.append((field.name, field.schema))
                continue
            cast = caster(field.schema, target)
            casters.append((field.name, cast))
            default = cast(field.schema.default)
            fields.append((field.name, Schema(target, optional=field.schema.optional, default=default)))
        cast_schema = replace(like(schema, fields), optional=schema.optional)
        plan = _Plan(cast_schema, None, casters)
        if schema.default is None:
            return plan
        return plan._replace(schema=cast_schema.with_default(self._cast(schema, schema.default, plan)))


def _cast_schema(schema: Schema, target: SchemaType, cast: Caster) -> Schema:
    """The schema of a whole value. Where the type changes, the name of a logical type goes: a string is no
    Timestamp (Java keeps it, and its JsonConverter then fails)."""
    default = cast(schema.default)
    if schema.name in _LOGICAL and schema.type is not target:
        return Schema(target, schema.optional, doc=schema.doc, default=default)
    return replace(schema, type=target, default=default)


def caster(schema: Schema | None, target: SchemaType) -> Caster:
    """What turns values into another type; it raises `DataError` for one that has no sensible result."""
    if schema is not None and schema.type not in _SOURCES:
        raise _refusal(schema.type.name)
    convert = _converter(schema, target)

    def cast(value: Any) -> Any:
        if value is None:
            return None
        if schema is None and type(value) not in _SCHEMALESS_SOURCES:
            raise _refusal(_JAVA_NAMES.get(type(value), type(value).__name__))
        try:
            return convert(value)
        except ValueError:
            raise DataError(f"Value ({value}) was out of range for requested data type {target}") from None

    return cast


def _converter(schema: Schema | None, target: SchemaType) -> Caster:
    if target is SchemaType.STRING:
        return partial(text_of, schema)
    if target is SchemaType.BOOLEAN:
        return _to_boolean
    if target in _BITS:
        return partial(_to_integer, _BITS[target])
    return _to_single if target is SchemaType.FLOAT32 else _to_double


def _refusal(source: str) -> DataError:
    return DataError(
        f"Cast transformation does not support casting from {source}; supported types are "
        f"[{', '.join(kind.name for kind in _SOURCES)}]"
    )


def _to_boolean(value: Any) -> bool:
    return value.lower() == "true" if isinstance(value, str) else _whole_number(64, value) != 0


def _to_integer(bits: int, value: Any) -> int:
    if not isinstance(value, str):
        return _whole_number(bits, value)
    number = int(value) if re.fullmatch(r"[+-]?\d+", value, re.ASCII) else None
    if number is None or not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(value)
    return number


def _whole_number(bits: int, value: Any) -> int:
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


def _to_double(value: Any) -> float:
    if isinstance(value, str):
        found = _FLOAT.fullmatch(value)
        if found is None:
            raise ValueError(value)
        return float(f"{found[1]}{found[2] or found[3] or found[4]}")
    if isinstance(value, int | float | Decimal):
        return float(value)
    raise DataError(f"Unexpected type in Cast transformation: {type(value).__name__}")


def _to_single(value: Any) -> float:
    number = _to_double(value)
    shortest = shortest_of_single(number)
    return float(shortest) if shortest is not None else _beyond_single(number)


def _beyond_single(number: float) -> float:
    return number if math.isnan(number) else math.copysign(math.inf, number)


class CastKey(OnKey[R], Cast[R]):
    """Cast on keys."""


class CastValue(OnValue[R], Cast[R]):
    """Cast on values."""
