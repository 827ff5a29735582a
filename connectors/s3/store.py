"""What the sink and the source need of a store of objects, whichever it is.

S3 itself is spoken to by boto3, Google Cloud Storage and Azure by obstore, folders by the file system
(`stores/`).
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import structlog

from connect.api import ConnectError, FieldError, RetriableError
from connectors.s3.access import Access

log = structlog.get_logger(__name__)

PAGE: Final = 1000
CHUNK_BYTES: Final = 256 << 10


class ObjectExistsError(ConnectError):
    """There is an object of this key already, and it must not be overwritten."""


class RefusedError(ConnectError):
    """The store will not do it until somebody changes something: makes a bucket, gives a permission."""


class DeniedError(RefusedError):
    """Whoever asks may not do it."""


class UploadLostError(ConnectError):
    """The store no longer knows a multipart upload: its parts are gone."""


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


class Bucket(ABC):
    """A bucket, or what is like one. May be used from several threads.

    Every method raises `RetriableError` when trying again later may help, else `RefusedError`, with a
    sentence that names the object and the cause. An object is there as a whole or not at all.
    """

    def __init__(self, access: Access, doing: str) -> None:
        """`doing` is read or write, for errors."""
        self.name = access.bucket
        self._access = access
        self._doing = doing

    @abstractmethod
    def url(self, key: str) -> str:
        """The object, for errors; with "" the bucket."""

    @abstractmethod
    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        """Write an object at once; raises `ObjectExistsError`."""

    @abstractmethod
    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of an object."""

    @abstractmethod
    def start_upload(self, key: str, *, if_absent: bool) -> str:
        """Begin a multipart upload; its id. One that a killed task left for this key is given up, where the
        store can tell. `if_absent` as when it is completed."""

    @abstractmethod
    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Write a part, numbered from 1; its ETag. Raises `UploadLostError`."""

    @abstractmethod
    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str], *, if_absent: bool) -> None:
        """Make the object of its parts; raises `ObjectExistsError`, `UploadLostError`."""

    @abstractmethod
    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give up an upload; what cannot be cleaned up is logged."""

    @abstractmethod
    def metadata(self, key: str) -> Mapping[str, str] | None:
        """The metadata of an object; None if there is none of this key."""

    @abstractmethod
    def page(self, prefix: str, after: str = "") -> list[Entry]:
        """The next objects below `prefix` in the order of their keys, behind `after`; none at the end."""

    @abstractmethod
    def read(self, entry: Entry, position: int, count: int) -> bytes:
        """Some bytes; raises `ObjectGoneError`, `ObjectChangedError`."""

    @abstractmethod
    def open(self, entry: Entry, position: int) -> Iterator[bytes]:
        """The bytes from `position` on, piece by piece; raises like `read`. Getting one raises
        `RetriableError` where the connection broke."""

    def look(self) -> None:
        """Raises what keeps the bucket from being used."""
        self.page("")

    def check_absent(self, key: str) -> None:
        """Raises `ObjectExistsError` if there is an object of this key."""
        if self.metadata(key) is not None:
            raise ObjectExistsError(f"cannot write {self.url(key)}: it exists already")

    def chunks(self, entry: Entry, position: int = 0) -> Iterator[bytes]:
        """As `open`. A connection that breaks is made anew at the byte where it broke; raises
        `RetriableError` when that does not help."""
        failures = 0
        while position < entry.size:
            pieces = self.open(entry, position)
            try:
                for data in pieces:
                    position += len(data)
                    failures = 0
                    yield data
                return
            except RetriableError as exc:
                failures += 1
                if failures > self._access.retries:
                    raise RetriableError(f"{exc} (at byte {position})") from exc
                log.warning("the connection broke; going on", error=str(exc), position=position)
                time.sleep(self._access.backoff_ms / 1000 * failures)


class Pages:
    """Pages of a listing that can be walked through but not begun anywhere without looking at all before."""

    def __init__(self, walk: Callable[[str, str], Iterator[Entry]]) -> None:
        self._walk = walk
        self._rest: Iterator[Entry] = iter(())
        self._stands_at: tuple[str, str] | None = None

    def page(self, prefix: str, after: str) -> list[Entry]:
        """As `Bucket.page`; a listing that goes on where the last one stopped costs what it lists."""
        rest = self._walk(prefix, after)
        if self._stands_at == (prefix, after):
            rest, self._stands_at = self._rest, None  # after an error it begins anew
        page = list(islice(rest, PAGE))
        if len(page) == PAGE:  # a look at a few siblings does not disturb the listing
            self._rest, self._stands_at = rest, (prefix, page[-1].key)
        return page


def open_bucket(access: Access, doing: str = "write") -> Bucket:
    """The bucket that `access` names. Nothing is sent before it is used."""
    if access.location is None:
        from connectors.s3.stores.s3 import S3Bucket

        return S3Bucket(access, doing)
    if access.location.scheme == "file":
        from connectors.s3.stores.local import LocalBucket

        return LocalBucket(access, access.location, doing)
    from connectors.s3.stores.cloud import CloudBucket  # loads obstore: nobody else pays for it

    return CloudBucket(access, access.location, doing)


def problems_of(access: Access, doing: str = "write") -> Iterable[FieldError]:
    """What is wrong with the bucket or the credentials, with the setting to look at."""
    if access.location is None:
        from connectors.s3.stores.s3 import problems_of as problems_of_s3

        yield from problems_of_s3(access, doing)
        return
    try:
        open_bucket(access, doing).look()
    except ConnectError as exc:
        yield FieldError(access.names.bucket, str(exc))
