"""ValueToKey: makes a key of fields of the value."""

from collections.abc import Mapping

from connect.api import Config, DataError, Field, Importance, Schema, Transform, setting
from connect.api.per_schema import PerSchema
from connect.api.schemas import struct
from connect.transforms.base import (
    R,
    field_of,
    null_as_default_setting,
    require_map,
    require_struct,
)
from connect.version import __version__

_PURPOSE = "copying fields from value to key"


class ValueToKeyConfig(Config):
    """Settings of ValueToKey."""

    fields: list[str] = setting(
        "fields", importance=Importance.HIGH,
        doc="Field names on the record value to extract as the record key.",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()


class ValueToKey(Transform[R]):
    """The new key is a struct or map of these fields; the old one is gone."""

    version = __version__
    config_class = ValueToKeyConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = ValueToKeyConfig.parse(properties)
        self._names = list(dict.fromkeys(config.fields))
        self._null_as_default = config.null_as_default
        self._key_plan = PerSchema(self._make_key_plan)

    def apply(self, record: R) -> R:
        schema, value = record.value_schema, record.value
        if schema is None:
            parts = require_map(value, _PURPOSE)
            return record.replace(key_schema=None, key={name: parts.get(name) for name in self._names})
        parts = require_struct(schema, value, _PURPOSE)
        key_schema, fields = self._key_plan(schema)
        key = {field.name: field_of(parts, field, self._null_as_default) for field in fields}
        return record.replace(key_schema=key_schema, key=key)

    def _make_key_plan(self, schema: Schema) -> tuple[Schema, list[Field]]:
        fields = []
        for name in self._names:
            field = schema.field(name)
            if field is None:
                raise DataError(f"Field does not exist: {name}")
            fields.append(field)
        return struct([(field.name, field.schema) for field in fields]), fields
