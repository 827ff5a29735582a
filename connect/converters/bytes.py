"""ByteArrayConverter: bytes as they are."""

from collections.abc import Mapping
from typing import Any

from connect.api import (
    Converter,
    DataError,
    Header,
    HeaderConverter,
    JsonPayload,
    Schema,
    SchemaAndValue,
    SchemaType,
)
from connect.api.schemas import OPTIONAL_BYTES
from connect.version import __version__


class ByteArrayConverter(Converter, HeaderConverter):
    """Bytes ↔ the same bytes. Read values have the schema of optional bytes."""

    version = __version__

    def configure(self, properties: Mapping[str, str], is_key: bool = False) -> None:
        """There is nothing to set."""

    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        if schema is not None and schema.type is not SchemaType.BYTES:
            raise DataError(f"Invalid schema type for ByteArrayConverter: {schema.type.name}")
        value = raw.value() if type(raw) is JsonPayload else raw
        if value is None or type(value) is bytes:
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        raise DataError(f"ByteArrayConverter is not compatible with objects of type {type(value).__name__}")

    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[bytes | None]:
        return SchemaAndValue(OPTIONAL_BYTES, data)

    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        return self.from_connect(topic, header.schema, header.value)

    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        return Header(name, OPTIONAL_BYTES, data)
