"""Converters for keys and values that are one number or boolean, big-endian as Kafka's serializers write."""

import struct
from collections.abc import Mapping
from typing import Any, ClassVar

from connect.api import Converter, DataError, Header, HeaderConverter, JsonPayload, Schema, SchemaAndValue
from connect.api.java_text import shortest_of_single
from connect.api.schemas import (
    OPTIONAL_BOOLEAN,
    OPTIONAL_FLOAT32,
    OPTIONAL_FLOAT64,
    OPTIONAL_INT16,
    OPTIONAL_INT32,
    OPTIONAL_INT64,
)
from connect.version import __version__


class _PrimitiveConverter(Converter, HeaderConverter):
    """What they share. `kind` is the name in error texts, `layout` one of `struct`'s."""

    version = __version__
    kind: ClassVar[str]
    python_type: ClassVar[type]
    schema: ClassVar[Schema]
    layout: ClassVar[struct.Struct]

    def configure(self, properties: Mapping[str, str], is_key: bool = False) -> None:
        """There is nothing to set."""

    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        if schema is not None and schema.type is not self.schema.type:
            raise self._refusal(f"schema type {schema.type.name}")
        value = raw.value() if type(raw) is JsonPayload else raw
        if value is None:
            return None
        if type(value) is not self.python_type:
            raise self._refusal(f"objects of type {type(value).__name__}")
        try:
            return self.layout.pack(value)
        except (struct.error, OverflowError) as exc:
            raise DataError(f"Failed to serialize to {self.kind}: {value}: {exc}") from None

    def _refusal(self, what: str) -> DataError:
        return DataError(
            f"Failed to serialize to {self.kind}: {type(self).__name__} is not compatible with {what}"
        )

    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[Any]:
        if data is None:
            return SchemaAndValue(self.schema, None)
        if len(data) != self.layout.size:
            raise DataError(
                f"Failed to deserialize {self.kind}: Size of data received is not {self.layout.size}, "
                f"but {len(data)}"
            )
        return SchemaAndValue(self.schema, self._read(data))

    def _read(self, data: bytes) -> Any:
        return self.layout.unpack(data)[0]

    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        return self.from_connect(topic, header.schema, header.value)

    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        return Header(name, *self.to_connect(topic, data))


class ShortConverter(_PrimitiveConverter):
    """INT16 ↔ two bytes."""

    kind, python_type, schema, layout = "short", int, OPTIONAL_INT16, struct.Struct(">h")


class IntegerConverter(_PrimitiveConverter):
    """INT32 ↔ four bytes."""

    kind, python_type, schema, layout = "integer", int, OPTIONAL_INT32, struct.Struct(">i")


class LongConverter(_PrimitiveConverter):
    """INT64 ↔ eight bytes."""

    kind, python_type, schema, layout = "long", int, OPTIONAL_INT64, struct.Struct(">q")


class FloatConverter(_PrimitiveConverter):
    """FLOAT32 ↔ four bytes."""

    kind, python_type, schema, layout = "float", float, OPTIONAL_FLOAT32, struct.Struct(">f")

    def _read(self, data: bytes) -> float:
        value: float = self.layout.unpack(data)[0]
        shortest = shortest_of_single(value)
        return value if shortest is None else float(shortest)


class DoubleConverter(_PrimitiveConverter):
    """FLOAT64 ↔ eight bytes."""

    kind, python_type, schema, layout = "double", float, OPTIONAL_FLOAT64, struct.Struct(">d")


class BooleanConverter(_PrimitiveConverter):
    """BOOLEAN ↔ one byte, 0 or 1."""

    kind, python_type, schema, layout = "boolean", bool, OPTIONAL_BOOLEAN, struct.Struct(">?")

    def _read(self, data: bytes) -> bool:
        if data not in (b"\x00", b"\x01"):
            raise DataError(f"Failed to deserialize boolean: Unexpected byte received: {data[0]}")
        return data == b"\x01"
