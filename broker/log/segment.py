"""One segment: a `.log` file of whole batches one after the other, and its indexes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.log.index import Entry, offset_index, time_index
from broker.log.transactions import AbortedIndex
from broker.wire.batch import (
    HEADER_BYTES,
    MAGIC,
    NO_TIMESTAMP,
    BatchHeader,
    InvalidBatch,
    check_crc,
)

SCAN_BYTES = 1024 * 1024
LOOKUP_BYTES = 8 * 1024

RELATIVE_OFFSET_MAX = 2**31 - 1

SUFFIXES = (".log", ".index", ".timeindex", ".txnindex")
"""Of the files of a segment. The log is first: the others mean nothing without it."""

DELETED_SUFFIX = ".deleted"
CLEANED_SUFFIX = ".cleaned"
"""Of what compaction is still writing."""


class SegmentFile:
    """An open `.log` file. It is closed when the last slice that somebody still sends is gone."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`length` bytes of a segment from `position` on; they never change. `next_offset` follows them."""

    file: SegmentFile
    position: int
    length: int
    next_offset: int

    def read(self) -> bytes:
        return os.pread(self.file.fd, self.length, self.position)


class Segment:
    """`base_offset` names it; `size` is the bytes of whole batches; `next_offset` follows the last one."""

    __slots__ = (
        "_bytes_since_index",
        "_is_preallocated",
        "aborted",
        "base_offset",
        "created_ms",
        "file",
        "first_timestamp",
        "index_bytes",
        "index_interval_bytes",
        "max_timestamp",
        "max_timestamp_offset",
        "next_offset",
        "offset_index",
        "size",
        "time_index",
    )

    def __init__(
        self,
        directory: Path,
        base_offset: int,
        *,
        index_interval_bytes: int,
        create: bool,
        suffix: str = "",
    ) -> None:
        log, index, times, aborted = segment_paths(directory, base_offset, suffix)
        self.base_offset = base_offset
        self.file = SegmentFile(log, create=create)
        self.offset_index = offset_index(index)
        self.time_index = time_index(times)
        self.aborted = AbortedIndex(aborted)
        status = os.fstat(self.file.fd)
        self.size = status.st_size
        self.created_ms = int(status.st_mtime * 1000)
        """When it was made, or at the latest."""
        self.next_offset = base_offset
        self.first_timestamp = NO_TIMESTAMP
        self.max_timestamp = NO_TIMESTAMP
        self.max_timestamp_offset = base_offset
        self.index_interval_bytes = index_interval_bytes
        self.index_bytes = 0
        """The size that the larger index will have."""
        self._bytes_since_index = 0
        self._is_preallocated = False

    # --- writing ---

    def preallocate(self, size: int) -> None:
        """Have the file system set space aside. What is not used of it reads as zeros until `seal`."""
        os.posix_fallocate(self.file.fd, 0, size)
        self._is_preallocated = True

    def append(self, batch: memoryview, header: BatchHeader) -> None:
        """Write a batch whose offsets are assigned. OSError leaves the file as it was."""
        position = self.size
        written = 0
        try:
            while written < len(batch):
                written += os.pwrite(self.file.fd, batch[written:] if written else batch, position + written)
        except OSError:
            os.ftruncate(self.file.fd, position)
            raise
        self.add_to_indexes(position, header)
        self.size = position + written

    def add_to_indexes(self, position: int, header: BatchHeader) -> None:
        """Take note of a batch that is in the file at `position`."""
        if header.max_timestamp > self.max_timestamp:
            self.max_timestamp = header.max_timestamp
            self.max_timestamp_offset = header.base_offset
        if position == 0:
            self.first_timestamp = header.max_timestamp
        elif self._bytes_since_index > self.index_interval_bytes:
            self.offset_index.append(header.base_offset - self.base_offset, position)
            self.index_max_timestamp()
            self._bytes_since_index = 0
            # The time index gets one more entry when the segment is sealed.
            self.index_bytes = max(self.offset_index.size, self.time_index.size + self.time_index.entry_bytes)
        self._bytes_since_index += header.batch_bytes
        self.next_offset = header.last_offset + 1

    def index_max_timestamp(self) -> None:
        last = self.time_index.last()
        if self.max_timestamp > (last[0] if last else NO_TIMESTAMP):
            self.time_index.append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)

    def seal(self) -> None:
        """No more batches will come: the time index ends with the largest timestamp."""
        if self._is_preallocated:
            os.ftruncate(self.file.fd, self.size)
            self._is_preallocated = False
        self.index_max_timestamp()
        self.offset_index.flush()
        self.time_index.flush()
        self.aborted.flush()

    # --- opening ---

    @property
    def indexes_are_sane(self) -> bool:
        """Whether the index files can be what was written; `_batches_from` and searches look closer."""
        for index in (self.offset_index, self.time_index):
            if not index.is_whole:
                return False
        offset_entry, time_entry = self.offset_index.last(), self.time_index.last()
        if offset_entry and not (offset_entry[0] >= 0 and 0 < offset_entry[1] < self.size):
            return False
        return time_entry is None or time_entry[1] >= 0

    def resume_indexes(self, offset: int) -> int:
        """Forget what the indexes say of `offset` and later; the position of the last batch they keep.

        From there on the batches have to be added again (`add_to_indexes`).
        """
        if self.indexes_are_sane:
            self.offset_index.keep(self.offset_index.count_below(offset - self.base_offset, field=0))
        else:
            self.offset_index.keep(0)
        last = self.offset_index.last()
        try:
            for position, header in self._batches_from(last):
                if position == 0:
                    break
                self.next_offset = header.base_offset
                self.first_timestamp = next(self.batches(0))[1].max_timestamp
                kept = self.time_index.count_below(header.base_offset - self.base_offset, field=1)
                self.time_index.keep(kept)
                if self.load_max_timestamp():
                    return position
                break
        except InvalidBatch:
            pass  # then the indexes are made anew, and the reading will find what is wrong
        self._forget_indexes()
        return 0

    def trust(self, next_offset: int) -> None:
        """Take a sealed segment as it is on disk. Raises InvalidBatch when it is damaged."""
        self.next_offset = next_offset
        if self.size and not (self.indexes_are_sane and self.load_max_timestamp()):
            self.rebuild_indexes()

    def load_max_timestamp(self) -> bool:
        """Take the largest timestamp from the time index; False when that cannot be true."""
        newest = self.time_index.last()
        if newest is None:
            return False
        self.max_timestamp, self.max_timestamp_offset = newest[0], self.base_offset + newest[1]
        try:
            self.check_time_entry(newest)
        except InvalidBatch:
            return False
        return True

    def check_time_entry(self, entry: Entry) -> tuple[int, BatchHeader]:
        """The position and header of the batch that the entry is about. Raises InvalidBatch if it lies."""
        timestamp, relative_offset = entry
        found = self.position_of(self.base_offset + relative_offset)
        if found is None or found[1].max_timestamp != timestamp:
            raise InvalidBatch(f"the time index is wrong about offset {self.base_offset + relative_offset}")
        return found

    def rebuild_indexes(self) -> None:
        """Make the indexes anew from the headers. Raises InvalidBatch when the segment is damaged."""
        next_offset = self.next_offset
        self._forget_indexes()
        for position, header in self.batches(0):
            self.add_to_indexes(position, header)
        self.index_max_timestamp()
        self.next_offset = max(self.next_offset, next_offset)

    def _forget_indexes(self) -> None:
        self.offset_index.clear()
        self.time_index.clear()
        self.next_offset = self.base_offset
        self.max_timestamp, self.max_timestamp_offset = NO_TIMESTAMP, self.base_offset
        self.index_bytes = self._bytes_since_index = 0

    # --- reading ---

    def batches(
        self, position: int, end: int | None = None, *, verify: bool = False, chunk_bytes: int = SCAN_BYTES
    ) -> Iterator[tuple[int, BatchHeader]]:
        """Positions and headers of the batches from `position` (a batch's start) on.

        Raises InvalidBatch where something is not a whole batch; with `verify` the CRC counts, too.
        """
        end = self.size if end is None else end
        chunk, chunk_start = memoryview(b""), position
        while position < end:
            have = chunk_start + len(chunk) - position
            need = HEADER_BYTES
            if have >= need:
                header = BatchHeader(chunk, position - chunk_start)
                if header.batch_bytes < HEADER_BYTES or header.magic != MAGIC or header.last_offset_delta < 0:
                    raise InvalidBatch(f"no batch header at position {position}")
                if not self.base_offset <= header.base_offset <= self.base_offset + RELATIVE_OFFSET_MAX:
                    raise InvalidBatch(f"offset {header.base_offset} at position {position} is not of here")
                batch_end = position + header.batch_bytes
                if batch_end > end:
                    raise InvalidBatch(f"the batch at position {position} is cut")
                need = header.batch_bytes if verify else HEADER_BYTES
                if have >= need:
                    if verify:
                        start = position - chunk_start
                        check_crc(chunk[start : start + need], header)
                    yield position, header
                    position = batch_end
                    if position > chunk_start + len(chunk):
                        chunk, chunk_start = memoryview(b""), position
                    continue
            size = min(max(need, chunk_bytes), end - position)
            chunk, chunk_start = memoryview(os.pread(self.file.fd, size, position)), position
            if len(chunk) < need:
                raise InvalidBatch(f"{len(chunk)} bytes at position {position} are too few for a batch")

    def position_of(self, offset: int) -> tuple[int, BatchHeader] | None:
        """Where the batch that has `offset` starts, or the first one after it; None beyond the end."""
        entry = self.offset_index.floor(offset - self.base_offset, field=0)
        for position, header in self._batches_from(entry):
            if header.last_offset >= offset:
                return position, header
        return None

    def _batches_from(self, entry: Entry | None) -> Iterator[tuple[int, BatchHeader]]:
        """The batches from an entry of the offset index on, which is not believed blindly."""
        relative_offset, start = entry or (None, 0)
        for position, header in self.batches(start, chunk_bytes=LOOKUP_BYTES):
            if position == start and relative_offset not in (None, header.base_offset - self.base_offset):
                raise InvalidBatch(f"the index is wrong about position {position}")
            yield position, header

    def whole_batches_end(self, start: int, limit: int) -> tuple[int, int]:
        """The end of the last batch that ends at `limit` or before, and the offset after it.

        `start` is a batch's position. When not even that batch fits, its end counts.
        """
        entry = self.offset_index.floor(limit, field=1)
        if entry is not None and entry[1] > start:
            batches, end = self._batches_from(entry), entry[1]
        else:
            batches, end = self.batches(start, chunk_bytes=LOOKUP_BYTES), start
        next_offset = -1
        for position, header in batches:
            batch_end = position + header.batch_bytes
            if batch_end > limit and position > start:
                return position, header.base_offset
            end, next_offset = batch_end, header.last_offset + 1
            if batch_end > limit:
                break
        return end, next_offset

    def take_final_names(self) -> None:
        """The files have lost the suffix that they were opened with."""
        log, index, times, aborted = segment_paths(self.file.path.parent, self.base_offset)
        self.file.path = log
        self.offset_index.path = index
        self.time_index.path = times
        self.aborted.path = aborted

    def unlink(self) -> None:
        """Remove the files; slices that are being sent stay readable."""
        for path in segment_paths(self.file.path.parent, self.base_offset):
            path.unlink(missing_ok=True)


def segment_paths(directory: Path, base_offset: int, suffix: str = "") -> list[Path]:
    """The files of a segment, as `SUFFIXES`; `suffix` is what follows in their names."""
    return [directory / f"{base_offset:020d}{kind}{suffix}" for kind in SUFFIXES]
