"""Sparse index files of a segment, in Kafka's formats.

* `.index`: relative offset (i32) → position in the segment (i32), one entry per `index.interval.bytes`;
* `.timeindex`: the largest timestamp so far (i64) → relative offset (i32) of the batch that has it.

An index only makes a search shorter: it can be rebuilt from the segment at any time. New entries
gather in memory and reach the file in blocks, at a roll and at shutdown.
"""

import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

PENDING_BYTES_MAX = 4096

Entry = tuple[int, int]


class IndexFile:
    """Entries of two ascending integers. Both fields ascend, so either can be searched."""

    def __init__(self, path: Path, layout: str) -> None:
        self._path = path
        self._layout = struct.Struct(layout)
        self._pending = bytearray()
        self._stored_bytes = path.stat().st_size if path.exists() else 0

    @property
    def is_whole(self) -> bool:
        """Whether the file is a number of whole entries."""
        return self._stored_bytes % self._layout.size == 0

    def __len__(self) -> int:
        return (self._stored_bytes + len(self._pending)) // self._layout.size

    def append(self, first: int, second: int) -> None:
        self._pending += self._layout.pack(first, second)
        if len(self._pending) >= PENDING_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Move what gathered to the file; what the disk does not take stays in memory."""
        if not self._pending:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        try:
            written = os.pwrite(fd, self._pending, self._stored_bytes)
        except OSError:
            written = 0
        finally:
            os.close(fd)
        written -= written % self._layout.size
        self._stored_bytes += written
        del self._pending[:written]

    def last(self) -> Entry | None:
        return self._read(len(self) - 1) if len(self) else None

    def floor(self, value: int, *, field: int) -> Entry | None:
        """The last entry whose `field` (0 or 1) is not larger than `value`."""
        pending = _Entries(self._pending, self._layout, field)
        if len(pending) and pending[0] <= value:
            return pending.entry(bisect_right(pending, value) - 1)
        if not self._stored_bytes:
            return None
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            stored = _Entries(content, self._layout, field)
            found = bisect_right(stored, value)
            return stored.entry(found - 1) if found else None

    def keep(self, count: int) -> None:
        """Drop all entries from the `count`th on."""
        size = count * self._layout.size
        if size < self._stored_bytes:
            os.truncate(self._path, size)
            self._stored_bytes = size
        del self._pending[size - self._stored_bytes :]

    def count_below(self, value: int, *, field: int) -> int:
        """How many entries have a `field` smaller than `value`."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._read(middle)[field] < value:
                low = middle + 1
            else:
                high = middle
        return low

    def clear(self) -> None:
        """Drop all entries, and the file."""
        self.unlink()
        self._stored_bytes = 0
        self._pending.clear()

    def unlink(self) -> None:
        self._path.unlink(missing_ok=True)

    def _read(self, number: int) -> Entry:
        position = number * self._layout.size
        if position >= self._stored_bytes:
            first, second = self._layout.unpack_from(self._pending, position - self._stored_bytes)
        else:
            with self._path.open("rb") as file:
                first, second = self._layout.unpack(os.pread(file.fileno(), self._layout.size, position))
        return first, second


class _Entries(Sequence[int]):
    """One field of the packed entries, for bisect."""

    def __init__(self, data: bytearray | mmap.mmap, layout: struct.Struct, field: int) -> None:
        self._data = data
        self._layout = layout
        self._field = field

    def __len__(self) -> int:
        return len(self._data) // self._layout.size

    def entry(self, number: int) -> Entry:
        first, second = self._layout.unpack_from(self._data, number * self._layout.size)
        return first, second

    def __getitem__(self, number: int) -> int:  # type: ignore[override]  # bisect takes no slices
        return self.entry(number)[self._field]


def offset_index(path: Path) -> IndexFile:
    """Relative offset → position."""
    return IndexFile(path, ">ii")


def time_index(path: Path) -> IndexFile:
    """Timestamp → relative offset."""
    return IndexFile(path, ">qi")
