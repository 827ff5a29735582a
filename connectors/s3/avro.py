"""AvroFormat: an Avro object container file, one for each schema.

The file depends on its records alone (Avro's sync marker is made of the schema here, not of chance), so one
that is written again after a crash is the same file.

Source: the Avro 1.11 specification, "Object Container Files".
"""

import bz2
import io
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import cramjam
import fastavro
import orjson

from connect.api import Schema
from connectors.s3.avro_schema import CONFLUENT, Dialect, allowed_names, avro_schema, converter
from connectors.s3.formats import FileWriter
from connectors.s3.schema_formats import SchemaFormat
from connectors.s3.staging import Buffer

BLOCK_BYTES: Final = 64_000  # Java's default
_MAGIC: Final = b"Obj\x01"
_SYNC_BYTES: Final = 16


class AvroPlan:
    """What a schema comes down to: its JSON text, and how a value is encoded."""

    def __init__(self, schema: Schema, dialect: Dialect = CONFLUENT) -> None:
        meant = avro_schema(schema, dialect)
        self.text = orjson.dumps(meant)
        self._parsed = fastavro.parse_schema(meant)
        self._convert = converter(schema)

    def encode(self, value: Any) -> bytes:
        """Avro's binary encoding; raises `ValueError`, `TypeError` and the like where it does not fit."""
        out = io.BytesIO()
        fastavro.schemaless_writer(
            out, self._parsed, value if self._convert is None else self._convert(value)
        )
        return out.getvalue()


class AvroItem(NamedTuple):
    plan: AvroPlan
    data: bytes


class Avro(SchemaFormat[AvroPlan]):
    def __init__(self, codec: str, dialect: Dialect = CONFLUENT) -> None:
        super().__init__(dialect.bare)
        self._codec = codec
        self._dialect = dialect
        self.extension = ".avro"

    def plan(self, schema: Schema) -> AvroPlan:
        return AvroPlan(schema, self._dialect)

    def typed_items(self, plan: AvroPlan, values: Sequence[Any]) -> Sequence[AvroItem]:
        return [AvroItem(plan, plan.encode(value)) for value in values]

    def open_typed(self, plan: AvroPlan) -> FileWriter:
        return AvroFile(plan.text, self._codec)

    def rename(self, names: Iterable[str]) -> Sequence[str]:
        return allowed_names(names)


class AvroFile(FileWriter):
    """Blocks of about `BLOCK_BYTES`."""

    def __init__(self, schema: bytes, codec: str) -> None:
        self._compress = _CODECS[codec]
        self._sync = blake2b(schema, digest_size=_SYNC_BYTES).digest()
        self._header = _MAGIC + _map({"avro.codec": codec.encode(), "avro.schema": schema}) + self._sync
        self._rows = Buffer()
        self._count = 0

    def keep_in(self, make_buffer: Callable[[], Buffer]) -> None:
        self._rows = make_buffer()

    def write(self, items: Sequence[AvroItem]) -> bytes:
        out, fresh, size = [], list[bytes](), self._rows.size
        for item in items:
            fresh.append(item.data)
            size += len(item.data)
            if size >= BLOCK_BYTES:
                self._keep(fresh)
                out.append(self._block())
                fresh, size = [], 0
        self._keep(fresh)
        return b"".join(out)

    def _keep(self, rows: Sequence[bytes]) -> None:
        self._rows.append(b"".join(rows))
        self._count += len(rows)

    def finish(self) -> Iterable[bytes]:
        yield self._block()

    def _block(self) -> bytes:
        header, self._header = self._header, b""
        if not self._count:
            return header
        data = self._compress(self._rows.take(self._rows.size))
        block = header + _long(self._count) + _long(len(data)) + data + self._sync
        self._count = 0
        return block


def _long(number: int) -> bytes:
    """A long that is not negative: zigzag, then seven bits a byte."""
    number <<= 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _map(entries: Mapping[str, bytes]) -> bytes:
    pairs = [_long(len(name)) + name.encode() + _long(len(data)) + data for name, data in entries.items()]
    return _long(len(entries)) + b"".join(pairs) + _long(0)


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def _snappy(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big")


def _zstandard(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


_CODECS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "null": lambda data: data, "deflate": _deflate, "snappy": _snappy, "bzip2": bz2.compress,
    "zstandard": _zstandard,
}  # fmt: skip
