"""FileStreamSink: the values of records appended to one text file, a line each.

A value is written as Kafka writes it, as Java's `toString` would show it; bytes are written as they are.
Offsets are committed after fsync, so no line is lost. After a crash the lines written since the last
commit come again (at least once), and a line that the crash cut short stays as a line of its own.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Final

from connect.api import ConnectError, RetriableError, SinkRecord, SinkTask, SinkTaskContext, TopicPartition
from connect.api.java_text import java_text
from connectors.files.config import FileStreamSinkConfig

STANDARD_OUTPUT: Final = 1


class FileStreamSinkTask(SinkTask[FileStreamSinkConfig]):
    _path: str | None = None

    def start(self, context: SinkTaskContext, config: FileStreamSinkConfig) -> None:
        self._fd = STANDARD_OUTPUT if config.file is None else _open(config.file)
        self._path = config.file
        # So that the next line does not continue one that was cut short.
        self._line_is_open = config.file is not None and _ends_within_a_line(self._fd)

    def put(self, records: Sequence[SinkRecord]) -> None:
        if not records:
            return
        lines = [line_of(record) for record in records]
        lines.append(b"")
        self._write(b"\n".join(lines))

    def flush(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._path is None:
            return
        try:
            os.fsync(self._fd)
        except OSError as exc:
            # After a failed fsync the kernel forgets what it could not write: only new writes help.
            raise ConnectError(f"cannot sync file {self._path}: {exc.strerror}") from exc

    def stop(self) -> None:
        if self._path is not None:
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        if self._line_is_open:
            data = b"\n" + data
        rest = memoryview(data)
        try:
            while rest:
                written = os.write(self._fd, rest)
                self._line_is_open = rest[written - 1] != ord("\n")
                rest = rest[written:]
        except OSError as exc:
            where = "the standard output" if self._path is None else f"file {self._path}"
            raise RetriableError(f"cannot write to {where}: {exc.strerror}") from exc


def line_of(record: SinkRecord) -> bytes:
    """The value as Kafka writes it."""
    value = record.value
    if type(value) is str:
        return value.encode("utf-8", "replace")
    if type(value) is bytes:
        return value
    return java_text(record.value_schema, value).encode("utf-8", "replace")


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        why = f"Couldn't find or create file '{path}' for FileStreamSinkTask: {exc.strerror}"
        raise ConnectError(why) from exc


def _ends_within_a_line(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"
