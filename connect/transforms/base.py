"""What the transforms share: which part of a record they work on, and access to fields.

A transform of keys or values is written once and registered twice, as in Connect: `Cast$Key` is
`class CastKey(OnKey, Cast)`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from connect.api import ConnectRecord, DataError, Field, Importance, Schema, SchemaType, Transform, setting
from connect.api.schemas import struct
from connect.version import __version__

R = TypeVar("R", bound=ConnectRecord)


class SidedTransform(Transform[R]):
    """A transform of either the key or the value."""

    version = __version__

    @abstractmethod
    def operand(self, record: R) -> tuple[Schema | None, Any]:
        """The part of the record to work on."""

    @abstractmethod
    def renewed(self, record: R, schema: Schema | None, value: Any) -> R:
        """The record with that part changed."""


class OnKey(SidedTransform[R]):
    """Works on the key."""

    def operand(self, record: R) -> tuple[Schema | None, Any]:
        return record.key_schema, record.key

    def renewed(self, record: R, schema: Schema | None, value: Any) -> R:
        return record.replace(key_schema=schema, key=value)


class OnValue(SidedTransform[R]):
    """Works on the value."""

    def operand(self, record: R) -> tuple[Schema | None, Any]:
        return record.value_schema, record.value

    def renewed(self, record: R, schema: Schema | None, value: Any) -> R:
        return record.replace(value_schema=schema, value=value)


def require_map(value: Any, purpose: str) -> dict[str, Any]:
    """The schemaless value, which must be a map."""
    if not isinstance(value, dict):
        found = "null" if value is None else type(value).__name__
        raise DataError(f"Only Map objects supported in absence of schema for [{purpose}], found: {found}")
    return value


def require_struct(schema: Schema, value: Any, purpose: str) -> dict[str, Any]:
    """The value, which must be that of a struct."""
    if schema.type is not SchemaType.STRUCT or not isinstance(value, dict):
        found = "null" if value is None else schema.type.name
        raise DataError(f"Only Struct objects supported for [{purpose}], found: {found}")
    return value


def like(schema: Schema, fields: Iterable[tuple[str, Schema]]) -> Schema:
    """A struct of other fields with the name, version, doc and parameters of `schema`."""
    return struct(
        list(fields), name=schema.name, version=schema.version, doc=schema.doc, parameters=schema.parameters
    )


def field_of(value: Mapping[str, Any], field: Field, null_as_default: bool) -> Any:
    """The value of a field; its default where that is asked for and the value is null."""
    found = value.get(field.name)
    if found is None and null_as_default:
        return field.schema.default
    return found


def copy_of(schema: Schema, value: Mapping[str, Any], null_as_default: bool) -> dict[str, Any]:
    """A struct's value with all fields of the schema; defaults for nulls where that is asked for."""
    copy = {name: value.get(name) for name in schema.by_name}
    if null_as_default:
        for name, default in schema.defaults.items():
            if copy[name] is None:
                copy[name] = default
    return copy


def null_as_default_setting() -> Any:
    """The setting that most transforms have."""
    return setting(
        "replace.null.with.default", default=True, importance=Importance.MEDIUM,
        doc="Whether to replace fields that have a default value and that are null to the default value. "
            "When set to true, the default value is used, otherwise null is used.",
    )  # fmt: skip
