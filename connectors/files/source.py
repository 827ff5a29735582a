"""FileStreamSource: the lines of one growing text file, each a record.

What counts as a line is Kafka's rule: it ends with LF, CR LF or a lone CR; a last line without its end
waits for it. Offsets are `{"filename": f}` → `{"position": n}`, n in bytes, just behind the line's end.
Without a file it is the standard input of a standalone worker; f and n are null then, as in Kafka.

A value is a str. Bytes that are not UTF-8 become visible escapes (`\\xff`) rather than U+FFFD as in
Kafka, so that nothing is lost in silence.

The offset has no room for the identity of the file (Kafka's format): a file that was replaced while the
task was down is recognised only when it is shorter than the stored position.
"""

import os
import stat
import time
from collections.abc import Sequence
from typing import Final

import structlog

from connect.api import ConnectError, RetriableError, SourceRecord, SourceTask, SourceTaskContext
from connect.api.schemas import STRING
from connectors.files.config import NO_STANDARD_INPUT, FileStreamSourceConfig
from connectors.files.standard_input import StandardInput, has_standard_input

log = structlog.get_logger(__name__)

FILENAME: Final = "filename"
POSITION: Final = "position"

BLOCK_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 64 << 20
# At the end of the file the pauses between two looks grow from one to the other.
PAUSE_S_MIN: Final = 0.005
PAUSE_S_MAX: Final = 0.1
# A writer may go on in a renamed file until it is told to open the new one.
RENAMED_QUIET_S: Final = 1.0


class FileStreamSourceTask(SourceTask[FileStreamSourceConfig]):
    _file: "FollowedFile | StandardInput | None" = None

    def start(self, context: SourceTaskContext, config: FileStreamSourceConfig) -> None:
        if not config.file and not has_standard_input():
            raise ConnectError(NO_STANDARD_INPUT)
        self._context = context
        self._topic = config.topic
        self._batch_size = max(1, config.batch_size)  # Kafka reads one line at a time for 0
        self._source_partition = {FILENAME: config.file or None}
        self._has_positions = bool(config.file)
        if config.file:
            self._file = FollowedFile(config.file, self._stored_position())
        else:
            self._file = StandardInput()
        self._lines: Sequence[bytes] = ()
        self._taken = 0
        self._position = 0
        self._pause_s = PAUSE_S_MIN

    def poll(self) -> Sequence[SourceRecord]:
        assert self._file is not None, "poll before start"
        if self._taken == len(self._lines):
            self._position, self._lines = self._file.read_lines()
            self._taken = 0
            if not self._lines:
                self._context.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
                return ()
            self._pause_s = PAUSE_S_MIN
        lines = self._lines[self._taken : self._taken + self._batch_size]
        self._taken += len(lines)
        return self._records(lines)

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    def _stored_position(self) -> int:
        stored = self._context.offset(self._source_partition)
        position = stored.get(POSITION) if stored else None
        if position is None:
            return 0
        if not isinstance(position, int):
            raise ConnectError(f"the stored offset {stored} of {self._source_partition} has no whole number")
        return position

    def _records(self, lines: Sequence[bytes]) -> list[SourceRecord]:
        source_partition, topic, now_ms = self._source_partition, self._topic, int(time.time() * 1000)
        position, has_positions = self._position, self._has_positions
        records = []
        for line in lines:
            position += len(line)
            value = str(line, "utf-8", "backslashreplace").rstrip("\r\n")
            records.append(
                SourceRecord(
                    source_partition,
                    {POSITION: position if has_positions else None},
                    topic,
                    value,
                    value_schema=STRING,
                    timestamp_ms=now_ms,
                )
            )
        self._position = position
        return records


class FollowedFile:
    """A file that grows, is truncated, renamed away and made anew, or is not there yet."""

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._start = position  # where to begin in the file that is opened next
        self._fd: int | None = None
        self._read = 0  # bytes read of the open file
        self._rest = b""  # of them, the last ones: a line whose end has not been seen
        self._missing_told = False
        self._renamed_quiet_since: float | None = None

    def read_lines(self) -> tuple[int, list[bytes]]:
        """The position of the first line, and the next lines with their ends; none if there are none."""
        if self._fd is None and not self._open():
            return 0, []
        while block := self._read_block():
            position = self._read - len(self._rest)
            lines = self._add(block)
            if lines:
                return position, lines
        return self._at_end()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            if not self._missing_told:
                self._missing_told = True
                log.warning("the file is not there; waiting for it", file=self._path)
            return False
        except OSError as exc:
            raise ConnectError(f"cannot read file {self._path}: {exc.strerror}") from exc
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ConnectError(f"cannot read file {self._path}: it is not a regular file")
        if status.st_size < self._start:
            log.warning(
                "the file is shorter than the stored offset, so it was truncated or replaced; "
                "reading it from its start",
                file=self._path, position=self._start, size=status.st_size,
            )  # fmt: skip
            self._start = 0
        self._fd = fd
        self._read, self._rest, self._start = self._start, b"", 0
        self._missing_told = False
        self._renamed_quiet_since = None
        return True

    def _add(self, block: bytes) -> list[bytes]:
        """The lines that this block completes, with their ends."""
        self._renamed_quiet_since = None
        self._read += len(block)
        lines = (self._rest + block).splitlines(keepends=True)
        # A CR at the very end may be half of CR LF.
        self._rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if len(self._rest) > LINE_BYTES_MAX:
            raise ConnectError(
                f"the line at byte {self._read - len(self._rest)} of {self._path} is longer than "
                f"{LINE_BYTES_MAX} bytes, the most that is read as one line"
            )
        return lines

    def _read_block(self) -> bytes:
        assert self._fd is not None
        try:
            return os.pread(self._fd, BLOCK_BYTES, self._read)
        except OSError as exc:
            raise RetriableError(f"cannot read file {self._path} at {self._read}: {exc.strerror}") from exc

    def _at_end(self) -> tuple[int, list[bytes]]:
        """Nothing more to read for now: look whether the file is still the one of its name."""
        assert self._fd is not None
        status = os.fstat(self._fd)
        if status.st_size < self._read:
            log.warning("the file was truncated; reading it from its start", file=self._path)
            self._read, self._rest = 0, b""
            return 0, []
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return 0, []  # the old one may still be written to until the new one is there
        if os.path.samestat(status, named):
            self._renamed_quiet_since = None
            return 0, []
        return self._leave_renamed()

    def _leave_renamed(self) -> tuple[int, list[bytes]]:
        now = time.monotonic()
        if self._renamed_quiet_since is None:
            self._renamed_quiet_since = now
        if now - self._renamed_quiet_since < RENAMED_QUIET_S:
            return 0, []
        log.info("the file was replaced; going on in the new one", file=self._path)
        position, rest = self._read - len(self._rest), self._rest
        self.close()
        return position, [rest] if rest else []
