"""Which files of a directory are to be read now, in which order."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import structlog

from connect.api import ConnectError
from connectors.files.directory.settings import Places

log = structlog.get_logger(__name__)

_ATTRIBUTES: Final[dict[str, Callable[["FoundFile"], Any]]] = {
    "name": lambda file: file.name,
    "length": lambda file: file.length,
    "modified": lambda file: file.modified_ns,
}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it was when it was listed. `name` is its path below the input directory, with slashes."""

    path: Path
    name: str
    length: int
    modified_ns: int

    @property
    def modified_ms(self) -> int:
        return self.modified_ns // 1_000_000


def files(places: Places) -> Sequence[FoundFile]:
    """The files that this task has to read, in order. Raises `ConnectError` if the directory is not there."""
    oldest_ns = time.time_ns() - places.minimum_age_ms * 1_000_000
    found = [
        file
        for file in _walk(places, places.input)
        if file.modified_ns <= oldest_ns and crc32(file.name.encode()) % places.tasks == places.task
    ]
    for attribute, descending in reversed(places.order):
        found.sort(key=_ATTRIBUTES[attribute], reverse=descending)
    return found


def _walk(places: Places, folder: Path) -> Iterator[FoundFile]:
    for entry in _entries(places, folder):
        if entry.is_dir(follow_symlinks=False):
            path = Path(entry.path)
            if places.recursive and path not in (places.finished, places.failed):
                yield from _walk(places, path)
        elif places.pattern.fullmatch(entry.name) and not _is_mark(places, entry.name):
            try:
                if not entry.is_file():
                    continue
                status = entry.stat()
            except FileNotFoundError:  # gone since the directory was read
                continue
            path = Path(entry.path)
            name = path.relative_to(places.input).as_posix()
            yield FoundFile(path, name, status.st_size, status.st_mtime_ns)


def _entries(places: Places, folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        if folder == places.input:
            raise ConnectError(f"cannot read directory {folder}: {exc.strerror}") from exc
        if not isinstance(exc, FileNotFoundError):
            log.warning("cannot read a directory, its files wait", directory=str(folder), error=exc.strerror)
        return []


def _is_mark(places: Places, name: str) -> bool:
    """SpoolDir's own marks of files that it was reading when it was stopped."""
    return places.skipped_suffix is not None and name.endswith(places.skipped_suffix)
