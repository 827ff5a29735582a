"""Schemas as SpoolDir's settings write them, and schemas that follow from the data.

{"name": "com.example.User", "type": "STRUCT", "isOptional": false,
 "fieldSchemas": {"id": {"type": "INT64", "isOptional": false}, …}}
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from connect.api import DataError, Schema, SchemaType
from connect.api.schemas import (
    BOOLEAN,
    FLOAT64,
    INT64,
    OPTIONAL_BOOLEAN,
    OPTIONAL_FLOAT64,
    OPTIONAL_INT64,
    OPTIONAL_STRING,
    array,
    struct,
)
from connectors.files.directory.settings import KeyOf
from connectors.readers import TextParser

_TYPES: Final = {kind.name: kind for kind in SchemaType}
_KNOWN: Final = frozenset((
    "name", "type", "version", "doc", "isOptional", "defaultValue", "parameters", "fieldSchemas", "keySchema",
    "valueSchema", "schema",
))  # fmt: skip
SAMPLE_ROWS_MAX: Final = 1000


def schema_of(text: str) -> Schema:
    """The schema that a setting has as JSON; raises `ValueError` with what is wrong."""
    try:
        return _schema(orjson.loads(text), "the schema")
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"no valid JSON: {exc.msg}") from None


def _schema(given: Any, place: str) -> Schema:
    if not isinstance(given, dict):
        raise ValueError(f"{place} must be an object with type and isOptional")
    if unknown := sorted(set(given) - _KNOWN):
        raise ValueError(f"{place}: {unknown[0]} is unknown")
    kind = _TYPES.get(str(given.get("type")).upper())
    if kind is None:
        raise ValueError(f"{place}: type must be one of {', '.join(_TYPES)}, not {given.get('type')}")
    inner: dict[str, Any] = {}
    if kind is SchemaType.STRUCT:
        members = given.get("fieldSchemas")
        if not isinstance(members, dict) or not members:
            raise ValueError(f"{place}: fieldSchemas must name the fields")
        pairs = {name: _schema(member, f"field {name}") for name, member in members.items()}
        inner["fields"] = struct(pairs).fields
    if kind in (SchemaType.ARRAY, SchemaType.MAP):
        inner["value_schema"] = _schema(given.get("valueSchema"), f"{place}: valueSchema")
    if kind is SchemaType.MAP:
        inner["key_schema"] = _schema(given.get("keySchema"), f"{place}: keySchema")
    return Schema(
        kind, bool(given.get("isOptional", False)), given.get("name"), given.get("version"), given.get("doc"),
        given.get("parameters") or {}, given.get("defaultValue"), **inner,
    )  # fmt: skip


def key_maker(fields: Sequence[str], name: str | None, given: Schema | None) -> KeyOf | None:
    """What takes the key out of a value: the fields of `given`, or those named; None for no key."""
    wanted = [field.name for field in given.fields] if given is not None else list(fields)
    if not wanted:
        return None
    schemas: dict[Schema, Schema] = {}

    def key_of(schema: Schema | None, value: Any) -> tuple[Schema | None, Any]:
        if not isinstance(value, dict):
            raise DataError(f"a key of the fields {', '.join(wanted)} needs a record with fields")
        if missing := [name for name in wanted if name not in value]:
            raise DataError(f"the key's field {missing[0]} is not in the record")
        key = {name: value[name] for name in wanted}
        if schema is None:
            return None, key
        if given is not None:
            return given, key
        found = schemas.get(schema)
        if found is None:
            found = struct({field: schema.by_name[field].schema for field in wanted}, name=name)
            schemas[schema] = found
        return found, key

    return key_of


def column_schema(cells: Iterable[str | None], parser: TextParser) -> Schema:
    """The narrowest of INT64, FLOAT64, BOOLEAN and STRING that holds all of these cells."""
    given = [cell for cell in cells if cell]
    candidates = (OPTIONAL_INT64, INT64), (OPTIONAL_FLOAT64, FLOAT64), (OPTIONAL_BOOLEAN, BOOLEAN)
    for optional, plain in candidates:
        if given and all(_takes(parser.parser(plain), cell) for cell in given):
            return optional
    return OPTIONAL_STRING


def _takes(parse: Callable[[str], Any], cell: str) -> bool:
    # Numbers with leading zeros are codes, and would lose them.
    if len(cell) > 1 and cell[0] == "0" and cell[1].isdigit():
        return False
    try:
        parse(cell)
    except ValueError:
        return False
    return True


def inferred(values: Sequence[Any]) -> Schema:
    """The schema that holds these values of parsed JSON, those aside that contradict the ones before them;
    everything in it is optional. Raises `DataError` if they are no objects."""
    found: Schema | None = None
    for value in values:
        with suppress(DataError):
            found = _merged(found, _of_value(value, ""), "")
    if found is None or found.type is not SchemaType.STRUCT:
        raise DataError("a schema can only be made of JSON objects")
    return found


def _of_value(value: Any, path: str) -> Schema | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return OPTIONAL_BOOLEAN
    if isinstance(value, int):
        return OPTIONAL_INT64 if -(1 << 63) <= value < 1 << 63 else OPTIONAL_FLOAT64
    if isinstance(value, float):
        return OPTIONAL_FLOAT64
    if isinstance(value, str):
        return OPTIONAL_STRING
    if isinstance(value, list):
        element: Schema | None = None
        for item in value:
            element = _merged(element, _of_value(item, f"{path}[]"), f"{path}[]")
        return array(element or OPTIONAL_STRING, optional=True)
    members = {name: _of_value(item, f"{path}.{name}") for name, item in value.items()}
    return struct({name: schema or _UNKNOWN for name, schema in members.items()}, optional=True)


# Of a field that was null all the time so far.
_UNKNOWN: Final = Schema(SchemaType.STRING, optional=True, doc="null in all records seen")


def _merged(one: Schema | None, other: Schema | None, path: str) -> Schema | None:
    if one is None or other is None or one == other:
        return one or other
    if one.doc == _UNKNOWN.doc or other.doc == _UNKNOWN.doc:
        return other if one.doc == _UNKNOWN.doc else one
    kinds = {one.type, other.type}
    if kinds == {SchemaType.INT64, SchemaType.FLOAT64}:
        return OPTIONAL_FLOAT64
    if kinds == {SchemaType.STRUCT}:
        names = [*one.by_name, *(name for name in other.by_name if name not in one.by_name)]
        members: dict[str, Schema] = {}
        for name in names:
            pair = [schema.by_name[name].schema for schema in (one, other) if name in schema.by_name]
            members[name] = _merged(pair[0], pair[-1], f"{path}.{name}") or _UNKNOWN
        return struct(members, optional=True)
    if kinds == {SchemaType.ARRAY}:
        element = _merged(one.value_schema, other.value_schema, f"{path}[]")
        return array(element or OPTIONAL_STRING, optional=True)
    raise DataError(
        f"field {path.removeprefix('.')} is of type {one.type} in one record, {other.type} in another"
    )


def named(schema: Schema, name: str | None) -> Schema:
    """A STRUCT under a name, required."""
    return struct([(f.name, f.schema) for f in schema.fields], name=name)
