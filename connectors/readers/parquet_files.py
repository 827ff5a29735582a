"""Parquet files, with Connect schemas of their columns.

Timestamps become Connect's Timestamp (milliseconds) where they hold no finer digits, else microseconds or
nanoseconds as plain INT64 numbers: nothing is cut off.
"""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from shutil import copyfileobj
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from connect.api import DataError, Schema, SchemaType
from connect.api.schemas import (
    DATE,
    OPTIONAL_STRING,
    TIME,
    TIMESTAMP,
    array,
    decimal,
    map_of,
    struct,
)  # fmt: skip
from connectors.readers.avro_files import schema_of_avro
from connectors.readers.rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

_AVRO_SCHEMA: Final = b"parquet.avro.schema"
_BATCH_ROWS: Final = 4096
_SPOOLED_BYTES_MAX: Final = 32 << 20


class ParquetReader:
    """Each row of the file is one here; positions count them."""

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        # Large, and only loaded by those who need it.
        import pyarrow as pa
        from pyarrow import parquet

        with ExitStack() as closed:
            number = 0
            try:
                file = parquet.ParquetFile(_seekable(stream, closed))
                form = file.schema_arrow
                schema = _told_schema(form) or struct({field.name: _schema_of(field) for field in form})
                target = pa.schema([pa.field(field.name, _plain_type(field.type)) for field in form])
                groups = range(file.num_row_groups)
                # What is whole before `after` is not even read.
                while groups and number + (rows := file.metadata.row_group(groups[0]).num_rows) <= after:
                    number, groups = number + rows, groups[1:]
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=list(groups)):
                    # Dates, times and timestamps as the numbers that they are.
                    for value in (
                        pa.Table.from_batches([batch]).cast(target).to_pylist(maps_as_pydicts="strict")
                    ):
                        number += 1
                        if number > after:
                            yield Row(number, value, schema)
            except pa.ArrowException as exc:
                raise DataError(f"behind row {number}: no valid Parquet file: {exc}") from exc


def _told_schema(form: "pa.Schema") -> Schema | None:
    """That of the Avro schema that writers by way of Avro leave, which knows what the columns were in
    Connect; None if there is none, or one of another table."""
    text = (form.metadata or {}).get(_AVRO_SCHEMA)
    if text is None:
        return None
    try:
        schema = schema_of_avro(json.loads(text))
    except (DataError, KeyError, TypeError, ValueError):
        return None
    told = struct({field.name: _schema_of(field) for field in form})
    return schema if _shape(schema) == _shape(told) else None


def _shape(schema: Schema) -> object:
    """What values of it look like: those of INT8 and INT16 as those of INT32."""
    kind = SchemaType.INT32 if schema.type in (SchemaType.INT8, SchemaType.INT16) else schema.type
    inner = [_shape(each) for each in (schema.key_schema, schema.value_schema) if each is not None]
    return kind, [(field.name, _shape(field.schema)) for field in schema.fields], inner


def _seekable(stream: BinaryIO, closed: ExitStack) -> Any:
    """Parquet is read from its end: what cannot be sought in, as it is decompressed, is copied first."""
    if stream.seekable():
        return stream
    copy = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES_MAX)  # noqa: SIM115 - closed with the reader
    closed.enter_context(copy)
    copyfileobj(stream, copy)
    copy.seek(0, io.SEEK_SET)
    return copy


def _schema_of(field: "pa.Field[Any]") -> Schema:
    schema = _type_of(field.type, field.name)
    return schema.as_optional() if field.nullable else schema


def _type_of(kind: "pa.DataType", name: str) -> Schema:
    import pyarrow as pa

    types = pa.types
    if types.is_struct(kind):
        return struct({kind.field(i).name: _schema_of(kind.field(i)) for i in range(kind.num_fields)})
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return array(_schema_of(kind.value_field))
    if types.is_map(kind):
        return map_of(_schema_of(kind.key_field), _schema_of(kind.item_field))
    if types.is_decimal(kind):
        return decimal(kind.scale, precision=kind.precision)
    if types.is_dictionary(kind):
        return _type_of(kind.value_type, name)
    if types.is_date(kind):
        return Schema(SchemaType.INT32, name=DATE, version=1)
    if types.is_time(kind):
        if kind.unit == "ms":
            return Schema(SchemaType.INT32, name=TIME, version=1)
        return Schema(SchemaType.INT64)
    if types.is_timestamp(kind):
        if kind.unit in ("s", "ms"):
            return Schema(SchemaType.INT64, name=TIMESTAMP, version=1)
        return Schema(SchemaType.INT64)
    found = _PLAIN.get(str(kind))
    if found is None:
        raise DataError(f"column {name}: the type {kind} has none in Kafka Connect")
    return found


_PLAIN: Final = {
    "bool": Schema(SchemaType.BOOLEAN),
    "int8": Schema(SchemaType.INT8), "int16": Schema(SchemaType.INT16),
    "int32": Schema(SchemaType.INT32), "int64": Schema(SchemaType.INT64),
    "uint8": Schema(SchemaType.INT16), "uint16": Schema(SchemaType.INT32), "uint32": Schema(SchemaType.INT64),
    "halffloat": Schema(SchemaType.FLOAT32), "float": Schema(SchemaType.FLOAT32),
    "double": Schema(SchemaType.FLOAT64),
    "string": Schema(SchemaType.STRING), "large_string": Schema(SchemaType.STRING),
    "binary": Schema(SchemaType.BYTES), "large_binary": Schema(SchemaType.BYTES),
    "null": OPTIONAL_STRING,
}  # fmt: skip


def _plain_type(kind: "pa.DataType") -> "pa.DataType":
    """The same type with numbers for dates, times and timestamps."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(kind):
        members = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([pa.field(m.name, _plain_type(m.type), m.nullable) for m in members])
    if types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if types.is_dictionary(kind):
        return kind.value_type
    if types.is_date(kind) or (types.is_time(kind) and kind.unit == "ms"):
        return pa.int32()
    if types.is_time(kind) or types.is_timestamp(kind):
        return pa.int64()
    return kind
