"""SetSchemaMetadata: gives a schema another name or version."""

from collections.abc import Mapping
from dataclasses import replace

from connect.api import Config, DataError, Importance, Schema, SchemaType, setting
from connect.api.per_schema import PerSchema
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    copy_of,
    null_as_default_setting,
    require_struct,
)

_PURPOSE = "updating schema metadata"


class SetSchemaMetadataConfig(Config):
    """Settings of SetSchemaMetadata."""

    schema_name: str | None = setting(
        "schema.name", default=None, importance=Importance.HIGH, doc="Schema name to set."
    )
    schema_version: int | None = setting(
        "schema.version", default=None, importance=Importance.HIGH, doc="Schema version to set."
    )
    null_as_default: bool = null_as_default_setting()


class SetSchemaMetadata(SidedTransform[R]):
    """Sets name, version or both of a struct's schema."""

    config_class = SetSchemaMetadataConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = SetSchemaMetadataConfig.parse(properties)
        self._name = config.schema_name
        self._version = config.schema_version
        self._null_as_default = config.null_as_default
        self._renamed = PerSchema(self._make_renamed)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if schema is None:
            if value is None:
                return record
            raise DataError(f"Schema required for [{_PURPOSE}]")
        renamed = self._renamed(schema)
        if value is not None:
            value = copy_of(schema, require_struct(schema, value, _PURPOSE), self._null_as_default)
        return self.renewed(record, renamed, value)

    def _make_renamed(self, schema: Schema) -> Schema:
        if schema.type is not SchemaType.STRUCT:
            raise DataError(f"Cannot list fields on non-struct type {schema.type.name}")
        name = schema.name if self._name is None else self._name
        version = schema.version if self._version is None else self._version
        return replace(schema, name=name, version=version)


class SetSchemaMetadataKey(OnKey[R], SetSchemaMetadata[R]):
    """SetSchemaMetadata on keys."""


class SetSchemaMetadataValue(OnValue[R], SetSchemaMetadata[R]):
    """SetSchemaMetadata on values."""
