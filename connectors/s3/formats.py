"""File formats: what stands in a file for each record.

A format turns records into *items* first, so that a record which it cannot take is found before anything
is written; a file's writer then turns items into bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from connect.api import ConnectError, Converter, DataError, JsonPayload, Schema, SinkRecord
from connectors.s3.compression import Compressor, Gzip, NoCompression, Zstandard
from connectors.s3.config import S3SinkConfig
from connectors.s3.confluent import AVRO_FORMAT, JSON_FORMAT, PARQUET_FORMAT
from connectors.s3.fields import where
from connectors.s3.staging import Buffer

_JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"


class FileWriter(ABC):
    """Makes the bytes of one file. `waiting_bytes` is the memory of what is not bytes yet; bytes wait where
    `keep_in` says."""

    waiting_bytes = 0

    def keep_in(self, make_buffer: Callable[[], Buffer]) -> None:  # noqa: B027 - many keep nothing
        """Before the first items: where bytes are to wait."""

    @abstractmethod
    def write(self, items: Sequence[Any]) -> bytes:
        """The bytes that are ready after these items, perhaps none."""

    def flush(self) -> bytes:
        """The bytes of what waits in memory, where a format lets much wait."""
        return b""

    @abstractmethod
    def finish(self) -> Iterable[bytes]:
        """The last bytes of the file, piece by piece."""


class Format(ABC):
    extension: str

    @abstractmethod
    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        """What a file's writer takes for each record; raises `DataError` if there is one that it cannot."""

    def variants(self, items: Sequence[Any]) -> Sequence[Hashable] | None:
        """What keeps items apart, such as their schemas: those of one file are of one variant. None where all
        of them fit into one file."""
        return None

    @abstractmethod
    def open(self, first: Any) -> FileWriter:
        """A writer for a new file, whose first item this is."""


class JsonTexts:
    """Values as JSON, written as JsonConverter without schemas writes it.

    JSON that came as JSON stays the text that it is, and may have line breaks.
    """

    def __init__(self, decimal_format: str = "BASE64") -> None:
        self._passes_json = decimal_format == "BASE64"  # whatever the schema, the text needs no change
        self._convert = schemaless_converter(decimal_format).from_connect

    def of_values(self, records: Sequence[SinkRecord]) -> list[bytes]:
        passes_json, convert = self._passes_json, self._convert
        return [
            record.raw_value.json
            if type(record.raw_value) is JsonPayload and (passes_json or record.value_schema is None)
            else convert(record.topic, record.value_schema, record.raw_value) or b"null"
            for record in records
        ]

    def of(self, topic: str, schema: Schema | None, raw: Any) -> bytes:
        """That of any value."""
        if type(raw) is JsonPayload and (self._passes_json or schema is None):
            return raw.json
        return self._convert(topic, schema, raw) or b"null"


class JsonLines(Format):
    """Each value as JSON on a line."""

    def __init__(self, compressor: Callable[[], Compressor], decimal_format: str) -> None:
        self._compressor = compressor
        self._texts = JsonTexts(decimal_format)
        self.extension = ".json" + compressor().extension

    def items(self, records: Sequence[SinkRecord]) -> list[bytes]:
        return self._texts.of_values(records)

    def open(self, first: Any) -> FileWriter:
        return _JsonLinesWriter(self._compressor())


class TextWriter(FileWriter):
    """Bytes that are compressed."""

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor

    def keep_in(self, make_buffer: Callable[[], Buffer]) -> None:
        self._compressor.pending = make_buffer()

    def finish(self) -> Iterable[bytes]:
        return self._compressor.finish()


class _JsonLinesWriter(TextWriter):
    def write(self, items: Sequence[bytes]) -> bytes:
        lines = b"\n".join([*items, b""])
        if lines.count(b"\n") != len(items):
            lines = b"\n".join([*(one_line(item) for item in items), b""])
        return self._compressor.add(lines)


class RawBytes(Format):
    """Each value's bytes, and a separator behind."""

    def __init__(self, compressor: Callable[[], Compressor], separator: bytes, extension: str) -> None:
        self._compressor = compressor
        self._separator = separator
        self.extension = extension + compressor().extension

    def items(self, records: Sequence[SinkRecord]) -> list[bytes]:
        values = [record.raw_value for record in records]
        for record, value in zip(records, values, strict=True):
            if type(value) is not bytes:
                raise DataError(
                    f"{where(record)} has a value of type {type(value).__name__}, and ByteArrayFormat writes "
                    "bytes: set value.converter to org.apache.kafka.connect.converters.ByteArrayConverter"
                )
        return values

    def open(self, first: Any) -> FileWriter:
        return _RawBytesWriter(self._compressor(), self._separator)


class _RawBytesWriter(TextWriter):
    def __init__(self, compressor: Compressor, separator: bytes) -> None:
        super().__init__(compressor)
        self._separator = separator

    def write(self, items: Sequence[bytes]) -> bytes:
        return self._compressor.add(self._separator.join([*items, b""]))


def one_line(json: bytes) -> bytes:
    """In JSON a line break can only stand between tokens, where it means nothing."""
    return json.translate(None, b"\r\n")


def schemaless_converter(decimal_format: str = "BASE64") -> Converter:
    """Connect's JsonConverter: found as a plugin, as an operator would name it."""
    for entry in entry_points(group="millstream.converters", name=_JSON_CONVERTER):
        converter: Converter = entry.load()()
        converter.configure({"schemas.enable": "false", "decimal.format": decimal_format}, False)
        return converter
    raise ConnectError(f"the plugin {_JSON_CONVERTER}, which JsonFormat writes with, is not installed")


def format_for(config: S3SinkConfig, name: str) -> Format:
    """The format of this (full) name."""

    def compressor() -> Compressor:
        match config.compression_type.lower():
            case "gzip":
                return Gzip(config.compression_level)
            case "zstd":
                return Zstandard(config.compression_level)
            case _:
                return NoCompression()

    if name == JSON_FORMAT:
        return JsonLines(compressor, config.decimal_format.upper())
    if name == AVRO_FORMAT:
        from connectors.s3.avro import Avro  # importing these costs memory

        return Avro(config.avro_codec.lower())
    if name == PARQUET_FORMAT:
        from connectors.s3.parquet import Parquet

        return Parquet(config.parquet_codec.lower())
    # Kafka trims settings, but here white space counts.
    separator = config.originals.get("format.bytearray.separator", "\n").encode()
    return RawBytes(compressor, separator, config.bytes_extension)
