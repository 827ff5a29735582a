"""Decompression of a stream of bytes: gzip, zstd, bzip2, and snappy as snappy-java frames it.

Several compressed streams one after the other are one, as the tools of each format have it.
"""

import bz2
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, Final, cast

from connect.api import DataError

# How a compressed file begins.
_MAGIC: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\x82SNAPPY\x00": "snappy",
}  # fmt: skip
SUFFIXES: Final[Mapping[str, str]] = {
    ".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".snappy": "snappy",
}  # fmt: skip
COMPRESSIONS: Final = ("none", "gzip", "zstd", "bzip2", "snappy")
_SNAPPY_HEADER_BYTES: Final = 16
_SNAPPY_BLOCK_BYTES_MAX: Final = 64 << 20


def compression_of(start: bytes) -> str:
    """What a file that begins so is compressed with; `none` if with nothing that is known."""
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "none")


def decompressed(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Piece by piece. Raises `DataError` for what is not compressed so, or ends too early."""
    chunks = iter(chunks)
    first = next(chunks, b"")
    if not first or compression == "none":
        return chain([first], chunks)
    return _DECOMPRESSORS[compression](chain([first], chunks))


def _gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    from isal import igzip_lib

    # Its stub has an instance for the class.
    error = cast("type[Exception]", igzip_lib.IsalError)
    make = partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_GZIP)
    return _members(chunks, make, "gzip", error)


def _bzip2(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return _members(chunks, bz2.BZ2Decompressor, "bzip2", OSError)


def _members(
    chunks: Iterable[bytes], make: Callable[[], Any], name: str, error: type[Exception]
) -> Iterator[bytes]:
    """`make` makes what has the interface of `bz2.BZ2Decompressor`."""
    member, begun = make(), False
    for chunk in chunks:
        data = chunk
        while data or not member.needs_input:
            try:
                # A little may be the beginning of very much.
                plain = member.decompress(data, _PIECE_BYTES)
            except error as exc:
                raise DataError(f"the {name} data is corrupt: {exc}") from exc
            begun, data = True, b""
            if plain:
                yield plain
            if member.eof:
                data = member.unused_data.lstrip(b"\x00")  # tape tools pad with zeros
                member, begun = make(), False
    if begun:
        raise DataError(f"the {name} data ends too early")


def _zstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    import pyarrow as pa

    try:
        stream = pa.CompressedInputStream(pa.PythonFile(as_file(chunks), mode="r"), "zstd")
        while data := stream.read(_PIECE_BYTES):
            yield data
    except (OSError, pa.ArrowException) as exc:
        raise DataError(f"the zstd data is corrupt, or ends too early: {exc}") from exc


def _snappy(chunks: Iterable[bytes]) -> Iterator[bytes]:
    import cramjam

    pipe = as_file(chunks)
    if len(pipe.read(_SNAPPY_HEADER_BYTES)) < _SNAPPY_HEADER_BYTES:
        raise DataError("the snappy data ends too early")
    while size := pipe.read(4):
        length = int.from_bytes(size, "big")
        if len(size) < 4 or length > _SNAPPY_BLOCK_BYTES_MAX:
            raise DataError("the snappy data is corrupt")
        block = pipe.read(length)
        if len(block) < length:
            raise DataError("the snappy data ends too early")
        try:
            yield bytes(cramjam.snappy.decompress_raw(block))
        except cramjam.DecompressionError as exc:
            raise DataError(f"the snappy data is corrupt: {exc}") from exc


_PIECE_BYTES: Final = 256 << 10
_DECOMPRESSORS: Final[Mapping[str, Callable[[Iterable[bytes]], Iterator[bytes]]]] = {
    "gzip": _gzip, "bzip2": _bzip2, "zstd": _zstd, "snappy": _snappy,
}  # fmt: skip


def as_file(chunks: Iterable[bytes]) -> io.BufferedReader:
    """Pieces of bytes as a file to read from, once."""
    return io.BufferedReader(_Chunks(iter(chunks)), _PIECE_BYTES)


class _Chunks(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override] # as BufferedReader calls it
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
