"""Flatten: nested structs and maps become one level, their names joined."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from connect.api import Config, DataError, Schema, SchemaType, setting
from connect.api.per_schema import PerSchema
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    field_of,
    like,
    require_map,
    require_struct,
)

_PURPOSE = "flattening"


class FlattenConfig(Config):
    """Settings of Flatten."""

    delimiter: str = setting(
        "delimiter", default=".",
        doc="Delimiter to insert between field names from the input record when generating field names for "
            "the output record",
    )  # fmt: skip


class _Leaf(NamedTuple):
    """A field of the flat struct, and the way to its value."""

    name: str
    schema: Schema
    read: Callable[[Mapping[str, Any]], Any]


class Flatten(SidedTransform[R]):
    """`{"a": {"b": 1}}` → `{"a.b": 1}`. Arrays stay as they are."""

    config_class = FlattenConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._delimiter = FlattenConfig.parse(properties).delimiter
        self._plan = PerSchema(self._make_plan)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if value is None:
            return record
        if schema is None:
            flat: dict[str, Any] = {}
            self._flatten(require_map(value, _PURPOSE), "", flat)
            return self.renewed(record, None, flat)
        struct = require_struct(schema, value, _PURPOSE)
        flat_schema, leaves = self._plan(schema)
        return self.renewed(record, flat_schema, {leaf.name: leaf.read(struct) for leaf in leaves})

    def _flatten(self, value: Mapping[str, Any], prefix: str, flat: dict[str, Any]) -> None:
        for name, part in value.items():
            if isinstance(part, dict):
                self._flatten(part, f"{prefix}{name}{self._delimiter}", flat)
            else:
                flat[f"{prefix}{name}"] = part

    def _make_plan(self, schema: Schema) -> tuple[Schema, list[_Leaf]]:
        leaves = list(self._leaves(schema, "", schema.optional, schema.default, lambda value: value))
        return like(schema, [(leaf.name, leaf.schema) for leaf in leaves]), leaves

    def _leaves(
        self,
        schema: Schema,
        prefix: str,
        optional: bool,
        default: Mapping[str, Any] | None,
        read: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
    ) -> Iterator[_Leaf]:
        """The leaves of a struct. A leaf is optional where a struct around it is, and a struct's default
        gives its leaves theirs."""
        for field in schema.fields:
            name = f"{prefix}{field.name}"
            own_default = field.schema.default
            if default is not None and default.get(field.name) is not None:
                own_default = default[field.name]
            if field.schema.type is SchemaType.MAP:
                raise DataError(
                    f"Flatten transformation does not support MAP for record with schemas (for field {name})."
                )

            def read_part(value: Mapping[str, Any], field: Any = field) -> Any:
                around = read(value)
                return None if around is None else field_of(around, field, null_as_default=True)

            if field.schema.type is SchemaType.STRUCT:
                yield from self._leaves(
                    field.schema, f"{name}{self._delimiter}", optional or field.schema.optional,
                    own_default, read_part,
                )  # fmt: skip
            else:
                leaf = replace(field.schema, optional=optional or field.schema.optional, default=own_default)
                yield _Leaf(name, leaf, read_part)


class FlattenKey(OnKey[R], Flatten[R]):
    """Flatten on keys."""


class FlattenValue(OnValue[R], Flatten[R]):
    """Flatten on values."""
