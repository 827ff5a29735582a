"""Index files of a segment, in Kafka's formats.

* `.index`: relative offset (i32) → position in the segment (i32), one entry per `index.interval.bytes`;
* `.timeindex`: the largest timestamp so far (i64) → relative offset (i32) of the batch that has it;
* `.txnindex`: the aborted transactions, see transactions.py.

The first two are sparse. All can be rebuilt from the segments at any time. New entries gather in memory
and reach the file in blocks, at a roll and at shutdown.
"""

import mmap
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

PENDING_BYTES_MAX = 4096
ENTRIES_READ = 128

Entry = tuple[int, ...]


class IndexFile:
    """Entries of some integers. Fields that ascend can be searched."""

    def __init__(self, path: Path, layout: str) -> None:
        self.path = path
        self._layout = struct.Struct(layout)
        self._pending = bytearray()
        self._stored_bytes = path.stat().st_size if path.exists() else 0

    @property
    def is_whole(self) -> bool:
        """Whether the file is a number of whole entries."""
        return self._stored_bytes % self._layout.size == 0

    def __len__(self) -> int:
        return self.size // self._layout.size

    @property
    def size(self) -> int:
        """Bytes, with those that are not in the file yet."""
        return self._stored_bytes + len(self._pending)

    @property
    def entry_bytes(self) -> int:
        return self._layout.size

    def append(self, *fields: int) -> None:
        self._pending += self._layout.pack(*fields)
        if len(self._pending) >= PENDING_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Move what gathered to the file; what the disk does not take stays in memory."""
        if not self._pending:
            return
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
        """The last entry whose `field` (counted from 0) is not larger than `value`."""
        pending = _Entries(self._pending, self._layout, field)
        if len(pending) and pending[0] <= value:
            return pending.entry(bisect_right(pending, value) - 1)
        if not self._stored_bytes:
            return None
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            stored = _Entries(content, self._layout, field)
            found = bisect_right(stored, value)
            return stored.entry(found - 1) if found else None

    def keep(self, count: int) -> None:
        """Drop all entries from the `count`th on."""
        size = count * self._layout.size
        if size < self._stored_bytes:
            os.truncate(self.path, size)
            self._stored_bytes = size
        del self._pending[size - self._stored_bytes :]

    def count_below(self, value: int, *, field: int) -> int:
        """How many entries have a `field` smaller than `value`."""
        stored = self._stored_bytes // self._layout.size
        if stored:
            with (
                self.path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                count = bisect_left(_Entries(content, self._layout, field), value, 0, stored)
            if count < stored:
                return count
        return stored + bisect_left(_Entries(self._pending, self._layout, field), value)

    def since(self, value: int, *, field: int) -> Iterator[Entry]:
        """The entries whose `field` is `value` or larger."""
        start = self.count_below(value, field=field) * self._layout.size
        size = ENTRIES_READ * self._layout.size
        while data := self.content(size, start):
            yield from self._layout.iter_unpack(data)
            start += len(data)

    def content(self, size: int, start: int = 0) -> bytes:
        """Up to `size` bytes of the entries, as they are in the file."""
        data = b""
        if start < self._stored_bytes:
            with self.path.open("rb") as file:
                data = os.pread(file.fileno(), min(size, self._stored_bytes - start), start)
        pending_start = max(0, start - self._stored_bytes)
        return data + self._pending[pending_start : pending_start + size - len(data)]

    def clear(self) -> None:
        """Drop all entries, and the file."""
        self.unlink()
        self._stored_bytes = 0
        self._pending.clear()

    def unlink(self) -> None:
        self.path.unlink(missing_ok=True)

    def _read(self, number: int) -> Entry:
        return self._layout.unpack(self.content(self._layout.size, number * self._layout.size))


class _Entries(Sequence[int]):
    """One field of the packed entries, for bisect."""

    def __init__(self, data: bytearray | mmap.mmap, layout: struct.Struct, field: int) -> None:
        self._data = data
        self._layout = layout
        self._field = field

    def __len__(self) -> int:
        return len(self._data) // self._layout.size

    def entry(self, number: int) -> Entry:
        return self._layout.unpack_from(self._data, number * self._layout.size)

    def __getitem__(self, number: int) -> int:  # type: ignore[override]  # bisect takes no slices
        return self.entry(number)[self._field]


def offset_index(path: Path) -> IndexFile:
    """Relative offset → position."""
    return IndexFile(path, ">ii")


def time_index(path: Path) -> IndexFile:
    """Timestamp → relative offset."""
    return IndexFile(path, ">qi")
