"""JSON text to a Struct and its schema, which is inferred: what EventRouter does with a JSON payload.

Objects become structs named by their path, integers INT32 or INT64 by their size, other numbers FLOAT64.
Nulls and empty arrays have no type, so that their fields are left out. The elements of an array must be of
one kind; objects may differ, and become one struct with all their fields.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, Final

import orjson

from connect.api import DataError, Schema, SchemaType
from connect.api.schemas import (
    OPTIONAL_BOOLEAN,
    OPTIONAL_BYTES,
    OPTIONAL_FLOAT64,
    OPTIONAL_INT32,
    OPTIONAL_INT64,
    OPTIONAL_STRING,
    array,
    struct,
)

_SCALARS: Final[Mapping[type, Schema]] = {
    str: OPTIONAL_STRING,
    bool: OPTIONAL_BOOLEAN,
    float: OPTIONAL_FLOAT64,
}


class JsonExpansion:
    """`{"id":1}` → a struct of one INT32. `name` makes a field's name of a member's; `keeps_nulls` gives
    nulls the type BYTES, instead of leaving them out."""

    def __init__(self, name: Callable[[str], str], keeps_nulls: bool) -> None:
        self._name = name
        self._untyped = OPTIONAL_BYTES if keeps_nulls else None

    def __call__(self, root: str, text: str) -> tuple[Schema, dict[str, Any]]:
        """The schema, named `root`, and the value. Raises `DataError` for what is no object, or what no
        schema can hold."""
        try:
            # The one knows what JSON is, down to half a surrogate; the other keeps integers of any size.
            orjson.loads(text)
            document = json.loads(text)
            if not isinstance(document, dict):
                raise DataError("it is not an object")
            schema = self._struct(root, document)
            return schema, self._value(schema, document)
        except (ValueError, RecursionError) as exc:
            raise DataError(f"it is no JSON: {exc}") from None

    def _schema(self, path: str, node: Any) -> Schema | None:
        """None for what has no type."""
        if node is None:
            return self._untyped
        if isinstance(node, dict):
            return self._struct(path, node)
        if isinstance(node, list):
            return array(self._element(path, node), optional=True) if node else None
        return _scalar(node)

    def _struct(self, path: str, node: Mapping[str, Any]) -> Schema:
        fields: dict[str, Schema] = {}
        for member, content in node.items():
            name = self._name(member)
            schema = self._schema(f"{path}.{name}" if path else name, content)
            if schema is not None:
                fields.setdefault(name, schema)
        return struct(fields, name=path or None, optional=True)

    def _element(self, path: str, nodes: Iterable[Any]) -> Schema:
        # An array has no name, and what is in it starts anew.
        found = [self._schema(path if isinstance(n, dict) else "", n) for n in nodes if n is not None]
        first = found[0] if found else self._untyped
        if first is None:
            raise DataError("an array begins with an element that has no type")
        others = [schema for schema in found if schema is not None and schema != first]
        if not others:
            return first
        kinds = {first.type, *(schema.type for schema in others)}
        if kinds != {SchemaType.STRUCT}:
            raise DataError(f"an array has elements of different types: {', '.join(sorted(kinds))}")
        # As in Debezium, which forgets about null here.
        return replace(reduce(_merged, others, first), optional=False)

    def _value(self, schema: Schema, node: Any) -> Any:
        if node is None:
            if not schema.optional:
                raise DataError("an array of objects that differ has a null")
            return None
        if schema.type is SchemaType.STRUCT and isinstance(node, dict):
            value: dict[str, Any] = dict.fromkeys(schema.by_name)
            for member, content in node.items():
                name = self._name(member)
                # Not those without a type, and of two with one name the first.
                if name in value and value[name] is None:
                    value[name] = self._value(schema.by_name[name].schema, content)
            return value
        if schema.type is SchemaType.ARRAY and schema.value_schema is not None and isinstance(node, list):
            return [self._value(schema.value_schema, element) for element in node]
        if isinstance(node, dict | list) or _scalar(node).type is not schema.type:
            raise DataError(f"a field of type {schema.type.value} has a value of another type")
        return node


def _scalar(node: Any) -> Schema:
    if not isinstance(node, int) or isinstance(node, bool):
        return _SCALARS[type(node)]
    if -(1 << 31) <= node < 1 << 31:
        return OPTIONAL_INT32
    if -(1 << 63) <= node < 1 << 63:
        return OPTIONAL_INT64
    raise DataError("an integer is beyond 64 bits")


def _merged(one: Schema, other: Schema) -> Schema:
    """A schema for the values of both; where there is none, values of the other will not fit."""
    if one.type is not other.type:
        return other if one.type is SchemaType.BYTES else one
    if one.type is SchemaType.STRUCT:
        fields = {field.name: field.schema for field in one.fields}
        for field in other.fields:
            known = fields.get(field.name)
            fields[field.name] = field.schema if known is None else _merged(known, field.schema)
        return struct(fields, name=one.name, optional=one.optional)
    if one.value_schema is not None and other.value_schema is not None:
        return array(_merged(one.value_schema, other.value_schema), optional=True)
    return one
