"""Avro schemas of Connect schemas, as Confluent's AvroData makes them, and values that fit them.

What Avro cannot say stands in properties (`connect.name`, `connect.version`, `connect.parameters`,
`connect.doc`, `connect.default`, `connect.type`), so that a reader can restore the Connect schema.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from connect.api import DataError, Schema, SchemaType
from connect.api.decimals import decimal_to_bytes
from connect.api.schemas import DATE, DECIMAL, TIME, TIMESTAMP

Convert = Callable[[Any], Any]

DECIMAL_PRECISION: Final = 64  # AvroData's, where the schema has none in `connect.decimal.precision`
_NAMESPACE: Final = "io.confluent.connect.avro"
_DEFAULT_NAME: Final = f"{_NAMESPACE}.ConnectDefault"
_MAP_ENTRY: Final = f"{_NAMESPACE}.MapEntry"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_ALLOWED: Final = re.compile(r"[^A-Za-z0-9_]")

_PRIMITIVES: Final[Mapping[SchemaType, str]] = {
    SchemaType.INT8: "int", SchemaType.INT16: "int", SchemaType.INT32: "int", SchemaType.INT64: "long",
    SchemaType.FLOAT32: "float", SchemaType.FLOAT64: "double", SchemaType.BOOLEAN: "boolean",
    SchemaType.STRING: "string", SchemaType.BYTES: "bytes",
}  # fmt: skip
_LOGICAL: Final[Mapping[str, str]] = {
    DATE: "date", TIME: "time-millis", TIMESTAMP: "timestamp-millis", DECIMAL: "decimal",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dialect:
    """How Avro schemas are written. `tells_connect`: with the properties that tell what they were in Connect.
    The record of the name `bare` is of the file alone: it has no such properties, its fields no defaults."""

    tells_connect: bool = True
    bare: str | None = None


CONFLUENT: Final = Dialect()


def avro_schema(schema: Schema, dialect: Dialect = CONFLUENT) -> Any:
    """The Avro schema as JSON-able data; raises `DataError` for a name that Avro does not allow."""
    return _Translation(dialect).type_of(schema, "")


def decimal_scale(schema: Schema) -> int:
    return int(schema.parameters.get("scale", "0"))


def decimal_precision(schema: Schema) -> int:
    return int(schema.parameters.get("connect.decimal.precision", DECIMAL_PRECISION))


def map_schemas(schema: Schema) -> tuple[Schema, Schema]:
    """Those of the keys and of the values of a MAP."""
    assert schema.key_schema is not None, "a map says what its keys are"
    assert schema.value_schema is not None, "a map says what it holds"
    return schema.key_schema, schema.value_schema


class _Translation:
    """One schema; a name may be defined once, and is referred to from then on."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._names: dict[str, Schema] = {}

    def type_of(self, schema: Schema, namespace: str) -> Any:
        """The type, with null beside it where it is optional: first, unless there is a default."""
        plain = self._plain(schema, namespace)
        if not schema.optional:
            return plain
        return ["null", plain] if schema.default is None else [plain, "null"]

    def _plain(self, schema: Schema, namespace: str) -> Any:
        if schema.type is SchemaType.STRUCT:
            return self._record(schema, namespace)
        if schema.type is SchemaType.ARRAY:
            assert schema.value_schema is not None, "an array says what it holds"
            base = {"type": "array", "items": self.type_of(schema.value_schema, namespace)}
        elif schema.type is SchemaType.MAP:
            base = self._map(schema, namespace)
        else:
            base = {"type": _PRIMITIVES[schema.type]}
            if schema.type in (SchemaType.INT8, SchemaType.INT16) and self._dialect.tells_connect:
                base["connect.type"] = schema.type.value
            if schema.name == DECIMAL:
                base |= {"scale": decimal_scale(schema), "precision": decimal_precision(schema)}
        whole = base | self._properties(schema)
        return whole["type"] if set(whole) == {"type"} else whole

    def _map(self, schema: Schema, namespace: str) -> dict[str, Any]:
        keys, values = map_schemas(schema)
        if keys.type is SchemaType.STRING and not keys.optional:
            return {"type": "map", "values": self.type_of(values, namespace)}
        name, inside = _split(schema.name or _MAP_ENTRY)
        fields = [
            _field("key", self.type_of(keys, inside), keys),
            _field("value", self.type_of(values, inside), values),
        ]
        entry: dict[str, Any] = {"type": "record", "name": name}
        if inside != namespace:
            entry["namespace"] = inside
        return {"type": "array", "items": {**entry, "fields": fields}}

    def _record(self, schema: Schema, namespace: str) -> Any:
        full_name = schema.name or _DEFAULT_NAME
        meant = replace(schema, optional=False, default=None)
        number = 1
        while (known := self._names.get(_numbered(full_name, number))) is not None:
            if known == meant:
                name, inside = _split(_numbered(full_name, number))
                return name if inside == namespace else f"{inside}.{name}" if inside else name
            number += 1
        self._names[_numbered(full_name, number)] = meant
        name, inside = _split(_numbered(full_name, number))
        record: dict[str, Any] = {"type": "record", "name": name}
        if inside != namespace:
            record["namespace"] = inside
        if full_name == self._dialect.bare:
            types = [(field.name, self.type_of(field.schema, inside)) for field in schema.fields]
            return {**record, "fields": [{"name": name, "type": type_} for name, type_ in types]}
        record["fields"] = [
            _field(field.name, self.type_of(field.schema, inside), field.schema) for field in schema.fields
        ]
        return record | self._properties(schema)

    def _properties(self, schema: Schema) -> dict[str, Any]:
        logical = {}
        if schema.name is not None and schema.name in _LOGICAL:
            logical = {"logicalType": _LOGICAL[schema.name]}
        return (_connect_properties(schema) if self._dialect.tells_connect else {}) | logical


