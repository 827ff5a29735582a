"""Requests that are well formed and mean nothing: any version of any API, its fields filled at random."""

import typing
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from kio.index import load_request_schema
from support.batches import encode_request, make_batch

NAMES = st.sampled_from(
    ["", "malformed-topic", "malformed-group", "__consumer_offsets", "a/b", "x" * 300, "é"]
)
"""Few, so that requests meet what earlier ones have made."""


def bodies(api_key: int, version: int) -> st.SearchStrategy[bytes]:
    """Bodies of requests, as kio writes them."""
    schema = load_request_schema(api_key, version)
    return _entities(schema).map(
        lambda entity: encode_request(
            api_key, version, **{field.name: getattr(entity, field.name) for field in fields(entity)}
        )
    )


def _entities(schema: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(schema)
    return st.builds(schema, **{field.name: _values(hints[field.name], field) for field in fields(schema)})


def _values(hint: Any, field: Any) -> st.SearchStrategy[Any]:
    parts = typing.get_args(hint)
    if type(None) in parts:
        (inner,) = (part for part in parts if part is not type(None))
        return st.none() | _values(inner, field)
    if typing.get_origin(hint) is tuple:
        return st.lists(_values(parts[0], field), max_size=2).map(tuple)
    if is_dataclass(hint):
        return _entities(hint)
    return _primitives(field.metadata["kafka_type"])


def _primitives(kafka_type: str) -> st.SearchStrategy[Any]:
    if kafka_type.startswith("timedelta"):
        longest = 2**31 - 1 if kafka_type.endswith("i32") else 2**45
        return st.sampled_from([-1, 0, 1, 50, longest]).map(lambda ms: timedelta(milliseconds=ms))
    match kafka_type:
        case "string":
            return NAMES
        case "records" | "bytes":
            return st.binary(max_size=80) | st.integers(1, 3).map(lambda count: bytes(make_batch(count)))
        case "uuid":
            return st.sampled_from([UUID(int=0), UUID(int=1), UUID(int=2**128 - 1)])
        case "bool":
            return st.booleans()
        case "float64":
            return st.floats()
    bits = int(kafka_type.removeprefix("u").removeprefix("int"))
    low, high = (0, 2**bits - 1) if kafka_type.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.sampled_from([number for number in (-1, 0, 1, 5, low, high) if low <= number <= high])
