"""A folder of the local file system as a bucket.

An object is written beside its folder's names, in `.uploads`, and synced to the disk before it gets its own
name: by a rename, or by a link where there must be none of that name yet. So a file is there as a whole or
not at all, whatever is killed or loses its power when.
"""

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import structlog

from connect.api import ConnectError, RetriableError
from connectors.s3.access import Access
from connectors.s3.locations import Location
from connectors.s3.store import (
    CHUNK_BYTES,
    Bucket,
    DeniedError,
    Entry,
    ObjectChangedError,
    ObjectExistsError,
    ObjectGoneError,
    Pages,
    RefusedError,
    UploadLostError,
)
from connectors.s3.stores.in_order import Uploads

log = structlog.get_logger(__name__)
T = TypeVar("T")

_UPLOADS: Final = ".uploads"
_ABANDONED_S: Final = 7 * 86400
_ATTRIBUTE: Final = "user."  # what a file system gives to programs: xattr(7)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ESTALE)


class LocalBucket(Bucket):
    def __init__(self, access: Access, location: Location, doing: str) -> None:
        super().__init__(access, doing)
        self._root = Path(location.bucket)
        self._pages = Pages(self._walk)
        self._uploads: Uploads[Path] = Uploads()

    def url(self, key: str) -> str:
        return f"file://{self._root}/{key}"

    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        def write() -> None:
            waiting = self._new_upload(key)
            try:
                _append(waiting, data)
                for name, value in metadata.items():
                    os.setxattr(waiting, _ATTRIBUTE + name, value.encode())
                self._publish(key, waiting, if_absent)
            finally:
                waiting.unlink(missing_ok=True)

        try:
            self._perform(key, write)
        except ObjectGoneError as exc:
            raise RetriableError(_taken_away(self.url(key))) from exc

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        raise RefusedError(f"cannot tag {self.url(key)}: files have no tags")

    def start_upload(self, key: str, *, if_absent: bool) -> str:
        return self._uploads.add(self._perform(key, lambda: self._new_upload(key)))

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        try:
            with self._uploads.turn(upload_id, number, self.url(key)) as waiting:
                self._perform(key, lambda: _append(waiting, data))
        except ObjectGoneError as exc:
            raise UploadLostError(_taken_away(self.url(key))) from exc
        return str(number)

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str], *, if_absent: bool) -> None:
        waiting = self._uploads.get(upload_id, self.url(key))
        try:
            self._perform(key, lambda: self._publish(key, waiting, if_absent))
        except ObjectGoneError as exc:
            raise UploadLostError(_taken_away(self.url(key))) from exc
        self._uploads.forget(upload_id)

    def abort_upload(self, key: str, upload_id: str) -> None:
        waiting = self._uploads.forget(upload_id)
        try:
            if waiting is not None:
                waiting.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("cannot delete what was written of a file", file=str(waiting), error=str(exc))

    def metadata(self, key: str) -> Mapping[str, str] | None:
        path = self._path(key)

        def look() -> Mapping[str, str]:
            names = [name for name in os.listxattr(path) if name.startswith(_ATTRIBUTE)]
            return {name.removeprefix(_ATTRIBUTE): os.getxattr(path, name).decode() for name in names}

        try:
            return self._perform(key, look)
        except ObjectGoneError:
            return None

    def page(self, prefix: str, after: str = "") -> list[Entry]:
        return self._perform(prefix, lambda: self._pages.page(prefix, after))

    def read(self, entry: Entry, position: int, count: int) -> bytes:
        with self._opened(entry) as file:
            return self._bytes(entry, file, position, count)

    def open(self, entry: Entry, position: int) -> Iterator[bytes]:
        return self._pieces(entry, self._opened(entry), position)

    def look(self) -> None:
        super().look()
        needed = os.W_OK | os.X_OK if self._doing == "write" else os.R_OK | os.X_OK
        if not os.access(self._root, needed):
            raise DeniedError(f"cannot {self._doing} {self.url('')}: permission denied")

    def _pieces(self, entry: Entry, file: "_File", position: int) -> Iterator[bytes]:
        with file:
            while data := self._bytes(entry, file, position, CHUNK_BYTES):
                position += len(data)
                yield data

    def _bytes(self, entry: Entry, file: "_File", position: int, count: int) -> bytes:
        return self._perform(entry.key, lambda: os.pread(file.fileno(), count, position))

    def _opened(self, entry: Entry) -> "_File":
        path = self._path(entry.key)
        file = self._perform(entry.key, lambda: _File(path))
        if _etag(os.fstat(file.fileno())) != entry.etag:
            file.close()
            raise ObjectChangedError(f"{self.url(entry.key)} has changed")
        return file

    def _walk(self, prefix: str, after: str) -> Iterator[Entry]:
        """All files in the order of their keys."""
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "", str(self._root))
        parent = prefix.rpartition("/")[0]
        folder = self._root / parent
        if folder.is_dir():
            yield from _walk(folder, f"{parent}/" if parent else "", prefix, after)

    def _new_upload(self, key: str) -> Path:
        """A new file to write to. What was left of one of the same key is deleted, and what is a week old."""
        self._path(key)
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "", str(self._root))
        folder = self._root / _UPLOADS
        folder.mkdir(exist_ok=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        for left in folder.iterdir():
            if left.name.startswith(f"{name}-") or _age_s(left) > _ABANDONED_S:
                left.unlink(missing_ok=True)
        waiting = folder / f"{name}-{uuid.uuid4().hex}"
        waiting.touch()
        return waiting

    def _publish(self, key: str, waiting: Path, if_absent: bool) -> None:
        target = self._path(key)
        _sync(waiting)
        _make_folder(target.parent)
        if if_absent:
            os.link(waiting, target)
            waiting.unlink(missing_ok=True)
        else:
            waiting.replace(target)
        _sync(target.parent)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts) or parts[0] == _UPLOADS:
            raise RefusedError(f"cannot {self._doing} {self.url(key)}: a file cannot be called that")
        return self._root.joinpath(*parts)

    def _perform(self, key: str, request: Callable[[], T]) -> T:
        try:
            return request()
        except FileExistsError as exc:
            raise ObjectExistsError(f"cannot write {self.url(key)}: it exists already") from exc
        except FileNotFoundError as exc:
            if self._root.is_dir():
                raise ObjectGoneError(f"{self.url(key)} has been deleted") from exc
            why = f"the folder {self._root} does not exist; make it"
            raise RefusedError(f"cannot {self._doing} {self.url(key)}: {why}") from exc
        except OSError as exc:
            self._explain(key, exc)

    def _explain(self, key: str, exc: OSError) -> NoReturn:
        kind: type[ConnectError] = RefusedError
        why = exc.strerror or str(exc)
        if isinstance(exc, PermissionError):
            kind = DeniedError
        elif exc.errno in _FULL:
            kind = RetriableError
        elif exc.errno == errno.ENOTSUP:
            why = "the file system keeps no extended attributes, which writing new objects only needs"
        elif isinstance(exc, NotADirectoryError):
            why = "a file stands where one of its folders should be"
        raise kind(f"cannot {self._doing} {self.url(key)}: {why}") from exc


class _File:
    """An open file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _taken_away(what: str) -> str:
    return f"cannot write {what}: another task has begun to write it"


def _append(path: Path, data: bytes) -> None:
    # Not made anew where another task has deleted it: that would begin in the middle.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _walk(folder: Path, start: str, prefix: str, after: str) -> Iterator[Entry]:
    """The files in a folder whose keys begin with `start`."""
    with os.scandir(folder) as found:
        # A folder's slash takes part in the order of keys.
        entries = sorted(
            (f"{one.name}/" if one.is_dir(follow_symlinks=False) else one.name, one) for one in found
        )
    for name, one in entries:
        key = start + name
        if key == f"{_UPLOADS}/" or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            if key > after or after.startswith(key):
                yield from _walk(Path(one.path), key, prefix, after)
        elif key > after and one.is_file():
            try:
                stat = one.stat()
            except FileNotFoundError:
                continue  # deleted since
            yield Entry(key, _etag(stat), stat.st_size, stat.st_mtime_ns // 1_000_000)


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"
