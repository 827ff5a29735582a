"""HoistField: wraps the key or value into a struct or map of one field."""

from collections.abc import Mapping

from connect.api import Config, Schema, setting
from connect.api.per_schema import PerSchema
from connect.api.schemas import struct
from connect.transforms.base import OnKey, OnValue, R, SidedTransform


class HoistFieldConfig(Config):
    """Settings of HoistField."""

    field: str = setting(
        "field",
        doc="Field name for the single field that will be created in the resulting Struct or Map.",
    )


class HoistField(SidedTransform[R]):
    """`x` → `{"field": x}`."""

    config_class = HoistFieldConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._field = HoistFieldConfig.parse(properties).field
        self._schema_around = PerSchema(self._make_schema_around)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        around = None if schema is None else self._schema_around(schema)
        return self.renewed(record, around, {self._field: value})

    def _make_schema_around(self, schema: Schema) -> Schema:
        return struct([(self._field, schema)])


class HoistFieldKey(OnKey[R], HoistField[R]):
    """HoistField on keys."""


class HoistFieldValue(OnValue[R], HoistField[R]):
    """HoistField on values."""
