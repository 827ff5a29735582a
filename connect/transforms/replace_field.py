"""ReplaceField: leaves fields out, keeps only some, renames."""

from collections.abc import Mapping
from typing import NamedTuple

from connect.api import Config, ConfigError, Field, Schema, setting
from connect.api.per_schema import PerSchema
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    field_of,
    like,
    null_as_default_setting,
    require_map,
    require_struct,
)

_PURPOSE = "field replacement"


class ReplaceFieldConfig(Config):
    """Settings of ReplaceField."""

    exclude: list[str] = setting(
        "exclude", default=[],
        doc="Fields to exclude. This takes precedence over the fields to include.",
    )  # fmt: skip
    include: list[str] = setting(
        "include", default=[], doc="Fields to include. If specified, only these fields will be used."
    )
    renames: list[str] = setting(
        "renames", default=[],
        check=lambda renames: next(
            (f"Invalid rename mapping: {pair}; write old:new" for pair in renames if pair.count(":") != 1),
            None,
        ),
        doc="Field rename mappings.",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()


class _Plan(NamedTuple):
    """The schema that comes out, and of each of its fields the name and the field it comes from."""

    schema: Schema
    fields: list[tuple[str, Field]]


class ReplaceField(SidedTransform[R]):
    """Filters and renames the fields at the top."""

    config_class = ReplaceFieldConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = ReplaceFieldConfig.parse(properties)
        self._exclude = frozenset(config.exclude)
        self._include = frozenset(config.include)
        pairs = [pair.split(":") for pair in config.renames]
        self._renames = {old.strip(): new.strip() for old, new in pairs}
        if len(set(self._renames.values())) < len(self._renames):
            raise ConfigError.invalid("renames", config.renames, "two fields cannot get the same name")
        self._null_as_default = config.null_as_default
        self._plan = PerSchema(self._make_plan)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if value is None:
            return record
        if schema is None:
            fields = require_map(value, _PURPOSE)
            kept = {self._renames.get(name, name): part for name, part in fields.items() if self._keeps(name)}
            return self.renewed(record, None, kept)
        fields = require_struct(schema, value, _PURPOSE)
        plan = self._plan(schema)
        kept = {name: field_of(fields, field, self._null_as_default) for name, field in plan.fields}
        return self.renewed(record, plan.schema, kept)

    def _keeps(self, name: str) -> bool:
        return name not in self._exclude and (not self._include or name in self._include)

    def _make_plan(self, schema: Schema) -> _Plan:
        fields = [
            (self._renames.get(field.name, field.name), field)
            for field in schema.fields
            if self._keeps(field.name)
        ]
        return _Plan(like(schema, [(name, field.schema) for name, field in fields]), fields)


class ReplaceFieldKey(OnKey[R], ReplaceField[R]):
    """ReplaceField on keys."""


class ReplaceFieldValue(OnValue[R], ReplaceField[R]):
    """ReplaceField on values."""
