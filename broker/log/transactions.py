"""The aborted transactions of a segment: what a read_committed consumer is told to leave out.

`.txnindex` is Kafka's file: one entry for each transaction whose abort marker is in the segment, in the
order of the markers. Unlike the other indexes it cannot be told by a look whether it is what was written,
and an entry that is missing would show an aborted record. So the producers' snapshot has its checksum, and
what is not confirmed by a snapshot is made anew from the log at a start (recovery.py).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from crc32c import crc32c

from broker.log.index import IndexFile
from broker.wire.markers import TransactionMarker

__all__ = ["AbortedIndex", "AbortedTransaction", "IndexChecksum", "TransactionMarker"]

_ENTRY = struct.Struct(">hqqqq")
_VERSION = 0
_FIRST_OFFSET, _LAST_OFFSET, _LAST_STABLE_OFFSET = 2, 3, 4


@dataclass(frozen=True, slots=True)
class AbortedTransaction:
    """`last_offset` is that of the marker; `last_stable_offset` is what it was when the marker was written:
    no later entry is about anything before it."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


@dataclass(frozen=True, slots=True)
class IndexChecksum:
    """CRC-32C of the first `count` entries."""

    count: int = 0
    crc: int = 0


class AbortedIndex:
    """Empty, and without a file, for a segment without abort markers."""

    __slots__ = ("_entries", "_last_offset", "checksum")

    def __init__(self, path: Path) -> None:
        self._entries = IndexFile(path, _ENTRY.format)
        self._last_offset = -1
        self.checksum = IndexChecksum()

    def append(self, aborted: AbortedTransaction) -> None:
        offsets = (aborted.first_offset, aborted.last_offset, aborted.last_stable_offset)
        fields = (_VERSION, aborted.producer_id, *offsets)
        self._entries.append(*fields)
        self._last_offset = aborted.last_offset
        crc = crc32c(_ENTRY.pack(*fields), self.checksum.crc)
        self.checksum = IndexChecksum(self.checksum.count + 1, crc)

    def overlapping(self, start_offset: int, end_offset: int) -> tuple[list[AbortedTransaction], bool]:
        """Those with records in `start_offset` to before `end_offset`; whether no later segment has any."""
        found: list[AbortedTransaction] = []
        if self._last_offset < start_offset:
            return found, False
        for entry in self._entries.since(start_offset, field=_LAST_OFFSET):
            if entry[_FIRST_OFFSET] < end_offset:
                found.append(AbortedTransaction(*entry[1:]))
            if entry[_LAST_STABLE_OFFSET] >= end_offset:
                return found, True
        return found, False

    def restore(self, checksum: IndexChecksum) -> bool:
        """Take over the entries of the file that `checksum` confirms and forget the rest; False, and the
        index is empty, when the file does not have them."""
        size = checksum.count * _ENTRY.size
        content = self._entries.content(size)
        if len(content) != size or crc32c(content) != checksum.crc:
            self.clear()
            return False
        self._entries.keep(checksum.count)
        last = self._entries.last()
        self._last_offset = last[_LAST_OFFSET] if last else -1
        self.checksum = checksum
        return True

    def clear(self) -> None:
        self._entries.clear()
        self._last_offset = -1
        self.checksum = IndexChecksum()

    def flush(self) -> None:
        self._entries.flush()

    @property
    def path(self) -> Path:
        return self._entries.path

    @path.setter
    def path(self, path: Path) -> None:
        self._entries.path = path
