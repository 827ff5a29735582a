"""HeaderToValue (Debezium): copies or moves headers into fields of the value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from connect.api import (
    Config,
    ConfigError,
    ConnectError,
    DataError,
    FieldError,
    Header,
    Importance,
    Schema,
    SchemaBuilderError,
    SchemaType,
    Transform,
    setting,
)
from connect.api.schemas import struct
from connect.transforms.base import R, copy_of, like, require_struct
from connect.transforms.debezium import Choice, one_of
from connect.version import __version__

_PURPOSE: Final = "Header field insertion"
_SCHEMAS_MAX: Final = 256


def _names_error(names: list[str]) -> str | None:
    if not names:
        return "A value is required"
    if "" in names:
        return "Empty string element(s) not permitted"
    return "Element(s) containing space not permitted" if any(" " in name for name in names) else None


class HeaderToValueConfig(Config):
    """Settings of HeaderToValue."""

    headers: list[str] = setting(
        "headers", importance=Importance.HIGH, display_name="Header names list", check=_names_error,
        doc="Header names in the record whose values are to be copied or moved to record value.",
    )  # fmt: skip
    fields: list[str] = setting(
        "fields", importance=Importance.HIGH, display_name="Field names list", check=_names_error,
        doc="Field names, in the same order as the header names listed in the headers configuration "
            "property. Supports Struct nesting using dot notation.",
    )  # fmt: skip
    operation: Choice = one_of(
        "operation", None, ("move", "copy"), importance=Importance.HIGH,
        display_name="Operation: mover or copy",
        doc="Either move if the fields are to be moved to the value (removed from the headers), or copy if "
            "the fields are to be copied to the value (retained in the headers).",
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        if len(self.fields) != len(self.headers):
            why = "'fields' config must have the same number of elements as 'headers' config."
            yield FieldError("headers", str(ConfigError.invalid("headers", ",".join(self.headers), why)))


class _Target(NamedTuple):
    """Where a header goes: the structs around the field, and the field."""

    around: tuple[str, ...]
    field: str

    @classmethod
    def parse(cls, path: str) -> "_Target":
        *around, field = path.split(".")
        return cls(tuple(around), field)


class HeaderToValue(Transform[R]):
    """The header `h` → `{…,"h":…}`, or `{"source":{…,"h":…},…}` with the field `source.h`. A field that is
    there gets the value of the header; a struct that is not there is made, one that is null stays null."""

    version = __version__
    config_class = HeaderToValueConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = HeaderToValueConfig.parse(properties)
        self._targets: dict[str, _Target] = {}
        for header, field in zip(config.headers, config.fields, strict=True):
            self._targets.setdefault(header, _Target.parse(field))
        self._moves = config.operation == "move"
        self._schema = lru_cache(_SCHEMAS_MAX)(_extended)

    def apply(self, record: R) -> R:
        if record.raw_value is None:
            return record
        if record.value_schema is None or record.value_schema.type is not SchemaType.STRUCT:
            kind = type(record.value).__name__
            raise DataError(f"Only Struct objects supported for [{_PURPOSE}], found: {kind}")
        taken = [header for header in record.headers if header.name in self._targets]
        if not taken:
            return record
        value = require_struct(record.value_schema, record.value, _PURPOSE)
        added = tuple((self._targets[header.name], _schema_of(header, self._targets)) for header in taken)
        schema = self._schema(record.value_schema, added)
        value = copy_of(record.value_schema, value, null_as_default=True)
        for header in taken:
            _put(schema, value, self._targets[header.name], header)
        headers = record.headers
        if self._moves:
            headers = [header for header in headers if header.name not in self._targets]
        return record.replace(value_schema=schema, value=value, headers=headers)


def _schema_of(header: Header, targets: Mapping[str, _Target]) -> Schema:
    if header.schema is None:
        raise SchemaBuilderError(f"fieldSchema for field {targets[header.name].field} cannot be null.")
    return header.schema


def _put(schema: Schema, value: dict[str, Any], target: _Target, header: Header) -> None:
    """Sets the field. The structs on the way are copied, not changed; new ones are not yet in the value."""
    for name in target.around:
        around = value.get(name, {})
        if around is None:
            return
        schema = schema.by_name[name].schema
        value[name] = {
            known: schema.defaults.get(known) if inner is None else inner for known, inner in around.items()
        }
        value = value[name]
    known = schema.by_name[target.field].schema
    if header.schema is not None and known.type is not header.schema.type:
        raise DataError(
            f"Invalid object for schema with type {known.type.name}: {header.schema.type.name} of the header "
            f'{header.name} for field: "{target.field}"'
        )
    value[target.field] = header.value


def _extended(schema: Schema, added: Sequence[tuple[_Target, Schema]]) -> Schema:
    """The schema with those fields that it does not have, in the structs where they belong."""
    for target, field_schema in added:
        schema = _with(schema, target.around, target.field, field_schema)
    return schema


def _with(schema: Schema, around: Sequence[str], field: str, field_schema: Schema) -> Schema:
    fields = {known.name: known.schema for known in schema.fields}
    if not around:
        fields.setdefault(field, field_schema)
    else:
        inner = fields.get(around[0]) or struct([], optional=True)
        if inner.type is not SchemaType.STRUCT:
            path = ".".join((*around, field))
            raise ConnectError(
                f"Field '{around[0]}' is a primitive type, not a struct. Cannot add nested field '{path}'."
            )
        fields[around[0]] = _with(inner, around[1:], field, field_schema)
    return replace(like(schema, fields.items()), optional=schema.optional)
