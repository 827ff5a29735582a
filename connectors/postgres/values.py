"""JSON as JsonConverter writes it → the Python value of a schema."""

from base64 import b64decode
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Final

import orjson

from connect.api import Schema, SchemaType
from connect.api.schemas import DECIMAL

_EXACT: Final = Context(prec=10**6)
_FLOATS: Final = (SchemaType.FLOAT32, SchemaType.FLOAT64)


def decoder(schema: Schema) -> Callable[[bytes], Any]:
    """The function from the JSON of a value of `schema` to the value."""
    change = _change(schema)
    if change is None:
        return orjson.loads
    return lambda text: change(orjson.loads(text))


def _change(schema: Schema) -> Callable[[Any], Any] | None:
    """What to do with the parsed JSON of a value; None where it is the value."""
    change = _change_present(schema)
    if change is None:
        return None
    return lambda value: None if value is None else change(value)


def _change_present(schema: Schema) -> Callable[[Any], Any] | None:
    if schema.type is SchemaType.BYTES:
        if schema.name == DECIMAL:
            scale = int(schema.parameters["scale"])
            return lambda text: Decimal(int.from_bytes(b64decode(text), "big", signed=True)).scaleb(
                -scale, _EXACT
            )
        return b64decode
    if schema.type in _FLOATS:
        return float  # "NaN" and "Infinity" are written as strings
    if schema.value_schema is not None and (inner := _change(schema.value_schema)) is not None:
        if _is_pairs(schema):
            return lambda pairs: {key: inner(value) for key, value in pairs}
        if schema.type is SchemaType.MAP:
            return lambda pairs: {key: inner(value) for key, value in pairs.items()}
        return lambda items: [inner(item) for item in items]
    if _is_pairs(schema):
        return dict
    changes = [(f.name, change) for f in schema.fields if (change := _change(f.schema)) is not None]
    if not changes:
        return None

    def change_fields(struct: dict[str, Any]) -> dict[str, Any]:
        for name, change in changes:
            struct[name] = change(struct[name])
        return struct

    return change_fields


def _is_pairs(schema: Schema) -> bool:
    """JsonConverter writes a map as pairs when its keys are no strings."""
    return schema.key_schema is not None and schema.key_schema.type is not SchemaType.STRING
