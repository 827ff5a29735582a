"""Compaction of one log: of each key only the newest value stays (Kafka's "log compaction", KIP-58, KIP-534).

Two passes over segments that are written no more:

1. The dirty ones, which no compaction has seen, are read for their keys: the newest offset of each.
2. All of them are copied without the records for which there is a newer offset. Neighbours that have
   become small are put together.

Offsets stay as they are, with gaps. What is kept although it has no newest value, as in Kafka:

* a tombstone, and the marker of a transaction of which nothing is left, until `delete_retention_ms` after
  the first compaction that finds it so; that time is written into its batch (KIP-534);
* the last batch of each producer, without its records, for its sequence numbers;
* the last batch of all, without its records, for its offset.

Nothing here changes a log: the new segments are written beside the old ones (swap.py says how they get
in). It runs in a process of its own (cleaner_process.py).
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from broker.log.offset_map import OffsetMap
from broker.log.segment import CLEANED_SUFFIX, RELATIVE_OFFSET_MAX, Segment, segment_paths
from broker.log.transactions import AbortedTransaction
from broker.wire.batch import (
    CODEC_MASK,
    DELETE_HORIZON_FLAG,
    HEADER_BYTES,
    NO_PRODUCER_ID,
    NO_TIMESTAMP,
    BatchHeader,
    InvalidBatch,
)
from broker.wire.compression import compress, decompress
from broker.wire.markers import read_marker
from broker.wire.raw_records import RawRecord, raw_records, with_timestamp_delta

READ_BYTES = 4 * 1024 * 1024
WRITE_BYTES = 1024 * 1024

GROUP_SEGMENTS_MAX = 50
"""Segments that become one: their files are renamed while the event loop waits."""


class CannotCompact(Exception):
    """A setting stands in the way; the message says which."""


@dataclass(frozen=True, slots=True)
class SourceSegment:
    """A segment that is written no more; the next one has `end_offset`."""

    base_offset: int
    end_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class CompactionJob:
    """`segments` are all that may be cleaned, from the start of the log on. `producers` are last offset
    (None: none) and epoch by producer id."""

    directory: str
    segments: list[SourceSegment]
    first_dirty_offset: int
    aborted: list[AbortedTransaction]
    producers: dict[int, tuple[int | None, int]]
    now_ms: int
    delete_retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    index_interval_bytes: int
    map_bytes: int
    io_bytes_per_second: float


@dataclass(frozen=True, slots=True)
class CleanedSegment:
    """What lies beside the log, for all segments from `base_offset` to before `end_offset`. `aborted_count`
    and `aborted_crc` are the checksum of its aborted transactions."""

    base_offset: int
    end_offset: int
    aborted_count: int
    aborted_crc: int


@dataclass(slots=True)
class Totals:
    """What a compaction has done so far; all before `clean_until` is clean when it has ended."""

    clean_until: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    records_kept: int = 0


def compact(job: CompactionJob, totals: Totals) -> Iterator[CleanedSegment]:
    """Each cleaned segment as soon as it is complete and synced. Raises CannotCompact, OSError, and
    InvalidBatch when a segment is damaged."""
    pace = _Pace(job.io_bytes_per_second)
    offsets, totals.clean_until = _newest_offsets(job, totals, pace)
    cleaning = _Cleaning(job, offsets, totals, pace)
    for group in _groups(job, [s for s in job.segments if s.base_offset < totals.clean_until]):
        yield cleaning.clean(group)


class _Pace:
    """Sleeps when more bytes were read and written than `log.cleaner.io.max.bytes.per.second` allows."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._start = time.monotonic()
        self._bytes = 0

    def moved(self, count: int) -> None:
        self._bytes += count
        ahead = self._bytes / self._bytes_per_second - (time.monotonic() - self._start)
        if ahead > 0:
            time.sleep(ahead)


class _Transactions:
    """Which batches belong to aborted transactions, and which markers have nothing left to end. Batches are
    shown to it in the order of the log."""

    def __init__(self, aborted: list[AbortedTransaction]) -> None:
        self._coming = deque(sorted(aborted, key=lambda transaction: transaction.first_offset))
        self._aborted: dict[int, AbortedTransaction] = {}
        self._seen_aborted: set[int] = set()
        self._seen_committed: set[int] = set()

    def is_aborted(self, header: BatchHeader) -> bool:
        """Whether the records were taken back. For a batch with records of a client."""
        if not header.is_transactional:
            return False
        self._begin_until(header.last_offset)
        if header.producer_id in self._aborted:
            self._seen_aborted.add(header.producer_id)
            return True
        self._seen_committed.add(header.producer_id)
        return False

    def end(self, header: BatchHeader, batch: memoryview) -> tuple[bool, AbortedTransaction | None]:
        """Whether no batch was seen of the transaction that this marker ends; if one was, and it was aborted,
        its entry."""
        self._begin_until(header.last_offset)
        marker = read_marker(batch, header)
        producer_id = header.producer_id
        if marker is None or not header.records_count:
            return marker is not None, None
        if marker.is_commit:
            is_empty = producer_id not in self._seen_committed
            self._seen_committed.discard(producer_id)
            return is_empty, None
        entry = self._aborted.pop(producer_id, None)
        if entry is None or producer_id not in self._seen_aborted:
            return True, None
        self._seen_aborted.discard(producer_id)
        return False, entry

    def _begin_until(self, offset: int) -> None:
        while self._coming and self._coming[0].first_offset <= offset:
            transaction = self._coming.popleft()
            self._aborted.setdefault(transaction.producer_id, transaction)


