"""MaskField: puts a neutral value, or one of your choice, in the place of fields."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from connect.api import Config, DataError, Importance, Schema, SchemaType, setting
from connect.api.decimals import scale_of
from connect.api.schemas import DATE, DECIMAL, STRING, TIME, TIMESTAMP
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    copy_of,
    null_as_default_setting,
    require_map,
    require_struct,
)
from connect.transforms.cast import caster

_NUMBERS: Mapping[type, SchemaType] = {int: SchemaType.INT64, float: SchemaType.FLOAT64}
_PURPOSE = "mask fields"
_NEUTRAL: Mapping[type, Any] = {
    bool: False, int: 0, float: 0.0, str: "", Decimal: Decimal(0), datetime: datetime(1970, 1, 1, tzinfo=UTC),
}  # fmt: skip


class MaskFieldConfig(Config):
    """Settings of MaskField."""

    fields: list[str] = setting("fields", importance=Importance.HIGH, doc="Names of fields to mask.")
    replacement: str | None = setting(
        "replacement", default=None, importance=Importance.LOW,
        doc="Custom value replacement, that will be applied to all 'fields' values (numeric or non-empty "
            "string values only).",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()


class MaskField(SidedTransform[R]):
    """0, false, empty text, list or map, or `replacement`. Null stays null."""

    config_class = MaskFieldConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = MaskFieldConfig.parse(properties)
        self._fields = frozenset(config.fields)
        self._replacement = config.replacement
        self._null_as_default = config.null_as_default

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if schema is None:
            fields = require_map(value, _PURPOSE)
            masked = {**fields, **{name: self._masked(None, fields.get(name)) for name in self._fields}}
        else:
            fields = require_struct(schema, value, _PURPOSE)
            masked = copy_of(schema, fields, self._null_as_default)
            for name in self._fields & masked.keys():
                masked[name] = self._masked(schema.by_name[name].schema, masked[name])
        return self.renewed(record, schema, masked)

    def _masked(self, schema: Schema | None, value: Any) -> Any:
        if value is None:
            return None
        if self._replacement is not None:
            return self._replaced(schema, value, self._replacement)
        if isinstance(value, list):
            return []
        if isinstance(value, dict) and (schema is None or schema.type is SchemaType.MAP):
            return {}
        if schema is not None and schema.name == DECIMAL:
            return Decimal((0, (0,), -scale_of(schema)))
        if type(value) not in _NEUTRAL:
            raise DataError(f"Cannot mask value of type: {_type_name(schema, value)}")
        return _NEUTRAL[type(value)]

    def _replaced(self, schema: Schema | None, value: Any, replacement: str) -> Any:
        kind = type(value)
        is_time = schema is not None and schema.name in (DATE, TIME, TIMESTAMP)
        if kind not in (int, float, str, Decimal) or is_time:
            raise DataError(f"Cannot mask value of type {_type_name(schema, value)} with custom replacement.")
        if kind is str:
            return replacement
        try:
            if kind is Decimal:
                return Decimal(replacement)
            target = schema.type if schema is not None else _NUMBERS[kind]
            return caster(STRING, target)(replacement)
        except (DataError, InvalidOperation):
            raise DataError(
                f"Unable to convert {replacement} ({_type_name(schema, value)}) to number"
            ) from None


def _type_name(schema: Schema | None, value: Any) -> str:
    return type(value).__name__ if schema is None else schema.name or schema.type.name


class MaskFieldKey(OnKey[R], MaskField[R]):
    """MaskField on keys."""


class MaskFieldValue(OnValue[R], MaskField[R]):
    """MaskField on values."""
