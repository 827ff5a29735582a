"""InsertField: adds what is known about a record, or a fixed text, as fields."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from connect.api import Config, ConnectRecord, DataError, FieldError, Schema, SinkRecord, setting
from connect.api.per_schema import PerSchema
from connect.api.schemas import INT32, INT64, STRING, TIMESTAMP, SchemaType
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

_PURPOSE = "field insertion"
_SUFFIX = " Suffix with ! to make this a required field, or ? to keep it optional (the default)."


class InsertFieldConfig(Config):
    """Settings of InsertField."""

    topic: str | None = setting("topic.field", default=None, doc="Field name for Kafka topic." + _SUFFIX)
    partition: str | None = setting(
        "partition.field", default=None, doc="Field name for Kafka partition." + _SUFFIX
    )
    offset: str | None = setting(
        "offset.field", default=None,
        doc="Field name for Kafka offset - only applicable to sink connectors." + _SUFFIX,
    )  # fmt: skip
    timestamp: str | None = setting(
        "timestamp.field", default=None, doc="Field name for record timestamp." + _SUFFIX
    )
    static: str | None = setting(
        "static.field", default=None, doc="Field name for static data field." + _SUFFIX
    )
    static_value: str | None = setting(
        "static.value", default=None, doc="Static field value, if field name configured."
    )
    null_as_default: bool = null_as_default_setting()

    def check(self) -> Iterable[FieldError]:
        names = (self.topic, self.partition, self.offset, self.timestamp, self.static)
        if all(name is None for name in names):
            yield FieldError("topic.field", "No field insertion configured: set at least one of the fields")
        if "" in names:
            yield FieldError(
                "static.field", "A field that is to be inserted needs a name: fieldName is empty"
            )
        if self.static is not None and self.static_value is None:
            yield FieldError(
                "static.value",
                "Invalid value null for configuration static.value: "
                f"No value specified for static field: {self.static}",
            )


class _Insertion(NamedTuple):
    """A field to insert. A value of None is left out of a map."""

    name: str
    schema: Schema
    read: Callable[[ConnectRecord], Any]


def _offset(record: ConnectRecord) -> int:
    if not isinstance(record, SinkRecord):
        raise DataError(f"Only SinkRecord supported for [{_PURPOSE}], found: {type(record).__name__}")
    return record.offset


class InsertField(SidedTransform[R]):
    """Appends the fields in this order: topic, partition, offset, timestamp, static."""

    config_class = InsertFieldConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = InsertFieldConfig.parse(properties)
        static_value = config.static_value
        timestamp = Schema(SchemaType.INT64, name=TIMESTAMP, version=1)
        self._insertions = [
            _Insertion(name.removesuffix("!").removesuffix("?"), schema, read)
            if name.endswith("!")
            else _Insertion(name.removesuffix("?"), schema.as_optional(), read)
            for name, schema, read in (
                (config.topic, STRING, lambda record: record.topic),
                (config.partition, INT32, lambda record: record.partition),
                (config.offset, INT64, _offset),
                (config.timestamp, timestamp, lambda record: record.timestamp_ms),
                (config.static, STRING, lambda record: static_value),
            )
            if name is not None
        ]
        self._null_as_default = config.null_as_default
        self._schema_with = PerSchema(self._make_schema_with)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if value is None:
            return record
        if schema is None:
            longer = dict(require_map(value, _PURPOSE))
            for name, _, read in self._insertions:
                if (inserted := read(record)) is not None:
                    longer[name] = inserted
            return self.renewed(record, None, longer)
        fields = require_struct(schema, value, _PURPOSE)
        longer = copy_of(schema, fields, self._null_as_default)
        for name, _, read in self._insertions:
            longer[name] = read(record)
        return self.renewed(record, self._schema_with(schema), longer)

    def _make_schema_with(self, schema: Schema) -> Schema:
        fields = [(field.name, field.schema) for field in schema.fields]
        for name, inserted, _ in self._insertions:
            if schema.field(name) is not None:
                raise DataError(f"Cannot create field because of field name duplication {name}")
            fields.append((name, inserted))
        return like(schema, fields)


class InsertFieldKey(OnKey[R], InsertField[R]):
    """InsertField on keys."""


class InsertFieldValue(OnValue[R], InsertField[R]):
    """InsertField on values."""
