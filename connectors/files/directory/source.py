"""The records of the files of a directory, a file after the other.

Source partition `{"fileName": …}`, the file's path below the input directory; offset `{"offset": n}`, the
lines or records read so far, with `lastModified` beside it: a file of the same name that was changed later is
another file and read from its start, so a name may be used again and again. When a file is at its end, its
offset says so (`finished`); once that is committed, and so all its records are, the file is moved or deleted.
A crash at any point leaves the file where it is until its records are safe.
"""

import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import structlog

from connect.api import (
    ConnectError,
    DataError,
    Header,
    RetriableError,
    Schema,
    SchemaType,
    SourceRecord,
    SourceTask,
    SourceTaskContext,
)
from connect.api.schemas import INT64, STRING, TIMESTAMP
from connectors.files.directory.cleanup import finish, set_aside
from connectors.files.directory.listing import FoundFile, files
from connectors.files.directory.settings import Cleanup, DirectoryConfig, Settings, TimestampMode
from connectors.readers import DAMAGE, Row, decompressed

log = structlog.get_logger(__name__)

FILE_NAME: Final = "fileName"
OFFSET: Final = "offset"
LAST_MODIFIED: Final = "lastModified"
FINISHED: Final = "finished"
FAILED: Final = "failed"
WAIT_S_MAX: Final = 0.5
_TIMESTAMP: Final = Schema(SchemaType.INT64, name=TIMESTAMP, version=1)

Offset = Mapping[str, Any]


@dataclass(slots=True)
class _OpenFile:
    """`position` is behind the last row that was handed out."""

    file: FoundFile
    rows: Generator[Row, None, None]
    position: int
    partition: Mapping[str, str]
    headers: Sequence[Header]


@dataclass(frozen=True, slots=True)
class _ReadFile:
    """A file that is read, as far as it can be, and is to be moved once its offset is committed."""

    file: FoundFile
    offset: Offset