def _field(name: str, type_: Any, schema: Schema) -> dict[str, Any]:
    _check(name)
    field = {"name": name, "type": type_}
    if schema.default is not None:
        field["default"] = _default(schema, schema.default)
    elif schema.optional:
        field["default"] = None
    return field


def _connect_properties(schema: Schema) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if schema.doc is not None:
        properties["connect.doc"] = schema.doc
    if schema.version is not None:
        properties["connect.version"] = schema.version
    if schema.parameters:
        properties["connect.parameters"] = dict(schema.parameters)
    if schema.default is not None:
        properties["connect.default"] = _default(schema, schema.default)
    if schema.name is not None:
        properties["connect.name"] = schema.name
    return properties


def _default(schema: Schema, value: Any) -> Any:
    """A default in Avro's JSON, where bytes are text of ISO 8859-1."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        value = decimal_to_bytes(value, decimal_scale(schema))
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if schema.type is SchemaType.STRUCT:
        return {f.name: _default(f.schema, value.get(f.name)) for f in schema.fields}
    if schema.value_schema is not None and isinstance(value, list):
        return [_default(schema.value_schema, item) for item in value]
    if schema.value_schema is not None and isinstance(value, dict):
        return {name: _default(schema.value_schema, item) for name, item in value.items()}
    return value


def _numbered(name: str, number: int) -> str:
    """Two structs of one name with different fields cannot both have it in Avro."""
    return name if number == 1 else f"{name}{number}"


def _split(full_name: str) -> tuple[str, str]:
    """The simple name, and its namespace."""
    namespace, _, name = full_name.rpartition(".")
    for part in [*namespace.split("."), name] if namespace else [name]:
        _check(part)
    return name, namespace


def allowed_names(names: Iterable[str]) -> Sequence[str]:
    """Names that Avro allows, each another one: what it does not allow in them becomes `_`."""
    found: list[str] = []
    for given in names:
        name = _NOT_ALLOWED.sub("_", given)
        if not name or name[0].isdigit():
            name = f"_{name}"
        number, unique = 2, name
        while unique in found:
            unique, number = f"{name}_{number}", number + 1
        found.append(unique)
    return found


def _check(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise DataError(
            f"Avro does not allow the name {name!r}: letters, digits and _ only; rename it with a transform "
            "such as ReplaceField or SetSchemaMetadata"
        )


def converter(schema: Schema) -> Convert | None:
    """What makes a Connect value one that fits the Avro schema; None where nothing is to be done."""
    inner = _plain_converter(schema)
    return None if inner is None else lambda value: None if value is None else inner(value)


def _plain_converter(schema: Schema) -> Convert | None:
    if schema.type is SchemaType.STRUCT:
        found = {field.name: converter(field.schema) for field in schema.fields}
        convert = {name: function for name, function in found.items() if function is not None}
        if not convert:
            return None
        return lambda value: {
            **value, **{name: function(value.get(name)) for name, function in convert.items()}
        }  # fmt: skip
    if schema.type is SchemaType.ARRAY:
        assert schema.value_schema is not None, "an array says what it holds"
        item = converter(schema.value_schema)
        return None if item is None else lambda value: [item(each) for each in value]
    if schema.type is SchemaType.MAP:
        return _map_converter(schema)
    return None


def _map_converter(schema: Schema) -> Convert | None:
    key_schema, value_schema = map_schemas(schema)
    of_values = converter(value_schema)
    if key_schema.type is SchemaType.STRING and not key_schema.optional:
        if of_values is None:
            return None
        return lambda value: {key: of_values(each) for key, each in value.items()}
    of_keys = converter(key_schema) or _same
    values = of_values or _same
    return lambda value: [{"key": of_keys(key), "value": values(each)} for key, each in value.items()]


def _same(value: Any) -> Any:
    return value
