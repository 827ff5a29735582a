"""The segments of one partition, oldest first: where they begin, when a new one starts, which ones go.

Two facts about a partition are kept as names of empty files, which are there or not, but never half:

* `<offset>.logstart`: the records before it were deleted (DeleteRecords), though a segment may have them;
* `<offset>.compacted`: compaction may have left gaps between the offsets before it.
"""

import os
import random
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import structlog

from broker.log.config import NO_LIMIT, LogConfig
from broker.log.deletion import DeletedFiles
from broker.log.segment import CLEANED_SUFFIX, RELATIVE_OFFSET_MAX, Segment, SegmentFile
from broker.log.swap import mark_deleted
from broker.log.transactions import IndexChecksum
from broker.wire.batch import NO_TIMESTAMP, BatchHeader, InvalidBatch

logger = structlog.get_logger(__name__)

READ_POSITIONS_KEPT = 16

LOG_START_SUFFIX = ".logstart"
COMPACTED_SUFFIX = ".compacted"


class SegmentList(Sequence[Segment]):
    """The last one is the active one, which is written to. Empty until the first record comes."""

    def __init__(
        self, directory: Path, config: LogConfig, deleted: DeletedFiles, *, metadata: str = ""
    ) -> None:
        self.directory = directory
        self.start_offset = 0
        """The log start offset: of the first segment, or what `delete_before` said."""
        self.compacted_until = 0
        """Offsets before it may have gaps."""
        self.unsynced: dict[SegmentFile, None] = {}
        """Files with bytes that may not be on disk yet."""
        self.unsynced_directories: dict[Path, None] = {}
        """Directories with names that may not be on disk yet."""
        self._config = config
        self._deleted = deleted
        self._metadata = metadata
        self._roll_jitter_ms = _roll_jitter_ms(config)
        self._segments: list[Segment] = []
        self._bases: list[int] = []
        self._read_positions: OrderedDict[int, tuple[Segment, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> list[Segment]: ...
    def __getitem__(self, index: int | slice) -> Segment | list[Segment]:
        return self._segments[index]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    @property
    def metadata_path(self) -> Path:
        """Kafka's `partition.metadata`: which topic, by id, the directory belongs to."""
        return self.directory / "partition.metadata"

    def adopt(self, segments: list[Segment]) -> None:
        """These are the segments now."""
        self._segments = segments
        self._bases = [segment.base_offset for segment in segments]
        if segments:
            self.start_offset = max(self.start_offset, segments[0].base_offset)
        self._read_positions.clear()

    def load_marks(self) -> None:
        """Take over what the names in the directory say."""
        self.start_offset = self._marked_offset(LOG_START_SUFFIX)
        self.compacted_until = self._marked_offset(COMPACTED_SUFFIX)

    def reconfigure(self, config: LogConfig) -> None:
        """Obey other settings from now on."""
        self._config = config
        self._roll_jitter_ms = _roll_jitter_ms(config)
        if self._segments:
            self._segments[-1].index_interval_bytes = config.index_interval_bytes

    # --- rolling ---

    def must_roll(self, header: BatchHeader, now_ms: int) -> bool:
        """Whether the batch has to go to a new segment."""
        if not self._segments:
            return True
        active = self._segments[-1]
        if not active.size:
            return False
        config = self._config
        if (
            active.size + header.batch_bytes > config.segment_bytes
            or header.last_offset - active.base_offset > RELATIVE_OFFSET_MAX
            or active.index_bytes >= config.segment_index_bytes
        ):
            return True
        # As Kafka: by the records' clock, and by the broker's when the first ones have no timestamps.
        if active.first_timestamp != NO_TIMESTAMP:
            age_ms = header.max_timestamp - active.first_timestamp
        else:
            age_ms = now_ms - active.created_ms
        return age_ms > config.roll_ms - self._roll_jitter_ms

    def roll(self, base_offset: int, now_ms: int) -> Segment:
        """Seal the active segment and start a new one; the first one makes the directory, too."""
        config = self._config
        if self._segments:
            active = self._segments[-1]
            active.seal()
            if config.preallocate:  # it is shorter now
                self.unsynced[active.file] = None
        else:
            self._make_directory()
        interval = config.index_interval_bytes
        segment = Segment(self.directory, base_offset, index_interval_bytes=interval, create=True)
        segment.created_ms = now_ms
        if config.preallocate:
            try:
                segment.preallocate(config.segment_bytes)
            except OSError:  # no space: the next batch may still find room in the active segment
                segment.unlink()
                raise
        self._roll_jitter_ms = _roll_jitter_ms(config)
        self.unsynced_directories[self.directory] = None
        self._segments.append(segment)
        self._bases.append(base_offset)
        return segment

    def _make_directory(self) -> None:
        # What an attempt before has left may not be durable either.
        self.unsynced_directories[self.directory.parent] = None
        self.directory.mkdir(exist_ok=True)
        if not self.metadata_path.exists():
            self.metadata_path.write_text(self._metadata, encoding="ascii")
            self.unsynced[SegmentFile(self.metadata_path)] = None

    # --- searching ---

    def since(self, offset: int) -> list[Segment]:
        """The segment that has `offset`, and all after it."""
        return self._segments[max(0, bisect_right(self._bases, offset) - 1) :]

    def locate(self, offset: int) -> tuple[Segment, int]:
        """The segment and the position of the batch that has `offset`, or of the first one after it.

        Raises InvalidBatch when there is none, or a segment is damaged.
        """
        known = self._read_positions.get(offset)
        if known is not None and known[1] < known[0].size:
            return known
        for segment in self.since(offset):
            try:
                found = segment.position_of(offset)
            except InvalidBatch as exc:
                logger.warning("index rebuilt", segment=str(segment.file.path), reason=str(exc))
                segment.rebuild_indexes()
                found = segment.position_of(offset)
            if found is not None:
                return segment, found[0]
        raise InvalidBatch(f"no batch has offset {offset} or a later one")

    def remember(self, offset: int, segment: Segment, position: int) -> None:
        """A consumer goes on where it stopped: then there is nothing to search."""
        self._read_positions[offset] = (segment, position)
        self._read_positions.move_to_end(offset)
        if len(self._read_positions) > READ_POSITIONS_KEPT:
            self._read_positions.popitem(last=False)

    # --- retention ---

    def expired(self, now_ms: int) -> int:
        """How many of the oldest segments are too old or too much; it may be all of them.

        An active segment with nothing in it always stays.
        """
        config = self._config
        if not config.delete or not self._segments:
            return 0
        candidates = self._segments if self._segments[-1].size else self._segments[:-1]
        expired = 0
        if config.retention_ms >= 0:
            for segment in candidates:
                if now_ms - newest_timestamp(segment) <= config.retention_ms:
                    break
                expired += 1
        if config.retention_bytes != NO_LIMIT:
            surplus = self.size - config.retention_bytes
            by_size = 0
            for segment in candidates:
                if surplus < segment.size:
                    break
                surplus -= segment.size
                by_size += 1
            expired = max(expired, by_size)
        return expired

    def delete_before(self, offset: int) -> None:
        """Move the start of the log to `offset`. Durable once the directory is synced."""
        if offset <= self.start_offset:
            return
        self._mark(LOG_START_SUFFIX, offset)
        self.start_offset = offset

    @property
    def before_start(self) -> int:
        """How many of the oldest segments have nothing after the start of the log. Not the active one."""
        return max(0, bisect_right(self._bases, self.start_offset) - 1)

    def delete_oldest(self, count: int) -> None:
        if not count:
            return
        deleted = self._segments[:count]
        self.adopt(self._segments[count:])
        self._dispose(deleted)
        logger.info("segments deleted", log=self.directory.name, count=count, start=self.start_offset)

    def _dispose(self, segments: list[Segment]) -> None:
        """Rename the files, oldest first, so that a kill leaves no gap, and have them removed later."""
        for segment in segments:
            self.unsynced.pop(segment.file, None)
            deleted = mark_deleted(self.directory, segment.base_offset)
            self._deleted.add(deleted, self._config.file_delete_delay_ms)

    # --- compaction ---

    def mark_compacted(self, until: int) -> None:
        """Say that offsets before `until` may have gaps from now on; durable once the directory is synced."""
        if until > self.compacted_until:
            self._mark(COMPACTED_SUFFIX, until)
            self.compacted_until = until

    def open_cleaned(self, base_offset: int, end_offset: int, aborted: IndexChecksum) -> Segment:
        """What compaction has written, by its `.cleaned` names, for all up to `end_offset`.

        Raises InvalidBatch or OSError when it is not what was written.
        """
        interval = self._config.index_interval_bytes
        segment = Segment(
            self.directory, base_offset, index_interval_bytes=interval, create=False, suffix=CLEANED_SUFFIX
        )
        segment.trust(end_offset)
        if not segment.aborted.restore(aborted):
            raise InvalidBatch(f"the aborted transactions of {segment.file.path} are not what was written")
        return segment

    def replace(self, new: Segment) -> None:
        """Read from `new`, which is committed (swap.py), instead of from the segments that it stands for."""
        first, last = bisect_left(self._bases, new.base_offset), bisect_left(self._bases, new.next_offset)
        for old in self._segments[first:last]:
            self.unsynced.pop(old.file, None)
        self.adopt([*self._segments[:first], new, *self._segments[last:]])

    def settle(self, new: Segment, deleted: list[str]) -> None:
        """`new` has its final names, and those that it has replaced are `deleted`."""
        new.take_final_names()
        self._deleted.add([self.directory / name for name in deleted], self._config.file_delete_delay_ms)
        self.unsynced_directories[self.directory] = None

    # --- facts in names ---

    def _mark(self, suffix: str, offset: int) -> None:
        new = self.directory / f"{offset:020d}{suffix}"
        new.touch()
        self.unsynced_directories[self.directory] = None
        for path in self.directory.glob(f"*{suffix}"):
            if path != new:
                path.unlink()

    def _marked_offset(self, suffix: str) -> int:
        return max((int(path.stem) for path in self.directory.glob(f"*{suffix}")), default=0)


def _roll_jitter_ms(config: LogConfig) -> int:
    """So that the segments of many partitions do not all roll at the same time."""
    limit = min(config.segment_jitter_ms, config.segment_ms)
    return random.randrange(limit) if limit else 0


def newest_timestamp(segment: Segment) -> int:
    """Unix milliseconds; records without timestamps count from when they were written."""
    if segment.max_timestamp != NO_TIMESTAMP:
        return segment.max_timestamp
    return int(os.fstat(segment.file.fd).st_mtime * 1000)
