"""A file sink whose files appear under their names when they are whole, a line for each value.

A file holds consecutive records of one partition and is named by the first one's offset. It grows as
`.NAME.part`; when it is full or old enough it is synced and renamed, and only then are its offsets committed.
After a crash the records come again from the offset after the last committed file, under the same names as
before: each record is in exactly one file, once.
"""

import gzip
import os
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import orjson

from connect.api import (
    ConnectError,
    JsonPayload,
    SinkRecord,
    SinkTask,
    SinkTaskContext,
    TopicPartition,
)
from connectors.files.rotating_config import RotatingFileSinkConfig
from connectors.files.sink import line_of
from connectors.readers import decompressed

_PART: Final = ".part"
_GZIP_LEVEL: Final = 6
_BLOCK_BYTES: Final = 1 << 20


class RotatingFileSinkTask(SinkTask[RotatingFileSinkConfig]):
    def __init__(self) -> None:
        self._open: dict[TopicPartition, _GrowingFile] = {}
        self._done: dict[TopicPartition, int] = {}  # the next offset after the last whole file

    def start(self, context: SinkTaskContext, config: RotatingFileSinkConfig) -> None:
        self._context = context
        self._config = config

    def put(self, records: Sequence[SinkRecord]) -> None:
        try:
            self._put(records)
        except OSError as exc:
            # What is in the open files now is not known; they are written anew from the committed offsets.
            raise ConnectError(f"cannot write to {self._config.output_path}: {exc}") from exc

    def _put(self, records: Sequence[SinkRecord]) -> None:
        for record in records:
            place = TopicPartition(record.original_topic, record.original_partition)
            file = self._open.get(place)
            if file is None:
                file = self._open[place] = self._begin(place, record.offset)
            file.add(line_of_value(record), record.offset)
            if self._is_full(file):
                self._finish(place)
        for place, file in list(self._open.items()):
            if self._is_old(file):
                self._finish(place)

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """What is in whole files; the rest comes again after a crash."""
        done, self._done = self._done, {}
        return done

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        for place in partitions:
            self._done.pop(place, None)
            if (file := self._open.pop(place, None)) is not None:
                file.drop()

    def stop(self) -> None:
        self.close(list(self._open))

    def _begin(self, place: TopicPartition, offset: int) -> "_GrowingFile":
        target = Path(self._config.output_path) / self._config.file_name(place.topic, place.partition, offset)
        return _GrowingFile(target, self._config.compression)

    def _is_full(self, file: "_GrowingFile") -> bool:
        config = self._config
        if file.records_before:
            return file.records >= file.records_before
        return (0 < config.max_records <= file.records) or (0 <= config.rotate_bytes <= file.size)

    def _is_old(self, file: "_GrowingFile") -> bool:
        interval_ms = self._config.rotate_interval_ms
        if file.records_before or interval_ms < 0:
            return False
        return time.monotonic() - file.began_s >= interval_ms / 1000

    def _finish(self, place: TopicPartition) -> None:
        file = self._open[place]
        file.finish()
        del self._open[place]
        self._done[place] = file.next_offset
        self._context.request_commit()


class _GrowingFile:
    """A file that is not whole yet.

    `records_before` are those of the file of this name that an earlier run completed, but could not commit:
    with as many in it again, all that follow have the same names again too. 0: there is none.
    """

    def __init__(self, target: Path, compression: str) -> None:
        self.target = target
        self.records = self.size = 0
        self.next_offset = -1
        self.records_before = _count_lines(target)
        self.began_s = time.monotonic()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._part = target.with_name(f".{target.name}{_PART}")
        self._raw = self._part.open("wb")
        self._out = _compressed(self._raw, compression)

    def add(self, line: bytes, offset: int) -> None:
        self._out.write(line + b"\n")
        self.records += 1
        self.size += len(line) + 1
        self.next_offset = offset + 1

    def finish(self) -> None:
        """Make it durable under its name, in the place of one of an earlier run."""
        self._out.close()
        self._raw.close()
        _sync(self._part)
        self._part.replace(self.target)
        _sync(self.target.parent)

    def drop(self) -> None:
        with suppress(OSError):  # it cannot be written, and need not be
            self._out.close()
        self._raw.close()
        self._part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as raw, decompressed(raw, path.name) as stream:
        blocks = iter(lambda: stream.read(_BLOCK_BYTES), b"")
        return sum(block.count(b"\n") for block in blocks)


def _compressed(raw: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0))
    if compression == "zstd":
        import pyarrow as pa  # loaded by those who need it: it is large

        return cast(BinaryIO, pa.CompressedOutputStream(pa.PythonFile(raw, mode="w"), "zstd"))
    return raw


def line_of_value(record: SinkRecord) -> bytes:
    """JSON as it is, on one line; maps, structs and arrays as JSON; else what FileStreamSink writes."""
    raw = record.raw_value
    if type(raw) is JsonPayload:
        json: bytes = raw.json
        return json if b"\n" not in json else orjson.dumps(orjson.loads(json))
    if isinstance(raw, dict | list):
        return orjson.dumps(raw, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    return line_of(record)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)  # Decimal, whose digits are kept
