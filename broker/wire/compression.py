"""The codecs of record batches, by their numbers: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""

import mmap
import struct

import cramjam

from broker.wire.batch import InvalidBatch

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

CODECS = {"uncompressed": NONE, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
"""By their names in `compression.type`."""

RECORDS_BYTES_MAX = 100 * 1024 * 1024
"""A batch that would decompress to more is not looked into: it could not have been sent uncompressed."""

DEFAULT_LEVELS = {GZIP: 6, LZ4: 9, ZSTD: 3}

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK_BYTES = 32 * 1024
_BLOCK_BYTES = struct.Struct(">I")

_DECOMPRESS_INTO = {
    GZIP: cramjam.gzip.decompress_into,
    LZ4: cramjam.lz4.decompress_into,
    ZSTD: cramjam.zstd.decompress_into,
}


def decompress(data: memoryview, codec: int) -> memoryview:
    """Raises InvalidBatch when it cannot be, or would be more than RECORDS_BYTES_MAX."""
    if codec == NONE:
        return data
    # Memory that is not touched costs nothing: the limit holds without knowing the real size before.
    output = memoryview(mmap.mmap(-1, RECORDS_BYTES_MAX))
    try:
        if codec == SNAPPY:
            return output[: _decompress_snappy(data, output)]
        return output[: _DECOMPRESS_INTO[codec](data, output)]
    except KeyError:
        raise InvalidBatch(f"unknown compression codec {codec}") from None
    except (cramjam.DecompressionError, struct.error) as exc:
        raise InvalidBatch(f"the records cannot be decompressed: {exc}") from exc


def compress(data: bytes | memoryview, codec: int, level: int | None = None) -> bytes | memoryview:
    """As Java's clients expect it: lz4 frames of independent blocks, snappy in xerial's framing."""
    if level is None or level == -1:
        level = DEFAULT_LEVELS.get(codec)
    if codec == NONE:
        return data
    if codec == GZIP:
        return bytes(cramjam.gzip.compress(data, level=level))
    if codec == SNAPPY:
        return _compress_snappy(data)
    if codec == LZ4:
        compressor = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
        compressor.compress(bytes(data))
        return bytes(compressor.finish())
    return bytes(cramjam.zstd.compress(data, level=level))


def _compress_snappy(data: bytes | memoryview) -> bytes:
    framed = bytearray(_XERIAL_HEADER)
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
        framed += _BLOCK_BYTES.pack(len(block))
        framed += block
    return bytes(framed)


def _decompress_snappy(data: memoryview, output: memoryview) -> int:
    """One raw block, or the framing of xerial's snappy-java: a header, then blocks with their sizes."""
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return cramjam.snappy.decompress_raw_into(data, output)
    position, size = len(_XERIAL_HEADER), 0
    while position < len(data):
        (block_bytes,) = _BLOCK_BYTES.unpack_from(data, position)
        position += _BLOCK_BYTES.size
        block = data[position : position + block_bytes]
        size += cramjam.snappy.decompress_raw_into(block, output[size:])
        position += block_bytes
    return size
