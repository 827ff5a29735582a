"""Whether the indexes and snapshots of a partition say what its log says. For inspect.py.

Entries that are missing are no damage: they gather in memory and a kill forgets them, so the next start
makes them anew. Entries that lie are.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crc32c import crc32c

from broker.log.producer_snapshot import Checksums, read_snapshot
from broker.log.producers import ProducerStates
from broker.log.segment import CLEANED_SUFFIX, segment_paths
from broker.log.swap import SWAP_SUFFIX
from broker.wire.batch import BatchHeader

OFFSET_ENTRY = struct.Struct(">ii")
"""Relative offset, position."""
TIME_ENTRY = struct.Struct(">qi")
"""Timestamp, relative offset."""
ABORTED_ENTRY = struct.Struct(">hqqqq")
"""Version, producer id, first and last offset of the transaction, last stable offset."""


@dataclass(frozen=True, slots=True)
class DerivedDamage:
    """Something in an index or a snapshot is wrong. Nothing is lost: it is made anew."""

    file: Path
    position: int
    problem: str


class DerivedFiles:
    """The indexes of a segment. Show it all batches of the segment with `observe`, then ask."""

    def __init__(self, segment: Path, base_offset: int) -> None:
        self._base_offset = base_offset
        self._damage: list[DerivedDamage] = []
        suffix = CLEANED_SUFFIX if segment.suffix == SWAP_SUFFIX else ""
        _, self._offset_index, self._time_index, _ = segment_paths(segment.parent, base_offset, suffix)
        # What each entry claims, and where it stands in its file; claims that are true are taken out.
        self._offsets = {
            (relative, position): at
            for at, (relative, position) in self._entries(self._offset_index, OFFSET_ENTRY)
        }
        self._times = {
            (relative, timestamp): at
            for at, (timestamp, relative) in self._entries(self._time_index, TIME_ENTRY)
        }

    def observe(self, position: int, header: BatchHeader) -> None:
        relative = header.base_offset - self._base_offset
        self._offsets.pop((relative, position), None)
        self._times.pop((relative, header.max_timestamp), None)

    def damage(self) -> list[DerivedDamage]:
        """At most one for each file: the first entry that is wrong."""
        for path, wrong in ((self._offset_index, self._offsets), (self._time_index, self._times)):
            if wrong and not any(found.file == path for found in self._damage):
                problem = f"{len(wrong)} entries are about batches that are not there"
                self._damage.append(DerivedDamage(path, min(wrong.values()), problem))
        return self._damage

    def _entries(self, path: Path, layout: struct.Struct) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Positions and fields."""
        data = path.read_bytes() if path.exists() else b""
        whole = len(data) - len(data) % layout.size
        if whole < len(data):
            self._damage.append(DerivedDamage(path, whole, f"{len(data) - whole} bytes are no whole entry"))
        return (
            (number * layout.size, entry)
            for number, entry in enumerate(layout.iter_unpack(memoryview(data)[:whole]))
        )


def snapshot_damage(directory: Path) -> list[DerivedDamage]:
    """Snapshots of producers that cannot be read, and indexes of aborted transactions that are not what the
    newest snapshot says. (Without a snapshot nobody believes such an index.)"""
    damage = []
    confirmed: Checksums = {}
    for path in sorted(directory.glob("*.snapshot")):
        checksums = read_snapshot(path, ProducerStates())
        if checksums is None:
            damage.append(DerivedDamage(path, 0, "no intact snapshot of producers"))
        else:
            confirmed = checksums
    for base_offset, checksum in confirmed.items():
        index = directory / f"{base_offset:020d}.txnindex"
        size = checksum.count * ABORTED_ENTRY.size
        content = index.read_bytes()[:size] if index.exists() else b""
        if len(content) < size or crc32c(content) != checksum.crc:
            damage.append(DerivedDamage(index, 0, f"not the {checksum.count} entries that were written"))
    return damage
