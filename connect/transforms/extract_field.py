"""ExtractField: one field instead of the whole key or value."""

from collections.abc import Mapping
from typing import Any

from connect.api import Config, DataError, Schema, setting
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    null_as_default_setting,
    require_map,
    require_struct,
)
from connect.transforms.field_path import FieldPath, syntax_setting

_PURPOSE = "field extraction"


class ExtractFieldConfig(Config):
    """Settings of ExtractField."""

    field: str = setting("field", doc="Field name to extract.")
    null_as_default: bool = null_as_default_setting()
    syntax: str = syntax_setting()


class ExtractField(SidedTransform[R]):
    """Replaces the key or value by one of its fields, nested ones with `field.syntax.version` V2."""

    config_class = ExtractFieldConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = ExtractFieldConfig.parse(properties)
        self._path = FieldPath(config.field, config.syntax)
        self._null_as_default = config.null_as_default

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if schema is None:
            found = None if value is None else self._path.value_in_map(require_map(value, _PURPOSE))
            return self.renewed(record, None, found)
        if value is not None:
            require_struct(schema, value, _PURPOSE)
        field = self._path.field_in(schema)
        if field is None:
            raise DataError(f"Unknown field: {self._path}")
        return self.renewed(record, field.schema, self._found(schema, value))

    def _found(self, schema: Schema, value: Any) -> Any:
        if value is None:
            return None
        return self._path.value_in_struct(schema, value, self._null_as_default)


class ExtractFieldKey(OnKey[R], ExtractField[R]):
    """ExtractField on keys."""


class ExtractFieldValue(OnValue[R], ExtractField[R]):
    """ExtractField on values."""
