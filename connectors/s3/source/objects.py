"""What is in an object: decompressed, as a stream or as a file to seek in."""

import errno
import io
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Final

from connect.api import ConnectError, DataError
from connectors.s3.source.decompress import as_file, compression_of, decompressed
from connectors.s3.store import CHUNK_BYTES, Bucket, Entry

_MAGIC_BYTES: Final = 16


class Content:
    """What is in an object, decompressed. `compression` None: it shows in how the object begins.

    Libraries that read it as a file wrap what they do not know: `failure` is what kept it from being read.
    """

    def __init__(self, bucket: Bucket, entry: Entry, compression: str | None) -> None:
        self._bucket = bucket
        self.entry = entry
        self._compression = compression
        self.failure: ConnectError | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is not compressed, so that reading may begin anywhere. Known once reading has begun."""
        return self._compression == "none"

    def chunks(self, position: int = 0) -> Iterator[bytes]:
        """The bytes, from `position` on where it is plain; raises like `Bucket.chunks`."""
        chunks = self._bucket.chunks(self.entry, position)
        if position:
            self._compression = "none"
            return chunks
        if self._compression is None:
            first = next(chunks, b"")
            self._compression = compression_of(first)
            chunks = chain([first], chunks)
        return decompressed(chunks, self._compression)

    def stream(self) -> BinaryIO:
        """The bytes from the beginning, as a file."""
        return as_file(self._watched(self.chunks()))

    def file(self) -> BinaryIO:
        """The bytes as a file to seek in, if it is plain: each read is a request then. Else as `stream`."""
        if self._compression is None:
            self._compression = compression_of(self._bucket.read(self.entry, 0, _MAGIC_BYTES))
        if not self.is_plain:
            return self.stream()
        return io.BufferedReader(_RangeFile(self), CHUNK_BYTES)

    def read(self, position: int, count: int) -> bytes:
        """Some bytes of the object as it is stored."""
        try:
            return self._bucket.read(self.entry, position, count)
        except ConnectError as exc:
            self.failure = exc
            raise OSError(errno.EIO, str(exc)) from exc

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except DataError:
            raise
        except ConnectError as exc:
            self.failure = exc
            raise OSError(errno.EIO, str(exc)) from exc


class _RangeFile(io.RawIOBase):
    def __init__(self, content: Content) -> None:
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._content.entry.size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override] # as BufferedReader calls it
        count = min(len(buffer), self._content.entry.size - self._position)
        if count <= 0:
            return 0
        data = self._content.read(self._position, count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