def _batches(
    job: CompactionJob, source: SourceSegment, totals: Totals, pace: _Pace
) -> Iterator[tuple[BatchHeader, memoryview]]:
    """The batches of a segment, their CRCs checked. Raises InvalidBatch."""
    interval = job.index_interval_bytes
    segment = Segment(Path(job.directory), source.base_offset, index_interval_bytes=interval, create=False)
    if segment.size != source.size:
        raise InvalidBatch(f"{segment.file.path} has {segment.size} bytes instead of {source.size}")
    try:
        for position, header in segment.batches(0, verify=True, chunk_bytes=READ_BYTES):
            totals.bytes_read += header.batch_bytes
            pace.moved(header.batch_bytes)
            yield header, memoryview(os.pread(segment.file.fd, header.batch_bytes, position))
    except InvalidBatch as exc:
        raise InvalidBatch(f"{segment.file.path}: {exc}") from exc


def _newest_offsets(job: CompactionJob, totals: Totals, pace: _Pace) -> tuple[OffsetMap, int]:
    """The first pass: the map, and the offset before which it knows all keys of the dirty part."""
    dirty = [segment for segment in job.segments if segment.end_offset > job.first_dirty_offset]
    offsets = OffsetMap(job.map_bytes, dirty[-1].end_offset - job.first_dirty_offset)
    transactions = _Transactions([a for a in job.aborted if a.last_offset >= dirty[0].base_offset])
    known_until = job.first_dirty_offset
    for segment in dirty:
        for header, batch in _batches(job, segment, totals, pace):
            if header.is_control:
                transactions.end(header, batch)
            elif not transactions.is_aborted(header) and header.last_offset >= job.first_dirty_offset:
                if header.records_count > offsets.free:
                    if not len(offsets):
                        raise CannotCompact(
                            f"a batch of {header.records_count} records needs a larger "
                            f"log.cleaner.dedupe.buffer.size than {job.map_bytes}"
                        )
                    return offsets, known_until
                for *_, offset_delta, key, _ in _records(header, batch)[1]:
                    if key is not None:
                        offsets.put(key, header.base_offset + offset_delta)
            known_until = max(known_until, header.last_offset + 1)
        known_until = segment.end_offset
    return offsets, known_until


def _records(header: BatchHeader, batch: memoryview) -> tuple[bytes, Iterator[RawRecord]]:
    """The bytes in which the records are, and the records."""
    if not header.compression:
        data = bytes(batch)
        return data, raw_records(data, HEADER_BYTES, header.records_count)
    data = bytes(decompress(batch[HEADER_BYTES:], header.compression))
    return data, raw_records(data, 0, header.records_count)


def _groups(job: CompactionJob, segments: list[SourceSegment]) -> Iterator[list[SourceSegment]]:
    """Neighbours that fit into one segment, were nothing dropped."""
    group: list[SourceSegment] = []
    group_bytes = index_bytes = 0
    for segment in segments:
        paths = segment_paths(Path(job.directory), segment.base_offset)[1:3]
        indexes = max((path.stat().st_size for path in paths if path.exists()), default=0)
        if group and (
            len(group) == GROUP_SEGMENTS_MAX
            or group_bytes + segment.size > job.segment_bytes
            or index_bytes + indexes > job.segment_index_bytes
            or segment.end_offset - group[0].base_offset > RELATIVE_OFFSET_MAX
        ):
            yield group
            group, group_bytes, index_bytes = [], 0, 0
        group.append(segment)
        group_bytes += segment.size
        index_bytes += indexes
    if group:
        yield group


