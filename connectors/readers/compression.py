"""Decompression, chosen by the end of a file's name."""

import bz2
import io
from typing import BinaryIO, Final, cast

from isal import igzip

BUFFER_BYTES: Final = 1 << 18
_GZIP: Final = (".gz", ".gzip")
_ZSTD: Final = (".zst", ".zstd")
_BZIP2: Final = (".bz2",)
COMPRESSED_SUFFIXES: Final = (*_GZIP, *_ZSTD, *_BZIP2)


def decompressed(stream: BinaryIO, name: str) -> BinaryIO:
    """The bytes of a file of this name: decompressed where its suffix says so. Closing it closes `stream`."""
    lowered = name.lower()
    if lowered.endswith(_GZIP):
        return _Closing(igzip.IGzipFile(fileobj=stream, mode="rb"), stream)
    if lowered.endswith(_BZIP2):
        return _Closing(bz2.BZ2File(stream), stream)
    if lowered.endswith(_ZSTD):
        import pyarrow as pa  # loaded by those who need it: it is large

        return _Closing(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"), stream)
    return stream


class _Closing(io.BufferedReader):
    """Reads a decompressor, and closes what lies below it too, which they themselves leave open."""

    def __init__(self, decompressor: object, below: BinaryIO) -> None:
        super().__init__(_Raw(cast(BinaryIO, decompressor)), BUFFER_BYTES)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


class _Raw(io.RawIOBase):
    def __init__(self, decompressor: BinaryIO) -> None:
        self._decompressor = decompressor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override] # as BufferedReader calls it
        data = self._decompressor.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        super().close()
        self._decompressor.close()
