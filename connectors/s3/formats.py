"""File formats: what stands in a file for each record.

A format turns records into *items* first, so that a record which it cannot take is found before anything
is written; a file's writer then turns items into bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from connect.api import ConnectError, Converter, DataError, JsonPayload, SinkRecord
from connectors.s3.compression import Compressor, Gzip, NoCompression
from connectors.s3.config import JSON_FORMAT, S3SinkConfig
from connectors.s3.fields import where

_JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"


class FileWriter(ABC):
    """Makes the bytes of one file."""

    @abstractmethod
    def write(self, items: Sequence[Any]) -> bytes:
        """The bytes that are ready after these items, perhaps none."""

    @abstractmethod
    def finish(self) -> bytes:
        """The last bytes of the file."""


class Format(ABC):
    extension: str

    @abstractmethod
    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        """What a file's writer takes for each record; raises `DataError` if there is one that it cannot."""

    @abstractmethod
    def open(self) -> FileWriter:
        """A writer for a new file."""


class JsonLines(Format):
    """Each value as JSON on a line, written as JsonConverter without schemas writes it.

    JSON that came as JSON stays the text that it is, but for line breaks.
    """

    def __init__(self, compressor: Callable[[], Compressor], decimal_format: str) -> None:
        self._compressor = compressor
        self._passes_json = decimal_format == "BASE64"  # whatever the schema, the text needs no change
        self._convert = _converter(decimal_format).from_connect
        self.extension = ".json" + compressor().extension

    def items(self, records: Sequence[SinkRecord]) -> list[bytes]:
        passes_json, convert = self._passes_json, self._convert
        return [
            record.raw_value.json
            if type(record.raw_value) is JsonPayload and (passes_json or record.value_schema is None)
            else convert(record.topic, record.value_schema, record.raw_value) or b"null"
            for record in records
        ]

    def open(self) -> FileWriter:
        return _JsonLinesWriter(self._compressor())


class _JsonLinesWriter(FileWriter):
    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor

    def write(self, items: Sequence[bytes]) -> bytes:
        lines = b"\n".join([*items, b""])
        if lines.count(b"\n") != len(items):
            # In JSON a line break can only stand between tokens, where it means nothing.
            lines = b"\n".join([*(item.translate(None, b"\r\n") for item in items), b""])
        return self._compressor.add(lines)

    def finish(self) -> bytes:
        return self._compressor.finish()


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

    def open(self) -> FileWriter:
        return _RawBytesWriter(self._compressor(), self._separator)


class _RawBytesWriter(FileWriter):
    def __init__(self, compressor: Compressor, separator: bytes) -> None:
        self._compressor = compressor
        self._separator = separator

    def write(self, items: Sequence[bytes]) -> bytes:
        return self._compressor.add(self._separator.join([*items, b""]))

    def finish(self) -> bytes:
        return self._compressor.finish()


def _converter(decimal_format: str) -> Converter:
    """Connect's JsonConverter: found as a plugin, as an operator would name it."""
    for entry in entry_points(group="millstream.converters", name=_JSON_CONVERTER):
        converter: Converter = entry.load()()
        converter.configure({"schemas.enable": "false", "decimal.format": decimal_format}, False)
        return converter
    raise ConnectError(f"the plugin {_JSON_CONVERTER}, which JsonFormat writes with, is not installed")


def format_for(config: S3SinkConfig) -> Format:
    """The format that the settings name."""

    def compressor() -> Compressor:
        return Gzip(config.compression_level) if config.compression_type == "gzip" else NoCompression()

    if config.format == JSON_FORMAT:
        return JsonLines(compressor, config.decimal_format.upper())
    # Kafka trims settings, but here white space counts.
    separator = config.originals.get("format.bytearray.separator", "\n").encode()
    return RawBytes(compressor, separator, config.bytes_extension)
