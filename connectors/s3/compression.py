"""Compression of a file's bytes, block by block.

The output depends on the bytes alone, not on the pieces in which they came: a file that is written again
after a crash is the same file. Between two blocks nothing but a checksum is kept, so that thousands of
files may be open.
"""

import struct
import zlib
from abc import ABC, abstractmethod
from typing import Any, Final

import cramjam
from isal import isal_zlib

BLOCK_BYTES: Final = 128 << 10
# RFC 1952: deflate, no flags, no time, no extra flags, unknown system.
_GZIP_HEADER: Final = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
_RAW_DEFLATE: Final = -15
_SNAPPY_BLOCK_BYTES: Final = 32 << 10
# A magic number, its version, and the oldest version that can read it.
_SNAPPY_HEADER: Final = b"\x82SNAPPY\x00" + struct.pack(">II", 1, 1)


class Compressor(ABC):
    extension: str

    @abstractmethod
    def add(self, data: bytes) -> bytes:
        """The compressed bytes that are ready after `data`, perhaps none."""

    @abstractmethod
    def finish(self) -> bytes:
        """The rest, and the end of the file."""


class NoCompression(Compressor):
    extension = ""

    def add(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class Gzip(Compressor):
    """One gzip member. Levels 1 to 3 and -1 (which is 1) are ISA-L's, the others zlib's."""

    extension = ".gz"

    def __init__(self, level: int) -> None:
        self._level = 1 if level == -1 else level
        self._pending = bytearray()
        self._header = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def add(self, data: bytes) -> bytes:
        pending = self._pending
        pending += data
        if len(pending) < BLOCK_BYTES:
            return b""
        whole = len(pending) - len(pending) % BLOCK_BYTES
        out = [self._take_header()]
        with memoryview(pending) as view:
            for start in range(0, whole, BLOCK_BYTES):
                out.append(self._block(view[start : start + BLOCK_BYTES], zlib.Z_SYNC_FLUSH))
        del pending[:whole]
        return b"".join(out)

    def finish(self) -> bytes:
        last = self._block(bytes(self._pending), zlib.Z_FINISH)
        self._pending.clear()
        return self._take_header() + last + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def _block(self, data: bytes | memoryview, end: int) -> bytes:
        self._crc = isal_zlib.crc32(data, self._crc)
        self._size += len(data)
        deflate = self._deflater()
        compressed: bytes = deflate.compress(data) + deflate.flush(end)
        return compressed

    def _deflater(self) -> Any:
        if 1 <= self._level <= isal_zlib.ISAL_BEST_COMPRESSION:
            return isal_zlib.compressobj(self._level, isal_zlib.DEFLATED, _RAW_DEFLATE)
        return zlib.compressobj(self._level, zlib.DEFLATED, _RAW_DEFLATE)


class Snappy(Compressor):
    """Blocks in the framing of the library snappy-java, which has existed before Snappy's own."""

    extension = ".snappy"

    def __init__(self) -> None:
        self._pending = bytearray()
        self._header = _SNAPPY_HEADER

    def add(self, data: bytes) -> bytes:
        self._pending += data
        return self._take(len(self._pending) - len(self._pending) % _SNAPPY_BLOCK_BYTES)

    def finish(self) -> bytes:
        return self._take(len(self._pending)) + self._take_header()

    def _take(self, size: int) -> bytes:
        if not size:
            return b""
        out = [self._take_header()]
        with memoryview(self._pending) as view:
            for start in range(0, size, _SNAPPY_BLOCK_BYTES):
                block = bytes(
                    cramjam.snappy.compress_raw(view[start : min(start + _SNAPPY_BLOCK_BYTES, size)])
                )
                out += [struct.pack(">I", len(block)), block]
        del self._pending[:size]
        return b"".join(out)

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


class Zstandard(Compressor):
    """One frame. A file of more than a block keeps what it has seen in memory, about 1 MB."""

    extension = ".zst"

    def __init__(self) -> None:
        self._pending = bytearray()
        self._stream: Any = None

    def add(self, data: bytes) -> bytes:
        pending = self._pending
        pending += data
        if len(pending) < BLOCK_BYTES:
            return b""
        self._stream = self._stream or cramjam.zstd.Compressor()
        whole = len(pending) - len(pending) % BLOCK_BYTES
        out = []
        for start in range(0, whole, BLOCK_BYTES):
            self._stream.compress(bytes(pending[start : start + BLOCK_BYTES]))
            out.append(bytes(self._stream.flush()))
        del pending[:whole]
        return b"".join(out)

    def finish(self) -> bytes:
        if self._stream is None:
            return bytes(cramjam.zstd.compress(self._pending))
        self._stream.compress(bytes(self._pending))
        return bytes(self._stream.finish())
