"""Lines of JSON by Arrow's reader, which is several times as fast as Python's values: their types, and their
columns. What it reads in another way than `inferred` does, or not at all, is left to the slow way.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from connect.api import SchemaType
from connectors.s3.inferred import BOOLEAN, DOUBLE, LONG, TEXT, Kind

_INT64_END: Final = float(1 << 63)


def learn(kind: Kind, lines: bytes) -> bool:
    """Take the types of lines into account; False, and nothing has happened, if that cannot be done."""
    try:
        table = _read(lines, json.ParseOptions())
    except pa.ArrowInvalid:  # types that change, a name twice
        return False
    if table.num_rows != lines.count(b"\n") or any(map(_has_large_numbers, table.columns)):
        return False
    kind.add_type(SchemaType.STRUCT)
    for field in table.schema:
        _add(kind.fields.setdefault(field.name, Kind()), field.type)
    return True


def rows(lines: bytes, schema: pa.Schema) -> pa.StructArray | None:
    """The lines as rows of this schema; None if Arrow cannot read them so."""
    try:
        table = _read(lines, json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"))
    except pa.ArrowInvalid:
        return None
    if table.num_rows != lines.count(b"\n") or table.schema.types != schema.types:
        return None
    columns = [column.combine_chunks() for column in table.columns]
    return pa.StructArray.from_arrays(columns, fields=list(schema))


def _read(lines: bytes, options: json.ParseOptions) -> pa.Table:
    reading = json.ReadOptions(use_threads=False, block_size=len(lines))
    return json.read_json(pa.BufferReader(lines), read_options=reading, parse_options=options)


def _has_large_numbers(column: pa.ChunkedArray) -> bool:
    """Whether there may be whole numbers beyond 64 bits, which Arrow takes for fractions."""
    if pa.types.is_struct(column.type):
        return any(_has_large_numbers(pa.chunked_array([part])) for part in _parts(column))
    if pa.types.is_list(column.type):
        return any(_has_large_numbers(pa.chunked_array([chunk.values])) for chunk in column.chunks)
    if not pa.types.is_float64(column.type):
        return False
    largest = pc.max(pc.abs(column)).as_py()
    return largest is not None and largest >= _INT64_END


def _parts(column: pa.ChunkedArray) -> list[pa.Array]:
    return [part for chunk in column.chunks for part in chunk.flatten()]


def _add(kind: Kind, found: pa.DataType) -> None:
    if pa.types.is_struct(found):
        kind.add_type(SchemaType.STRUCT)
        for field in found.fields:
            _add(kind.fields.setdefault(field.name, Kind()), field.type)
    elif pa.types.is_list(found):
        kind.add_type(SchemaType.ARRAY)
        kind.items = kind.items or Kind()
        _add(kind.items, found.value_type)
    elif not pa.types.is_null(found):
        # What looks like a timestamp is text: as such its schema has it.
        kind.add_type(_PRIMITIVES.get(found, TEXT))


_PRIMITIVES: Final = {pa.bool_(): BOOLEAN, pa.int64(): LONG, pa.float64(): DOUBLE}