@dataclass(slots=True)
class _Cleaning:
    """The second pass."""

    job: CompactionJob
    offsets: OffsetMap
    totals: Totals
    pace: _Pace
    transactions: _Transactions = field(init=False)

    def __post_init__(self) -> None:
        self.transactions = _Transactions(self.job.aborted)

    def clean(self, group: list[SourceSegment]) -> CleanedSegment:
        writer = _Writer(self.job, group)
        for segment in group:
            for header, batch in _batches(self.job, segment, self.totals, self.pace):
                if header.is_control:
                    kept = self._kept_marker(writer, header, batch)
                else:
                    kept = self._kept(header, batch)
                if kept is not None:
                    self.totals.records_kept += header.records_count
                    self.totals.bytes_written += header.batch_bytes
                    self.pace.moved(header.batch_bytes)
                    writer.write(kept, header)
        return writer.finish()

    def _kept_marker(
        self, writer: "_Writer", header: BatchHeader, batch: memoryview
    ) -> bytes | memoryview | None:
        is_empty, entry = self.transactions.end(header, batch)
        if entry is not None:
            writer.segment.aborted.append(entry)
        if not is_empty or header.last_offset >= self.totals.clean_until:
            return batch
        horizon = header.delete_horizon_ms
        if not header.records_count or (horizon is not None and horizon <= self.job.now_ms):
            return self._emptied(header)
        if horizon is not None:
            return batch
        header.attributes |= DELETE_HORIZON_FLAG
        header.base_timestamp = self.job.now_ms + self.job.delete_retention_ms
        return header.pack(batch[HEADER_BYTES:])

    def _kept(self, header: BatchHeader, batch: memoryview) -> bytes | memoryview | None:
        """The batch without its superseded records; `header` becomes that of the result."""
        is_aborted = self.transactions.is_aborted(header)
        if header.base_offset >= self.totals.clean_until:
            return batch
        if is_aborted or not header.records_count:
            return self._emptied(header)
        data, records = _records(header, batch)
        kept, has_tombstone = self._select(header, records)
        if not kept:
            return self._emptied(header)
        needs_horizon = has_tombstone and header.delete_horizon_ms is None
        if len(kept) == header.records_count and not needs_horizon:
            return batch
        if header.max_timestamp != NO_TIMESTAMP and not header.is_log_append_time:
            header.max_timestamp = header.base_timestamp + max(record[3] for record in kept)
        if needs_horizon:
            horizon = self.job.now_ms + self.job.delete_retention_ms
            shift = header.base_timestamp - horizon
            content = b"".join([with_timestamp_delta(data, record, record[3] + shift) for record in kept])
            header.base_timestamp = horizon
            header.attributes |= DELETE_HORIZON_FLAG
        else:
            content = b"".join([data[record[0] : record[1]] for record in kept])
        header.records_count = len(kept)
        return header.pack(compress(content, header.compression))

    def _select(self, header: BatchHeader, records: Iterator[RawRecord]) -> tuple[list[RawRecord], bool]:
        """The records to keep, and whether there is a tombstone among them."""
        kept: list[RawRecord] = []
        has_tombstone = False
        horizon = header.delete_horizon_ms
        keeps_tombstones = horizon is None or self.job.now_ms < horizon
        newest, base_offset = self.offsets.get, header.base_offset
        for record in records:
            _, _, _, _, offset_delta, key, is_tombstone = record
            if key is None or base_offset + offset_delta < newest(key):
                continue
            if is_tombstone:
                if not keeps_tombstones:
                    continue
                has_tombstone = True
            kept.append(record)
        return kept, has_tombstone

    def _emptied(self, header: BatchHeader) -> bytes | None:
        """The batch without records where its header is still needed, else None."""
        if not self._is_last_of_its_producer(header) and header.last_offset + 1 != self.totals.clean_until:
            return None
        header.records_count = 0
        header.attributes &= ~(DELETE_HORIZON_FLAG | CODEC_MASK)
        header.base_timestamp = NO_TIMESTAMP
        return header.pack(b"")

    def _is_last_of_its_producer(self, header: BatchHeader) -> bool:
        if header.producer_id == NO_PRODUCER_ID or header.producer_id not in self.job.producers:
            return False
        last_offset, producer_epoch = self.job.producers[header.producer_id]
        if last_offset is None:
            return header.is_control and header.producer_epoch == producer_epoch
        return header.last_offset == last_offset


class _Writer:
    """The new segment of a group, under its `.cleaned` names."""

    def __init__(self, job: CompactionJob, group: list[SourceSegment]) -> None:
        directory = Path(job.directory)
        self._base_offset = group[0].base_offset
        self._end_offset = group[-1].end_offset
        self._paths = segment_paths(directory, self._base_offset, CLEANED_SUFFIX)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self.segment = Segment(
            directory,
            self._base_offset,
            index_interval_bytes=job.index_interval_bytes,
            create=True,
            suffix=CLEANED_SUFFIX,
        )
        newest = segment_paths(directory, group[-1].base_offset)[0]
        self._modified_ns = newest.stat().st_mtime_ns
        self._pending: list[bytes | memoryview] = []
        self._pending_bytes = 0

    def write(self, batch: bytes | memoryview, header: BatchHeader) -> None:
        self.segment.add_to_indexes(self.segment.size + self._pending_bytes, header)
        self._pending.append(batch)
        self._pending_bytes += len(batch)
        if self._pending_bytes >= WRITE_BYTES:
            self._flush()

    def finish(self) -> CleanedSegment:
        """Everything is on disk when this returns, but for the names."""
        self._flush()
        segment = self.segment
        segment.seal()
        # Retention of records without timestamps, and the expiry of producers, go by it.
        os.utime(segment.file.fd, ns=(self._modified_ns, self._modified_ns))
        for path in self._paths:
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        checksum = segment.aborted.checksum
        return CleanedSegment(self._base_offset, self._end_offset, checksum.count, checksum.crc)

    def _flush(self) -> None:
        content = memoryview(b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0
        while content:
            written = os.pwrite(self.segment.file.fd, content, self.segment.size)
            self.segment.size += written
            content = content[written:]
