"""`schema.compatibility`: records of an older (or newer) schema are written with that of the others.

As Kafka's SchemaProjector does it: numbers may become wider; a field that the wanted schema alone has gets
its default, or null; one that it lacks is left out. Which schema is wanted is told by versions.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from connect.api import DataError, Schema, SchemaType, SinkRecord
from connectors.s3.fields import where

_WIDENING: Final = (
    SchemaType.INT8, SchemaType.INT16, SchemaType.INT32, SchemaType.INT64, SchemaType.FLOAT32,
    SchemaType.FLOAT64,
)  # fmt: skip
_FLOATS: Final = (SchemaType.FLOAT32, SchemaType.FLOAT64)


class Compatibility(StrEnum):
    """BACKWARD and FULL: the newest schema of a file's records holds them all; FORWARD: the oldest."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"
    FULL = "FULL"

    def settle(self, current: Schema | None, record: SinkRecord) -> SinkRecord:
        """The record as it is to be written after others with the schema `current`; raises `DataError`."""
        schema = record.value_schema
        if self is Compatibility.NONE or schema is None or schema == current:
            return record
        if schema.version is None:
            raise DataError(
                f"{where(record)} has a schema without version, which schema.compatibility={self} needs"
            )
        if current is None or current.version is None:
            return record
        is_newer = schema.version > current.version
        if is_newer if self is not Compatibility.FORWARD else schema.version < current.version:
            return record
        try:
            value = project(schema, current, record.value, "the value")
        except ValueError as exc:
            raise DataError(
                f"{where(record)} cannot be written with the schema of the others: {exc}"
            ) from exc
        return record.replace(value=value, value_schema=current)


def project(source: Schema, target: Schema, value: Any, name: str) -> Any:
    """A value of `source` as one of `target`; raises `ValueError` where that cannot be."""
    if value is None:
        if target.optional or target.default is not None:
            return target.default
        raise ValueError(f"{name} is null, and may not be")
    if source.type is not target.type:
        return _widened(source, target, value, name)
    if source.name != target.name:
        raise ValueError(f"{name} is a {source.name}, and must be a {target.name}")
    if target.type is SchemaType.STRUCT:
        return {f.name: _member(source, f.name, f.schema, value, name) for f in target.fields}
    if source.value_schema is None or target.value_schema is None:
        return value
    if target.type is SchemaType.ARRAY:
        return [project(source.value_schema, target.value_schema, item, f"{name}[]") for item in value]
    return {
        key: project(source.value_schema, target.value_schema, item, f"{name}{{}}")
        for key, item in value.items()
    }


def _member(source: Schema, field: str, target: Schema, value: Mapping[str, Any], name: str) -> Any:
    known = source.field(field)
    if known is not None:
        return project(known.schema, target, value.get(field), f"{name}.{field}")
    if target.optional or target.default is not None:
        return target.default
    raise ValueError(f"{name} has no field {field}, which has no default")


def _widened(source: Schema, target: Schema, value: Any, name: str) -> Any:
    kinds = _WIDENING
    if (
        source.type not in kinds
        or target.type not in kinds
        or kinds.index(source.type) > kinds.index(target.type)
    ):
        raise ValueError(f"{name} is of type {source.type.value}, and must be {target.type.value}")
    return float(value) if target.type in _FLOATS else value
