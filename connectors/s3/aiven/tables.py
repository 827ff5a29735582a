"""Rows of Avro and Parquet: the fields in the order asked for, in a record of the connector's own, or the
only field as the row.

What has no schema becomes JSON first, whose schema is worked out when the file ends (see
`connectors.s3.inferred`).
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from connect.api import DataError, Field, JsonPayload, Schema, SchemaType, SinkRecord
from connect.api.schemas import BOOLEAN, FLOAT64, INT64, OPTIONAL_STRING, STRING
from connect.api.values import text_of
from connectors.s3.aiven.rows import JsonTextRows
from connectors.s3.compression import Compressor
from connectors.s3.fields import where
from connectors.s3.formats import FileWriter, Format, JsonTexts, TextWriter
from connectors.s3.schema_formats import SchemaFormat
from connectors.s3.staging import Buffer

_SCHEMAS_MAX: Final = 1_024
# Types of headers are guessed at from each value: as few as can be, or they would split files.
_WIDE: Final = {
    SchemaType.INT8: INT64, SchemaType.INT16: INT64, SchemaType.INT32: INT64, SchemaType.INT64: INT64,
    SchemaType.FLOAT32: FLOAT64, SchemaType.FLOAT64: FLOAT64, SchemaType.BOOLEAN: BOOLEAN,
}  # fmt: skip


class TableRows(Format):
    """`name` is that of the record which holds the fields."""

    extension = ""

    def __init__(
        self,
        format: SchemaFormat[Any],
        compressor: Callable[[], Compressor] | None,
        fields: Sequence[str],
        *,
        envelope: bool,
        name: str,
    ) -> None:
        self._format = format
        self._compressor = compressor
        self._fields = fields
        self._envelope = envelope
        self._name = name
        self._has_value = "value" in fields
        self._schemaless = JsonTextRows(fields, envelope=envelope, iso_times=False)
        self._json = JsonTexts()
        self._header_type = OPTIONAL_STRING  # of the last record that had headers
        self._struct = lru_cache(_SCHEMAS_MAX)(self._make_struct)
        self._last_types: tuple[Schema, ...] = ()
        self._last_struct: Schema | None = None

    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        row = self._in_envelope if self._envelope else self._bare
        return self._format.items([self._without_schema(r) or row(r) for r in records])

    def variants(self, items: Sequence[Any]) -> Sequence[Hashable]:
        return self._format.variants(items)

    def open(self, first: Any) -> FileWriter:
        file = self._format.open(first)
        return file if self._compressor is None else CompressedFile(file, self._compressor())

    def _without_schema(self, record: SinkRecord) -> SinkRecord | None:
        """The row of a record whose value has no schema, if the row needs it."""
        if not self._has_value or record.value_schema is not None:
            return None
        if record.raw_value is None:
            raise DataError(
                f"{where(record)} has no value; drop such records with a Filter, or leave value out of "
                "format.output.fields"
            )
        [text] = self._schemaless.of([record])
        return record.replace(value=JsonPayload(text, None), value_schema=None)

    def _in_envelope(self, record: SinkRecord) -> SinkRecord:
        parts = [self._part(record, field) for field in self._fields]
        types = tuple([schema for schema, _ in parts])
        if self._last_struct is None or not all(map(_is, types, self._last_types)):
            self._last_types, self._last_struct = types, self._struct(tuple(self._fields), types)
        row = {field: value for field, (_, value) in zip(self._fields, parts, strict=True)}
        return record.replace(value=row, value_schema=self._last_struct)

    def _bare(self, record: SinkRecord) -> SinkRecord:
        schema, value = self._part(record, self._fields[0])
        if value is None:
            raise DataError(f"{where(record)} has no {self._fields[0]}, which is the whole row")
        if schema.type is SchemaType.MAP and schema.value_schema is not None:
            value = {str(name): member for name, member in value.items()}
            names = tuple(sorted(value))
            schema = self._struct(names, (schema.value_schema,) * len(names))
        return record.replace(value=value, value_schema=_required(schema))

    def _part(self, record: SinkRecord, field: str) -> tuple[Schema, Any]:
        match field:
            case "value":
                assert record.value_schema is not None, "rows without are done before"
                return record.value_schema, record.value
            case "key":
                return self._key(record)
            case "offset":
                return INT64, record.offset
            case "timestamp":
                if record.timestamp_ms is None:
                    raise DataError(f"{where(record)} has no timestamp")
                return INT64, record.timestamp_ms
            case _:
                return self._headers(record)

    def _key(self, record: SinkRecord) -> tuple[Schema, Any]:
        if record.key_schema is not None:
            return record.key_schema, record.key
        key = record.key
        if key is None or isinstance(key, str):
            return OPTIONAL_STRING, key
        return OPTIONAL_STRING, self._json.of(record.topic, None, record.raw_key).decode()

    def _headers(self, record: SinkRecord) -> tuple[Schema, Any]:
        if not record.headers:
            return _map_of(self._header_type), {}
        types = {_wide(header.schema) for header in record.headers if header.value is not None}
        self._header_type = types.pop() if len(types) == 1 else OPTIONAL_STRING
        if self._header_type == OPTIONAL_STRING:
            return _map_of(OPTIONAL_STRING), {h.name: text_of(h.schema, h.value) for h in record.headers}
        return _map_of(self._header_type), {header.name: header.value for header in record.headers}

    def _make_struct(self, names: Sequence[str], types: Sequence[Schema]) -> Schema:
        fields = [Field(name, n, type_) for n, (name, type_) in enumerate(zip(names, types, strict=True))]
        return Schema(SchemaType.STRUCT, name=self._name, fields=tuple(fields))


class CompressedFile(TextWriter):
    """Another file, compressed as a whole."""

    def __init__(self, file: FileWriter, compressor: Compressor) -> None:
        super().__init__(compressor)
        self._file = file

    def keep_in(self, make_buffer: Callable[[], Buffer]) -> None:
        super().keep_in(make_buffer)
        self._file.keep_in(make_buffer)

    def write(self, items: Sequence[Any]) -> bytes:
        data = self._compressor.add(self._file.write(items))
        self.waiting_bytes = self._file.waiting_bytes
        return data

    def flush(self) -> bytes:
        data = self._compressor.add(self._file.flush())
        self.waiting_bytes = self._file.waiting_bytes
        return data

    def finish(self) -> Iterable[bytes]:
        for data in self._file.finish():
            yield self._compressor.add(data)
        yield from super().finish()


def _is(one: object, other: object) -> bool:
    return one is other


def _wide(schema: Schema | None) -> Schema:
    if schema is None or schema.name is not None:
        return OPTIONAL_STRING
    if schema.type is SchemaType.BYTES:
        return schema.as_optional()
    return _WIDE.get(schema.type, STRING).as_optional()


@lru_cache(_SCHEMAS_MAX)
def _required(schema: Schema) -> Schema:
    return replace(schema, optional=False)


@lru_cache(16)
def _map_of(values: Schema) -> Schema:
    return Schema(SchemaType.MAP, key_schema=STRING, value_schema=values)
