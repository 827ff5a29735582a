"""HeaderFrom: copies or moves fields into headers."""

from collections.abc import Iterable, Mapping
from typing import Any

from connect.api import Config, DataError, FieldError, Header, Importance, Schema, setting
from connect.api.per_schema import PerSchema
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    copy_of,
    field_of,
    like,
    null_as_default_setting,
    require_map,
    require_struct,
)


class HeaderFromConfig(Config):
    """Settings of HeaderFrom."""

    fields: list[str] = setting(
        "fields", importance=Importance.HIGH,
        doc="Field names in the record whose values are to be copied or moved to headers.",
    )  # fmt: skip
    headers: list[str] = setting(
        "headers", importance=Importance.HIGH,
        doc="Header names, in the same order as the field names listed in the fields configuration property.",
    )  # fmt: skip
    operation: str = setting(
        "operation", importance=Importance.HIGH, choices=("move", "copy"),
        doc="Either move if the fields are to be moved to the headers (removed from the key/value), or copy "
            "if the fields are to be copied to the headers (retained in the key/value).",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()

    def check(self) -> Iterable[FieldError]:
        if len(self.fields) != len(self.headers):
            yield FieldError(
                "headers", "'fields' config must have the same number of elements as 'headers' config."
            )


class HeaderFrom(SidedTransform[R]):
    """Adds a header for each of the fields, with the field's schema."""

    config_class = HeaderFromConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = HeaderFromConfig.parse(properties)
        self._pairs = list(zip(config.fields, config.headers, strict=True))
        self._moves = config.operation == "move"
        self._purpose = f"header {config.operation}"
        self._null_as_default = config.null_as_default
        self._schema_without = PerSchema(self._make_schema_without)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if schema is None:
            fields = require_map(value, self._purpose)
            added = [Header(header, None, fields.get(field)) for field, header in self._pairs]
        else:
            fields = require_struct(schema, value, self._purpose)
            added = [self._header(schema, fields, field, header) for field, header in self._pairs]
        record = record.replace(headers=[*record.headers, *added])
        if not self._moves:
            return record
        if schema is None:
            moved = {field for field, _ in self._pairs}
            rest = {name: part for name, part in fields.items() if name not in moved}
            return self.renewed(record, None, rest)
        rest_schema = self._schema_without(schema)
        return self.renewed(record, rest_schema, copy_of(rest_schema, fields, self._null_as_default))

    def _header(self, schema: Schema, value: Mapping[str, Any], name: str, header: str) -> Header:
        field = schema.field(name)
        if field is None:
            raise DataError(
                f"Field does not exist: {name}; fields names it, but the record has no such field"
            )
        return Header(header, field.schema, field_of(value, field, self._null_as_default))

    def _make_schema_without(self, schema: Schema) -> Schema:
        moved = {field for field, _ in self._pairs}
        return like(
            schema, [(field.name, field.schema) for field in schema.fields if field.name not in moved]
        )


class HeaderFromKey(OnKey[R], HeaderFrom[R]):
    """HeaderFrom on keys."""


class HeaderFromValue(OnValue[R], HeaderFrom[R]):
    """HeaderFrom on values."""
