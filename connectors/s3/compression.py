"""Compression of a file's bytes, block by block.

The output depends on the bytes alone, not on the pieces in which they came: a file that is written again
after a crash is the same file. Between two blocks nothing but a checksum is kept, and what waits for a block
to be full may wait on disk, so that thousands of files may be open.
"""

import struct
import threading
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Final

import cramjam
from isal import isal_zlib

from connectors.s3.staging import Buffer

BLOCK_BYTES: Final = 128 << 10
# RFC 1952: deflate, no flags, no time, no extra flags, unknown system.
_GZIP_HEADER: Final = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
_RAW_DEFLATE: Final = -15
_SNAPPY_BLOCK_BYTES: Final = 32 << 10
STREAMS_MAX: Final = 8
_ZSTD_LEVEL: Final = 3
_streams = threading.Semaphore(STREAMS_MAX)
# A magic number, its version, and the oldest version that can read it.
_SNAPPY_HEADER: Final = b"\x82SNAPPY\x00" + struct.pack(">II", 1, 1)


class Compressor(ABC):
    """`pending` are the bytes that wait for a block to be full."""

    extension: str

    def __init__(self) -> None:
        self.pending = Buffer()

    @abstractmethod
    def add(self, data: bytes) -> bytes:
        """The compressed bytes that are ready after `data`, perhaps none."""

    @abstractmethod
    def finish(self) -> Iterator[bytes]:
        """The rest, and the end of the file, piece by piece."""


class NoCompression(Compressor):
    extension = ""

    def add(self, data: bytes) -> bytes:
        return data

    def finish(self) -> Iterator[bytes]:
        yield b""


class Gzip(Compressor):
    """One gzip member. Levels 1 to 3 and -1 (which is 1) are ISA-L's, the others zlib's."""

    extension = ".gz"

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = 1 if level == -1 else level
        self._header = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def add(self, data: bytes) -> bytes:
        pending = self.pending
        pending.append(data)
        if pending.size < BLOCK_BYTES:
            return b""
        out = [self._take_header()]
        while pending.size >= BLOCK_BYTES:
            out.append(self._block(pending.take(BLOCK_BYTES), zlib.Z_SYNC_FLUSH))
        return b"".join(out)

    def finish(self) -> Iterator[bytes]:
        last = self._block(self.pending.take(BLOCK_BYTES), zlib.Z_FINISH)
        yield self._take_header() + last + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def _block(self, data: bytes, end: int) -> bytes:
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
        super().__init__()
        self._header = _SNAPPY_HEADER

    def add(self, data: bytes) -> bytes:
        self.pending.append(data)
        out = []
        while self.pending.size >= _SNAPPY_BLOCK_BYTES:
            out.append(self._block())
        return b"".join(out)

    def finish(self) -> Iterator[bytes]:
        yield (self._block() if self.pending.size else b"") + self._take_header()

    def _block(self) -> bytes:
        header = self._take_header()
        block = bytes(cramjam.snappy.compress_raw(self.pending.take(_SNAPPY_BLOCK_BYTES)))
        return header + struct.pack(">I", len(block)) + block

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


class Zstandard(Compressor):
    """One frame: many readers look at the first one only. Its compressor keeps what it has seen in memory, a
    few MB, so only `STREAMS_MAX` files are compressed as they grow; the bytes of others wait for their end.
    Level -1 is zstd's own default."""

    extension = ".zst"

    def __init__(self, level: int = -1) -> None:
        super().__init__()
        self._level = _ZSTD_LEVEL if level == -1 else level
        self._stream: Any = None
        self._give_back: Callable[[], object] = lambda: None

    def add(self, data: bytes) -> bytes:
        self.pending.append(data)
        if self.pending.size < BLOCK_BYTES or not self._begin():
            return b""
        return b"".join(self._blocks())

    def finish(self) -> Iterator[bytes]:
        if self._stream is None:
            if self.pending.size < BLOCK_BYTES:
                yield bytes(cramjam.zstd.compress(self.pending.take(BLOCK_BYTES), level=self._level))
                return
            self._stream = cramjam.zstd.Compressor(self._level)
        yield from self._blocks()
        self._stream.compress(self.pending.take(BLOCK_BYTES))
        yield bytes(self._stream.finish())
        self._give_back()

    def _begin(self) -> bool:
        if self._stream is None and _streams.acquire(blocking=False):
            self._stream = cramjam.zstd.Compressor(self._level)
            # Not every file is finished: one may be dropped.
            self._give_back = weakref.finalize(self, _streams.release)
        return self._stream is not None

    def _blocks(self) -> Iterator[bytes]:
        while self.pending.size >= BLOCK_BYTES:
            self._stream.compress(self.pending.take(BLOCK_BYTES))
            yield bytes(self._stream.flush())
