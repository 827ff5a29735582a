"""The records inside a batch, for the few who must look: searches by timestamp."""

import mmap
import struct
from collections.abc import Iterator

import cramjam

from broker.wire.batch import HEADER_BYTES, LOG_APPEND_TIME_FLAG, BatchHeader, InvalidBatch

RECORDS_BYTES_MAX = 256 * 1024 * 1024
"""A batch that would decompress to more is not looked into."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_BLOCK_BYTES = struct.Struct(">I")

_SNAPPY = 2
_DECOMPRESS_INTO = {
    1: cramjam.gzip.decompress_into,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}


def record_timestamps(batch: memoryview, header: BatchHeader) -> Iterator[tuple[int, int]]:
    """Offset and timestamp of each record. Raises InvalidBatch when the records cannot be read."""
    records = _decompress(batch[HEADER_BYTES:], header.compression)
    log_append_time = header.max_timestamp if header.attributes & LOG_APPEND_TIME_FLAG else None
    position = 0
    try:
        for _ in range(header.records_count):
            length, start = _read_varint(records, position)
            timestamp_delta, after = _read_varint(records, start + 1)
            offset_delta, _ = _read_varint(records, after)
            timestamp = (
                header.base_timestamp + timestamp_delta if log_append_time is None else log_append_time
            )
            yield header.base_offset + offset_delta, timestamp
            if length <= 0:
                raise InvalidBatch(f"record of {length} bytes")
            position = start + length
    except IndexError as exc:
        raise InvalidBatch("the records end early") from exc


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """A zigzag varint of up to ten bytes."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
        if shift > 63:
            raise InvalidBatch("varint of more than ten bytes")


def _decompress(data: memoryview, codec: int) -> memoryview:
    if codec == 0:
        return data
    # Memory that is not touched costs nothing: the limit holds without knowing the real size before.
    output = memoryview(mmap.mmap(-1, RECORDS_BYTES_MAX))
    try:
        if codec == _SNAPPY:
            return output[: _decompress_snappy(data, output)]
        return output[: _DECOMPRESS_INTO[codec](data, output)]
    except KeyError:
        raise InvalidBatch(f"unknown compression codec {codec}") from None
    except (cramjam.DecompressionError, struct.error) as exc:
        raise InvalidBatch(f"the records cannot be decompressed: {exc}") from exc


def _decompress_snappy(data: memoryview, output: memoryview) -> int:
    """One raw block, or the framing of xerial's snappy-java: a header, then blocks with their sizes."""
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return cramjam.snappy.decompress_raw_into(data, output)
    position, size = _XERIAL_HEADER_BYTES, 0
    while position < len(data):
        (block_bytes,) = _BLOCK_BYTES.unpack_from(data, position)
        position += _BLOCK_BYTES.size
        block = data[position : position + block_bytes]
        size += cramjam.snappy.decompress_raw_into(block, output[size:])
        position += block_bytes
    return size
