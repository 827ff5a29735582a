"""ParquetFormat: a Parquet file, one for each schema.

Values become Arrow arrays a batch at a time, which also finds those that do not fit before anything is
written. Importing pyarrow costs 40 MB, so nobody does before this format is used.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa
from pyarrow import parquet

from connect.api import DataError, Schema, SchemaType
from connect.api.schemas import DATE, DECIMAL, TIME, TIMESTAMP
from connectors.s3 import arrow_json
from connectors.s3.avro_schema import (
    CONFLUENT,
    Dialect,
    avro_schema,
    decimal_precision,
    decimal_scale,
    map_schemas,
)
from connectors.s3.formats import FileWriter
from connectors.s3.inferred import Kind
from connectors.s3.schema_formats import SchemaFormat

ROW_GROUP_BYTES: Final = 16 << 20  # of Arrow's memory

# As Confluent's sink names its files.
_EXTENSIONS: Final[Mapping[str, str]] = {"gzip": "gz", "snappy": "snappy", "lz4": "lz4", "zstd": "zstd"}

# int8 and int16 as Avro, and with it Confluent's writer, has them.
_PRIMITIVES: Final[Mapping[SchemaType, pa.DataType]] = {
    SchemaType.INT8: pa.int32(), SchemaType.INT16: pa.int32(), SchemaType.INT32: pa.int32(),
    SchemaType.INT64: pa.int64(), SchemaType.FLOAT32: pa.float32(), SchemaType.FLOAT64: pa.float64(),
    SchemaType.BOOLEAN: pa.bool_(), SchemaType.STRING: pa.string(), SchemaType.BYTES: pa.binary(),
}  # fmt: skip
_LOGICAL: Final[Mapping[str, pa.DataType]] = {
    DATE: pa.date32(), TIME: pa.time32("ms"), TIMESTAMP: pa.timestamp("ms", "UTC"),
}  # fmt: skip


class ParquetPlan:
    """What a schema comes down to."""

    def __init__(self, schema: Schema, dialect: Dialect = CONFLUENT) -> None:
        if schema.type is not SchemaType.STRUCT:
            raise DataError(f"Parquet holds structs, and this is a value of type {schema.type.value}")
        self.row = arrow_type(schema)
        self._schema = schema
        self.schema = pa.schema(list(self.row), metadata=_metadata(schema, dialect))

    def rows(self, values: Sequence[Any]) -> pa.StructArray:
        """The values as one array; raises `ValueError` or `TypeError`, as Arrow does, if one does not fit."""
        rows = pa.array(values, self.row)
        _check_nulls(rows, self._schema, "the value")
        return rows


class ParquetItem(NamedTuple):
    """A row of an array."""

    plan: ParquetPlan
    rows: pa.StructArray
    number: int


class Parquet(SchemaFormat[ParquetPlan]):
    """Structs."""

    def __init__(self, codec: str, dialect: Dialect = CONFLUENT) -> None:
        super().__init__(dialect.bare)
        # Arrow's own pool keeps what a thousand files have freed: 40 MB more.
        pa.set_memory_pool(pa.system_memory_pool())
        self._codec = codec
        self._dialect = dialect
        self.extension = ".parquet" if codec == "none" else f".{_EXTENSIONS[codec]}.parquet"

    def plan(self, schema: Schema) -> ParquetPlan:
        return ParquetPlan(schema, self._dialect)

    def typed_items(self, plan: ParquetPlan, values: Sequence[Any]) -> Sequence[ParquetItem]:
        rows = plan.rows(values)
        return [ParquetItem(plan, rows, number) for number in range(len(values))]

    def open_typed(self, plan: ParquetPlan) -> FileWriter:
        return ParquetFile(plan.schema, self._codec)

    def learn(self, kind: Kind, lines: bytes) -> None:
        if not arrow_json.learn(kind, lines):
            super().learn(kind, lines)

    def write_lines(self, file: FileWriter, plan: ParquetPlan, kind: Kind, lines: bytes) -> bytes:
        rows = arrow_json.rows(lines, plan.schema) if kind.is_plain else None
        if rows is None or not isinstance(file, ParquetFile):
            return super().write_lines(file, plan, kind, lines)
        return file.write_rows(rows)


class ParquetFile(FileWriter):
    """Row groups of about `ROW_GROUP_BYTES`."""

    def __init__(self, schema: pa.Schema, codec: str) -> None:
        self._schema = schema
        self._out = _Sink()
        self._writer = parquet.ParquetWriter(
            self._out, schema, compression=codec.upper(), store_schema=False, use_compliant_nested_type=True
        )
        self._rows: list[pa.StructArray] = []

    def write(self, items: Sequence[ParquetItem]) -> bytes:
        for _, run in groupby(items, lambda item: id(item.rows)):
            same = list(run)
            rows, first, last = same[0].rows, same[0].number, same[-1].number
            if last - first + 1 == len(same):
                part = rows.slice(first, len(same))
            else:
                part = rows.take(pa.array([item.number for item in same]))
            self._rows.append(part)
            self.waiting_bytes += part.nbytes
        return self.flush() if self.waiting_bytes >= ROW_GROUP_BYTES else b""

    def write_rows(self, rows: pa.StructArray) -> bytes:
        """As `write`, of a whole array."""
        self._rows.append(rows)
        self.waiting_bytes += rows.nbytes
        return self.flush() if self.waiting_bytes >= ROW_GROUP_BYTES else b""

    def flush(self) -> bytes:
        if self._rows:
            whole = pa.chunked_array(self._rows).combine_chunks()
            columns = whole.flatten()
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
            self._rows.clear()
            self.waiting_bytes = 0
        return self._out.take()

    def finish(self) -> Iterable[bytes]:
        yield self.flush()
        # The writer itself leaves the schema's metadata out where it leaves out Arrow's schema.
        self._writer.add_key_value_metadata(self._schema.metadata or {})
        self._writer.close()
        yield self._out.take()


class _Sink(io.RawIOBase):
    """Where the writer writes to; what is there is taken away piece by piece."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        self._data += data
        self._position += len(data)
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def _metadata(schema: Schema, dialect: Dialect) -> Mapping[str, bytes]:
    """What Java's readers by way of Avro look for."""
    try:
        avro = avro_schema(replace(schema, optional=False), dialect)
    except DataError:  # Parquet allows names that Avro does not
        return {}
    return {"parquet.avro.schema": orjson.dumps(avro), "writer.model.name": b"avro"}