class DirectorySourceTask(SourceTask[DirectoryConfig]):
    _current: _OpenFile | None = None

    def start(self, context: SourceTaskContext, config: DirectoryConfig) -> None:
        self._context = context
        self._settings: Settings = config.settings()
        self._queue: deque[FoundFile] = deque()
        self._next_look_s = 0.0
        self._trouble: ConnectError | None = None
        self._now_ms = 0
        self._process_time = self._settings.timestamp_mode is TimestampMode.PROCESS_TIME
        # By name: files that wait for the commit of their offset, those whose turn it is to be moved, and
        # offsets of this run, which count more than those stored before it.
        self._read: dict[str, _ReadFile] = {}
        self._due: dict[str, _ReadFile] = {}
        self._offsets: dict[str, Offset] = {}

    def poll(self) -> Sequence[SourceRecord]:
        stuck = self._clean_up()
        self._raise_trouble()
        self._now_ms = time.time_ns() // 1_000_000
        records: list[SourceRecord] = []
        while len(records) < self._settings.batch_size and self._trouble is None:
            if self._context.stopping or (self._current is None and not self._open_next()):
                break
            self._read_rows(records)
        if not records and stuck is not None:
            raise stuck
        if not records and self._trouble is None:
            self._context.wait(max(0.0, min(self._next_look_s - time.monotonic(), WAIT_S_MAX)))
        return records

    def commit(self, offsets: Sequence[tuple[Mapping[str, Any], Offset]]) -> None:
        for partition, offset in offsets:
            name = partition.get(FILE_NAME, "")
            read = self._read.get(name)
            if read is not None and read.offset == offset:
                self._due[name] = self._read.pop(name)
        self._clean_up()

    def stop(self) -> None:
        if self._current is not None:
            self._current.rows.close()

    def _raise_trouble(self) -> None:
        """What stood in the way of the last poll, whose records had to be handed out first."""
        trouble = self._trouble
        if trouble is not None:
            if isinstance(trouble, RetriableError):
                self._trouble = None
            raise trouble

    def _open_next(self) -> bool:
        """Open the next file that is not read yet; False if there is none now."""
        now = time.monotonic()
        if not self._queue and now >= self._next_look_s:
            self._queue.extend(files(self._settings.places))
            self._next_look_s = now + self._settings.wait_ms / 1000
        while self._queue and self._current is None:
            self._open(self._queue.popleft())
        return self._current is not None

    def _open(self, file: FoundFile) -> None:
        if file.name in self._read or file.name in self._due:
            return
        partition = {FILE_NAME: file.name}
        offset = self._offsets.get(file.name) or self._context.offset(partition) or {}
        if offset.get(LAST_MODIFIED, file.modified_ms) != file.modified_ms:
            offset = {}
        if offset.get(FINISHED):
            if (
                file.name not in self._offsets
            ):  # committed in an earlier run, which could not move it any more
                self._offsets[file.name] = offset
                self._due[file.name] = _ReadFile(file, offset)
            return
        after = int(offset.get(OFFSET, 0))
        self._current = _OpenFile(file, self._rows(file, after), after, partition, self._headers_of(file))

    def _rows(self, file: FoundFile, after: int) -> Generator[Row, None, None]:
        with file.path.open("rb") as raw, decompressed(raw, file.name) as stream:
            yield from self._settings.reader.rows(stream, after)

    def _read_rows(self, records: list[SourceRecord]) -> None:
        """Rows of the open file, until the batch is full or there is no more."""
        current, batch_size = self._current, self._settings.batch_size
        assert current is not None, "a file is open"
        try:
            for row in current.rows:
                if row.error is None:
                    records.append(self._record(current, row))
                else:
                    self._report(current, row)
                current.position = row.position
                if len(records) >= batch_size:
                    return
        except FileNotFoundError:  # somebody took it
            self._current = None
        except DAMAGE as exc:
            self._stumble(current, exc)
        except ConnectError as exc:  # a row that is not tolerated
            self._fail(current, exc)
        else:
            self._end(current, {FINISHED: True})

    def _stumble(self, current: _OpenFile, exc: Exception) -> None:
        """The file cannot be read on."""
        error = DataError(f"{current.file.path}: {exc or type(exc).__name__}")
        if isinstance(exc, OSError) and exc.errno is not None and not isinstance(exc, PermissionError):
            self._current = None  # not its fault: it is listed, and read on, again
            self._trouble = RetriableError(f"cannot read {current.file.path}: {exc.strerror}")
            return
        self._fail(current, error)

    def _fail(self, current: _OpenFile, error: ConnectError) -> None:
        if self._settings.halt_on_error:
            self._current = None
            self._trouble = error
            error.add_note(
                f"{current.file.path} stays where it is and is read again when the task starts: mend or "
                "remove it, or set halt.on.error=false to have such files set aside, or errors.tolerance=all"
            )
            return
        log.error(
            "a file cannot be read to its end and is set aside",
            file=str(current.file.path), position=current.position, error=str(error.__cause__ or error),
        )  # fmt: skip
        self._end(current, {FINISHED: True, FAILED: True})

    def _end(self, current: _OpenFile, how: Offset) -> None:
        """All of a file's records are handed out: have its offset committed."""
        file = current.file
        offset = {OFFSET: current.position, LAST_MODIFIED: file.modified_ms, **how}
        self._read[file.name] = _ReadFile(file, offset)
        self._offsets[file.name] = offset
        self._context.advance(current.partition, offset)
        current.rows.close()
        self._current = None

    def _clean_up(self) -> RetriableError | None:
        """Move the files whose records are all committed; what stands in the way of one that cannot be."""
        stuck: RetriableError | None = None
        for name, read in list(self._due.items()):
            try:
                self._move(read)
            except OSError as exc:
                stuck = RetriableError(
                    f"all of {read.file.path} is committed, but it cannot be moved or deleted: {exc}"
                )
            else:
                del self._due[name]
                self._forget(name)
        return stuck

    def _move(self, read: _ReadFile) -> None:
        path, places = read.file.path, self._settings.places
        try:
            modified_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            log.warning("a file that has been read is not there any more", file=str(path))
            return
        if modified_ns != read.file.modified_ns:
            log.warning(
                "a file was changed while it was read and is read again from its start: set "
                "file.minimum.age.ms, or have files appear under their names when they are whole",
                file=str(path),
            )
        elif read.offset.get(FAILED):
            set_aside(places, read.file)
        else:
            finish(places, read.file)

    def _forget(self, name: str) -> None:
        """What is kept of a file that is done: only what its stored offset does not say."""
        stays = self._settings.places.cleanup is Cleanup.NONE
        stored = self._context.offset({FILE_NAME: name})
        if not stays and (stored is None or LAST_MODIFIED in stored):
            del self._offsets[name]

    def _report(self, current: _OpenFile, row: Row) -> None:
        """Have `errors.tolerance` decide about a row that is no record; raises `ConnectError` if it may not
        be left out."""
        piece = SourceRecord(
            current.partition,
            {OFFSET: row.position, LAST_MODIFIED: current.file.modified_ms},
            self._settings.topic,
            row.value,
        )
        self._context.report_errant(piece, DataError(f"{current.file.path}, {row.error}"))

    def _record(self, current: _OpenFile, row: Row) -> SourceRecord:
        settings, file = self._settings, current.file
        key_schema, key = (None, None) if settings.key_of is None else settings.key_of(row.schema, row.value)
        return SourceRecord(
            current.partition,
            {OFFSET: row.position, LAST_MODIFIED: file.modified_ms},
            settings.topic,
            row.value,
            value_schema=row.schema,
            key=key,
            key_schema=key_schema,
            timestamp_ms=self._now_ms if self._process_time else self._timestamp(file, row),
            headers=(*current.headers, Header("file.offset", INT64, row.position))
            if settings.headers
            else (),
        )

    def _timestamp(self, file: FoundFile, row: Row) -> int:
        mode = self._settings.timestamp_mode
        if mode is TimestampMode.FILE_TIME:
            return file.modified_ms
        if mode is TimestampMode.FIELD:
            found = row.value.get(self._settings.timestamp_field) if isinstance(row.value, dict) else None
            if isinstance(found, int):
                return found
        return self._now_ms

    def _headers_of(self, file: FoundFile) -> Sequence[Header]:
        """SpoolDir's, but for that of the offset."""
        if not self._settings.headers:
            return ()
        folder = PurePosixPath(file.name).parent.as_posix()
        return (
            Header("file.name", STRING, file.path.name),
            Header("file.name.without.extension", STRING, file.path.stem),
            Header("file.path", STRING, str(file.path)),
            Header("file.parent.dir.name", STRING, file.path.parent.name),
            Header("file.length", INT64, file.length),
            Header("file.last.modified", _TIMESTAMP, file.modified_ms),
            *([Header("file.relative.path", STRING, folder)] if self._settings.places.recursive else []),
        )
