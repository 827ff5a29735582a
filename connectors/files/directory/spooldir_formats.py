"""The SpoolDir connectors one by one: what each has besides the settings that they share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from connect.api import DataError, FieldError, Schema, setting
from connect.api.java_patterns import time_zone
from connect.api.schemas import OPTIONAL_STRING, TIMESTAMP, struct
from connectors.files.directory.schemas import SAMPLE_ROWS_MAX, column_schema, key_maker, schema_of
from connectors.files.directory.settings import KeyOf, TimestampMode
from connectors.files.directory.spooldir import (
    CSV,
    GENERATION,
    HIGH,
    LOW,
    MEDIUM,
    MODEL,
    SCHEMA,
    TIMESTAMPS,
    SpoolDirConfig,
    formats_error,
    schema_error,
    zone_error,
)
from connectors.files.directory.typed_json import TypedJsonReader
from connectors.readers import (
    AvroReader,
    CsvDialect,
    CsvReader,
    JsonReader,
    LineReader,
    NullIndicator,
    ParquetReader,
    Reader,
    TextParser,
    TextSettings,
    WholeReader,
)
from connectors.readers.csv_rows import Cells, Columns
from connectors.readers.parsing import TIMESTAMP_FORMATS
from connectors.readers.text import charset_error


class UnschemedConfig(SpoolDirConfig):
    """Of files whose records have no fields."""

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        if self.timestamp_mode == TimestampMode.FIELD:
            yield FieldError("timestamp.mode", "timestamp.mode=FIELD needs records with fields")


class LinesConfig(UnschemedConfig):
    """SpoolDirLineDelimitedSourceConnector."""

    charset: str = setting(
        "file.charset", default="UTF-8", importance=LOW, check=charset_error,
        doc="Character set to read the file with.",
    )  # fmt: skip

    def reader(self) -> Reader:
        return LineReader(TextSettings(self.charset))


class SchemalessJsonConfig(LinesConfig):
    """SpoolDirSchemaLessJsonSourceConnector."""

    def reader(self) -> Reader:
        return JsonReader(TextSettings(self.charset), parsed=False)


class BinaryConfig(UnschemedConfig):
    """SpoolDirBinaryFileSourceConnector."""

    def reader(self) -> Reader:
        return WholeReader()


class KeyedConfig(SpoolDirConfig):
    """Of files whose records have fields."""

    key_fields: list[str] = setting(
        "schema.generation.key.fields", default=[], importance=MEDIUM, group=GENERATION,
        doc="The field(s) of a record that make its key. key.fields for short.",
    )  # fmt: skip
    key_name: str = setting(
        "schema.generation.key.name", default=f"{MODEL}Key", importance=MEDIUM, group=GENERATION,
        doc="The name of the generated key schema.",
    )  # fmt: skip
    timestamp_field: str = setting(
        "timestamp.field", default="", importance=MEDIUM, group=TIMESTAMPS,
        doc="With timestamp.mode=FIELD: the field that has a record's timestamp, a required Timestamp.",
    )  # fmt: skip

    renamed = {"key.fields": "schema.generation.key.fields"}  # noqa: RUF012 - a ClassVar of the base

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        if self.timestamp_mode == TimestampMode.FIELD and not self.timestamp_field:
            yield FieldError("timestamp.field", "timestamp.field must be set where timestamp.mode is FIELD")

    def timestamp_field_name(self) -> str:
        return self.timestamp_field

    def key_of(self) -> KeyOf | None:
        return key_maker(self.key_fields, self.key_name, None)


class AvroConfig(KeyedConfig):
    """SpoolDirAvroSourceConnector."""

    def reader(self) -> Reader:
        return AvroReader()


class ParquetConfig(KeyedConfig):
    """Of Parquet files, which SpoolDir does not read."""

    def reader(self) -> Reader:
        return ParquetReader()


class SchemaConfig(KeyedConfig):
    """Of files without schemas, whose records get one."""

    key_schema: str = setting(
        "key.schema", default="", importance=HIGH, group=SCHEMA, check=schema_error,
        doc="The schema for the key written to Kafka.",
    )  # fmt: skip
    value_schema: str = setting(
        "value.schema", default="", importance=HIGH, group=SCHEMA, check=schema_error,
        doc="The schema for the value written to Kafka.",
    )  # fmt: skip
    generation: bool = setting(
        "schema.generation.enabled", default=False, importance=MEDIUM, group=GENERATION,
        doc="Whether the schema follows from the files, so that value.schema can be omitted.",
    )  # fmt: skip
    value_name: str = setting(
        "schema.generation.value.name", default=f"{MODEL}Value", importance=MEDIUM, group=GENERATION,
        doc="The name of the generated value schema.",
    )  # fmt: skip
    formats: list[str] = setting(
        "parser.timestamp.date.formats", default=list(TIMESTAMP_FORMATS), importance=LOW, group=TIMESTAMPS,
        check=formats_error, doc="The formats of dates in the file, in SimpleDateFormat's letters.",
    )  # fmt: skip
    zone: str = setting(
        "parser.timestamp.timezone", default="UTC", importance=LOW, group=TIMESTAMPS, check=zone_error,
        doc="The time zone of dates in the file.",
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        if not self.generation and not self.value_schema:
            why = "value.schema must be set where schema.generation.enabled is false"
            yield FieldError("value.schema", why)
        elif self.value_schema and (found := self.given_schema()) is not None:
            yield from self._check_fields(found)

    def _check_fields(self, schema: Schema) -> Iterable[FieldError]:
        for name in self._key_names():
            if name not in schema.by_name:
                yield FieldError("key.schema", f"the key's field {name} is not in value.schema")
        field = schema.by_name.get(self.timestamp_field)
        if self.timestamp_mode == TimestampMode.FIELD and (
            field is None or field.schema.name != TIMESTAMP or field.schema.optional
        ):
            why = f"{self.timestamp_field} must be a required field of value.schema of type {TIMESTAMP}"
            yield FieldError("timestamp.field", why)

    def _key_names(self) -> Sequence[str]:
        return [f.name for f in schema_of(self.key_schema).fields] if self.key_schema else self.key_fields

    def given_schema(self) -> Schema | None:
        """That of value.schema, where it is in force."""
        return schema_of(self.value_schema) if self.value_schema and not self.generation else None

    def parser(self) -> TextParser:
        return TextParser(self.formats, time_zone(self.zone))

    def key_of(self) -> KeyOf | None:
        given = schema_of(self.key_schema) if self.key_schema and not self.generation else None
        return key_maker(self.key_fields, self.key_name, given)


class JsonConfig(SchemaConfig):
    """SpoolDirJsonSourceConnector."""

    charset: str = setting(
        "file.charset", default="UTF-8", importance=LOW, check=charset_error,
        doc="Character set to read the file with.",
    )  # fmt: skip

    def reader(self) -> Reader:
        json = JsonReader(TextSettings(self.charset), parsed=True)
        return TypedJsonReader(json, self.given_schema(), self.value_name, self.parser())


def _character(name: str, default: int, what: str) -> Any:
    return setting(
        name, default=default, importance=LOW, group=CSV, at_least=0, at_most=0xFFFF,
        doc=f"The {what}, as the number of the character.",
    )  # fmt: skip


def _refused(name: str, what: str) -> Any:
    return setting(
        name, default=False, importance=LOW, group=CSV, doc="Not supported.",
        check=lambda on: f"Millstream does not {what}" if on else None,
    )  # fmt: skip


class CsvConfig(SchemaConfig):
    """SpoolDirCsvSourceConnector."""

    skip_lines: int = setting(
        "csv.skip.lines", default=0, importance=LOW, group=CSV, at_least=0,
        doc="Number of lines to skip in the beginning of the file.",
    )  # fmt: skip
    separator: int = _character(
        "csv.separator.char", 44, "character between the fields (44 is a comma, 9 a tab)"
    )
    quote: int = _character("csv.quote.char", 34, "character around fields; 0 for none")
    escape: int = _character(
        "csv.escape.char", 92, "character before a quote that is part of a field; 0 for none"
    )
    strict_quotes: bool = _refused("csv.strict.quotes", "drop characters outside of quotes")
    keep_carriage_return: bool = _refused("csv.keep.carriage.return", "keep the ends of lines")
    ignore_leading_whitespace: bool = setting(
        "csv.ignore.leading.whitespace", default=True, importance=LOW, group=CSV,
        doc="Whether white space in front of a quote is ignored.",
    )  # fmt: skip
    ignore_quotations: bool = setting(
        "csv.ignore.quotations", default=False, importance=LOW, group=CSV,
        doc="Whether quotes are characters like others.",
    )  # fmt: skip
    verify_reader: bool = setting(
        "csv.verify.reader", default=True, importance=LOW, group=CSV, doc="Has no effect."
    )
    null_field_indicator: str = setting(
        "csv.null.field.indicator", default="NEITHER", importance=LOW, group=CSV,
        choices=list(NullIndicator),
        doc="Which empty fields are null: EMPTY_SEPARATORS (two separators in a row), EMPTY_QUOTES, BOTH, "
            "NEITHER. Fields that are no text are null whenever they are empty.",
    )  # fmt: skip
    first_row_as_header: bool = setting(
        "csv.first.row.as.header", default=False, importance=MEDIUM, group=CSV,
        doc="Whether the first row has the names of the columns.",
    )  # fmt: skip
    charset: str = setting(
        "csv.file.charset", default="UTF-8", importance=LOW, group=CSV, check=charset_error,
        doc="Character set to read the file with.",
    )  # fmt: skip
    case_sensitive: bool = setting(
        "csv.case.sensitive.field.names", default=False, importance=LOW, group=CSV,
        doc="Whether names in the header must be those of value.schema in upper and lower case too.",
    )  # fmt: skip
    rfc_4180: bool = setting(
        "csv.rfc.4180.parser.enabled", default=False, importance=LOW, group=CSV,
        doc="Whether a quote in a field is doubled only, and there is no escape character.",
    )  # fmt: skip
    infer_types: bool = setting(
        "schema.generation.infer.types", default=False, importance=LOW, group=GENERATION,
        doc="Whether a generated schema has INT64, FLOAT64 and BOOLEAN columns, as the first rows of the "
            "file have it, or STRING only, as with SpoolDir. Millstream's own setting.",
    )  # fmt: skip

    def reader(self) -> Reader:
        schema = self.given_schema()
        dialect = CsvDialect(
            separator=chr(self.separator),
            quote=None if self.ignore_quotations or not self.quote else chr(self.quote),
            escape=None if self.rfc_4180 or not self.escape else chr(self.escape),
            ignore_leading_whitespace=self.ignore_leading_whitespace,
            null=NullIndicator(self.null_field_indicator),
        )
        return CsvReader(
            TextSettings(self.charset, header=self.skip_lines),
            dialect,
            self._generated if schema is None else self._given(schema),
            header=self.first_row_as_header,
            names=None if schema is None else [field.name for field in schema.fields],
        )

    def _given(self, schema: Schema) -> Callable[[Sequence[str], Iterator[Cells]], Columns]:
        parser = self.parser()
        by_lower = {} if self.case_sensitive else {name.lower(): name for name in schema.by_name}

        def shape(names: Sequence[str], sample: Iterator[Cells]) -> Columns:
            meant = [name if name in schema.by_name else by_lower.get(name.lower(), name) for name in names]
            readers = [parser.parser(schema.by_name[n].schema) if n in schema.by_name else str for n in meant]
            return Columns(meant, schema, readers)

        return shape

    def _generated(self, names: Sequence[str], sample: Iterator[Cells]) -> Columns:
        if absent := [name for name in self.key_fields if name not in names]:
            raise DataError(f"there is no column {absent[0]}, which is to be in the key")
        if not self.infer_types:
            schema = struct([(name, OPTIONAL_STRING) for name in names], name=self.value_name)
            return Columns(names, schema, [str] * len(names))
        parser = self.parser()
        rows = [
            cells
            for _, cells in zip(range(SAMPLE_ROWS_MAX), sample, strict=False)
            if len(cells) == len(names)
        ]
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        schemas = [column_schema(column, parser) for column in columns]
        schema = struct(list(zip(names, schemas, strict=True)), name=self.value_name)
        return Columns(names, schema, [parser.parser(each) for each in schemas])