def arrow_type(schema: Schema) -> pa.DataType:
    """The Arrow type of a Connect schema; raises `DataError` for what Parquet cannot hold."""
    if schema.name == DECIMAL:
        return pa.decimal256(decimal_precision(schema), decimal_scale(schema))
    if schema.name is not None and schema.name in _LOGICAL:
        return _LOGICAL[schema.name]
    if schema.type is SchemaType.STRUCT:
        if not schema.fields:
            raise DataError(f"Parquet cannot hold the struct {schema.name}, which has no fields")
        return pa.struct([_field(field.name, field.schema) for field in schema.fields])
    if schema.type is SchemaType.ARRAY:
        assert schema.value_schema is not None, "an array says what it holds"
        return pa.list_(_field("element", schema.value_schema))
    if schema.type is SchemaType.MAP:
        keys, values = map_schemas(schema)
        return pa.map_(pa.field("key", arrow_type(keys), nullable=False), _field("value", values))
    return _PRIMITIVES[schema.type]


def _field(name: str, schema: Schema) -> pa.Field:
    return pa.field(name, arrow_type(schema), nullable=schema.optional)


def _check_nulls(array: pa.Array, schema: Schema, where: str) -> None:
    """Arrow takes null anywhere."""
    if schema.type is SchemaType.STRUCT:
        for index, field in enumerate(schema.fields):
            child, name = array.field(index), f"{where}.{field.name}"
            if array.null_count:
                child = child.filter(array.is_valid())
            _check_child(child, field.schema, name)
    elif schema.type is SchemaType.ARRAY and schema.value_schema is not None:
        _check_child(array.flatten(), schema.value_schema, f"{where}[]")
    elif schema.type is SchemaType.MAP and schema.value_schema is not None:
        _check_child(array.items, schema.value_schema, f"{where}{{}}")


def _check_child(array: pa.Array, schema: Schema, where: str) -> None:
    if array.null_count and not schema.optional:
        raise ValueError(f"{where} is null, and its schema does not allow it")
    _check_nulls(array, schema, where)
