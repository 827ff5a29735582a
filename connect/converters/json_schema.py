"""Schema ↔ the JSON object that JsonConverter writes as `schema`.

Keys stand in the order in which Connect writes them: type, fields | items | keys and values, optional,
name, version, doc, parameters, default, and field for the members of a struct.
"""

from collections.abc import Mapping
from typing import Any, Final

from connect.api import DataError, Field, Schema, SchemaType
from connect.converters.json_plan import part_of
from connect.converters.json_reader import compile_reader
from connect.converters.json_writer import DecimalFormat, compile_writer

_TYPES: Final[Mapping[str, SchemaType]] = {member.value: member for member in SchemaType}


def schema_to_json(schema: Schema, decimal_format: DecimalFormat = DecimalFormat.BASE64) -> dict[str, Any]:
    """The JSON object for a schema, to be dumped with orjson."""
    json: dict[str, Any] = {"type": schema.type.value}
    if schema.type is SchemaType.STRUCT:
        json["fields"] = [
            {**schema_to_json(member.schema, decimal_format), "field": member.name}
            for member in schema.fields
        ]
    elif schema.type is SchemaType.ARRAY:
        json["items"] = schema_to_json(part_of(schema, "value_schema"), decimal_format)
    elif schema.type is SchemaType.MAP:
        json["keys"] = schema_to_json(part_of(schema, "key_schema"), decimal_format)
        json["values"] = schema_to_json(part_of(schema, "value_schema"), decimal_format)
    json["optional"] = schema.optional
    for key in ("name", "version", "doc"):
        if (value := getattr(schema, key)) is not None:
            json[key] = value
    if schema.parameters:
        json["parameters"] = dict(schema.parameters)
    if schema.default is not None:
        json["default"] = compile_writer(schema, decimal_format)(schema.default)
    return json


def schema_from_json(json: Any) -> Schema:
    """The schema that such a JSON object (already parsed) describes; raises `DataError`."""
    kind = json.get("type") if isinstance(json, dict) else None
    if not isinstance(kind, str):
        raise DataError("Schema must contain 'type' field")
    if kind not in _TYPES:
        raise DataError(f"Unknown schema type: {kind}")
    schema = Schema(
        _TYPES[kind],
        optional=json.get("optional") is True,
        name=_of_type(str, json.get("name")),
        version=_of_type(int, json.get("version")),
        doc=_of_type(str, json.get("doc")),
        parameters=_parameters(json.get("parameters")),
        **_parts(_TYPES[kind], json),
    )
    if (default := json.get("default")) is None:
        return schema
    return schema.with_default(compile_reader(schema)(default))


def _parts(kind: SchemaType, json: Mapping[str, Any]) -> dict[str, Any]:
    if kind is SchemaType.STRUCT:
        return {"fields": _fields(json.get("fields"))}
    if kind is SchemaType.ARRAY:
        return {"value_schema": _part(json, "items", "Array schema did not specify the element type")}
    if kind is SchemaType.MAP:
        return {
            "key_schema": _part(json, "keys", "Map schema did not specify the key type"),
            "value_schema": _part(json, "values", "Map schema did not specify the value type"),
        }
    return {}


def _part(json: Mapping[str, Any], key: str, missing: str) -> Schema:
    if json.get(key) is None:
        raise DataError(missing)
    return schema_from_json(json[key])


def _fields(json: Any) -> tuple[Field, ...]:
    if not isinstance(json, list):
        raise DataError('Struct schema\'s "fields" argument is not an array.')
    fields: dict[str, Field] = {}
    for index, member in enumerate(json):
        name = member.get("field") if isinstance(member, dict) else None
        if not isinstance(name, str):
            raise DataError("Struct schema's field name not specified properly")
        if name in fields:
            raise DataError(f"Cannot create field because of field name duplication {name}")
        fields[name] = Field(name, index, schema_from_json(member))
    return tuple(fields.values())


def _parameters(json: Any) -> dict[str, str]:
    if not isinstance(json, dict):
        return {}
    for value in json.values():
        if not isinstance(value, str):
            raise DataError("Schema parameters must have string values.")
    return json


def _of_type(wanted: type, value: Any) -> Any:
    return value if type(value) is wanted else None
