"""Looking a field up in a record's value, by a name or by a path such as `a.b`."""

from typing import Any, NamedTuple

from connect.api import DataError, Schema, SinkRecord


class FoundField(NamedTuple):
    """A field's value, and its schema where the record has one."""

    schema: Schema | None
    value: Any


def find_field(record: SinkRecord, path: str) -> FoundField:
    """The field of `record.value`; raises `DataError` where there is none of that name."""
    value, schema = record.value, record.value_schema
    if isinstance(value, dict) and path in value:  # a name may have dots of its own
        return FoundField(_member(schema, path), value[path])
    for name in path.split("."):
        if not isinstance(value, dict):
            raise DataError(f"{where(record)} is not a struct or map that could have the field {path}")
        if name not in value:
            raise DataError(f"{where(record)} has no field {path}")
        value, schema = value[name], _member(schema, name)
    return FoundField(schema, value)


def where(record: SinkRecord) -> str:
    """The record, for an error."""
    return f"the record at {record.original_topic}-{record.original_partition}@{record.offset}"


def _member(schema: Schema | None, name: str) -> Schema | None:
    if schema is None:
        return None
    field = schema.field(name)
    return field.schema if field is not None else schema.value_schema
