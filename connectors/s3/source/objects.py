"""Objects that are there: found by listing, read from any byte on, in one version from begin to end."""

import errno
import io
import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import structlog

from connect.api import ConnectError, DataError, RetriableError
from connectors.s3.source.decompress import as_file, compression_of, decompressed
from connectors.s3.store import Bucket, error_code, explain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = structlog.get_logger(__name__)

CHUNK_BYTES: Final = 256 << 10
_PAGE: Final = 1000
_MAGIC_BYTES: Final = 16


class ObjectGoneError(ConnectError):
    """There is no object of this key any more."""


class ObjectChangedError(ConnectError):
    """The object is another version than the one that was listed."""


class Entry(NamedTuple):
    """An object in a listing. `etag` stands for its content."""

    key: str
    etag: str
    size: int
    modified_ms: int


class SourceBucket(Bucket):
    """A bucket to read from."""

    doing = "read"

    def page(self, prefix: str, after: str = "") -> list[Entry]:
        """The next objects below `prefix` in the order of their keys, behind `after`; none at the end."""
        found = self._perform(
            prefix,
            lambda client: client.list_objects_v2(
                Bucket=self.name, Prefix=prefix, StartAfter=after, MaxKeys=_PAGE
            ),
        )
        return [
            Entry(each["Key"], each["ETag"].strip('"'), each["Size"], _millis(each["LastModified"]))
            for each in found.get("Contents", ())
        ]

    def body(self, entry: Entry, position: int) -> Any:
        """The bytes from `position` on, as a stream; raises `ObjectGoneError`, `ObjectChangedError`."""
        return self._get(entry, f"bytes={position}-" if position else None)

    def read(self, entry: Entry, position: int, count: int) -> bytes:
        """Some bytes; raises like `body`."""
        body = self._get(entry, f"bytes={position}-{position + count - 1}")
        return self._perform(entry.key, lambda _: bytes(body.read()))

    def _get(self, entry: Entry, wanted: str | None) -> Any:
        more: Any = dict(self._access.for_parts)
        if wanted is not None:
            more["Range"] = wanted

        def get(client: "S3Client") -> Any:
            from botocore.exceptions import ClientError

            try:
                return client.get_object(Bucket=self.name, Key=entry.key, IfMatch=entry.etag, **more)["Body"]
            except ClientError as exc:
                if error_code(exc.response) in ("NoSuchKey", "404"):
                    raise ObjectGoneError(f"{self.url(entry)} has been deleted") from exc
                if error_code(exc.response) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                    raise ObjectChangedError(f"{self.url(entry)} has changed") from exc
                raise

        return self._perform(entry.key, get)

    def url(self, entry: Entry) -> str:
        """The object, for errors."""
        return f"s3://{self.name}/{entry.key}"

    def chunks(self, entry: Entry, position: int = 0) -> Iterator[bytes]:
        """The bytes from `position` on, piece by piece. A connection that breaks is made anew at the byte
        where it broke; raises `RetriableError` when that does not help, and like `body`."""
        from botocore.exceptions import BotoCoreError

        failures = 0
        while position < entry.size:
            try:
                body = self.body(entry, position)
                while data := body.read(CHUNK_BYTES):
                    position += len(data)
                    failures = 0
                    yield data
                return
            except BotoCoreError as exc:  # those of reading the body; all others are explained already
                error = explain(exc, self.url(entry), self.doing)
                failures += 1
                if failures > self._access.retries:
                    raise RetriableError(f"{error} (at byte {position})") from exc
                log.warning("the connection broke; going on", error=str(error), position=position)
                time.sleep(self._access.backoff_ms / 1000 * failures)


class Content:
    """What is in an object, decompressed. `compression` None: it shows in how the object begins.

    Libraries that read it as a file wrap what they do not know: `failure` is what kept it from being read.
    """

    def __init__(self, bucket: SourceBucket, entry: Entry, compression: str | None) -> None:
        self._bucket = bucket
        self.entry = entry
        self._compression = compression
        self.failure: ConnectError | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is not compressed, so that reading may begin anywhere. Known once reading has begun."""
        return self._compression == "none"

    def chunks(self, position: int = 0) -> Iterator[bytes]:
        """The bytes, from `position` on where it is plain; raises like `SourceBucket.chunks`."""
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


def _millis(moment: Any) -> int:
    return int(moment.timestamp() * 1000)
