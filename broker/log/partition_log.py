"""The log of one partition: segments, the three ends, producer state.

On one node every record is committed as soon as it is written, so `high_watermark` is
`log_end_offset`: readers see a record before it is synced, as on a Kafka whose replicas have it in
their page caches. What a kill of the process cannot take away is shown; what `acks=all` promises is
synced before the answer (sync.py). Both ends only ever move forward.

The files of a partition are made when its first record comes: the catalog says which partitions there are,
so an empty one needs nothing on disk, and a thousand new ones cost nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from broker.log.config import LogConfig, TimestampType
from broker.log.deletion import DeletedFiles
from broker.log.producer_snapshot import write_snapshot
from broker.log.producers import ProducerStates
from broker.log.reencoding import stored_form
from broker.log.segment import FileSlice, Segment, SegmentFile
from broker.log.segments import SegmentList
from broker.log.transactions import AbortedTransaction, TransactionMarker
from broker.log.validation import validate_batch
from broker.wire.batch import (
    NO_PRODUCER_ID,
    BatchHeader,
    InvalidBatch,
    assign_offset,
    stamp_append_time,
)
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.markers import marker_batch

logger = structlog.get_logger(__name__)

SNAPSHOTS_KEPT = 2
LEADER_EPOCH = 0

SEGMENTS_DELETED_AT_ONCE = 100
"""More of them would keep the event loop for too long."""

HIGH_WATERMARK = -1
"""In place of an offset to delete records before."""

AppendListener = Callable[[int], None]


class Appended(NamedTuple):
    """Where a batch is in the log. `append_time_ms` is -1 unless the log stamps records itself."""

    base_offset: int
    append_time_ms: int


@dataclass(slots=True)
class SyncJob:
    """What has to be synced for all offsets before `end_offset` to be durable. `run` may block."""

    log: "PartitionLog"
    end_offset: int
    files: list[SegmentFile]
    directories: list[Path]
    error: OSError | None = None

    def run(self, synced: set[Path]) -> None:
        """`synced` are directories that other jobs of the same window have synced; this one adds its own."""
        try:
            for file in self.files:
                os.fdatasync(file.fd)
            for directory in self.directories:
                if directory not in synced:
                    sync_directory(directory)
                    synced.add(directory)
        except OSError as exc:
            self.error = exc


class PartitionLog:
    """Used from one event loop. After a failed sync or a corruption the log is offline: see `failure`."""

    def __init__(
        self,
        directory: Path,
        config: LogConfig,
        *,
        metadata: str = "",
        deleted: DeletedFiles | None = None,
    ) -> None:
        """Files of segments that are no longer wanted go to `deleted`."""
        self.directory = directory
        self.config = config
        self.failure: KafkaError | None = None
        self.segments = SegmentList(directory, config, deleted or DeletedFiles(), metadata=metadata)
        self.producers = ProducerStates()
        self.log_end_offset = 0
        self.recovery_point = 0
        """All before it is on disk for sure: synced, or found intact at the start."""
        self.snapshot_offset = -1
        """Where the newest snapshot of the producers was taken."""
        self.unsynced_records = 0
        self.append_listeners: set[AppendListener] = set()
        """Each is called after an append with the number of bytes."""
        self.is_being_cleaned = False
        """By compaction: then retention waits."""

    # --- the ends ---

    @property
    def log_start_offset(self) -> int:
        return self.segments.start_offset

    @property
    def high_watermark(self) -> int:
        return self.log_end_offset

    @property
    def last_stable_offset(self) -> int:
        """Before it, all transactions have ended."""
        first_open_offset = self.producers.first_open_offset
        if first_open_offset is None:
            return self.log_end_offset
        return max(first_open_offset, self.log_start_offset)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return self.segments.size

    # --- writing ---

    def append(self, records: memoryview, now_ms: int, *, must_begin: bool = False) -> Appended:
        """Append the one batch in `records`, which may be patched in place. Raises KafkaError.

        A batch that an idempotent producer repeats is not appended: the answer is where it is. A producer
        that is not known here `must_begin` with sequence 0, or else may go on with any. That a transaction
        has this partition is for the caller to know.
        """
        config = self.config
        header = validate_batch(records, config, now_ms)
        self.check_online()
        if header.producer_id != NO_PRODUCER_ID:
            duplicate = self.producers.check(header, must_begin=must_begin)
            if duplicate is not None:
                stamps = config.timestamp_type is TimestampType.LOG_APPEND_TIME
                return Appended(duplicate.base_offset, duplicate.timestamp if stamps else -1)
        if config.looks_into_batches:
            records = stored_form(records, header, config)
        append_time_ms = -1
        if config.timestamp_type is TimestampType.LOG_APPEND_TIME:
            append_time_ms = now_ms
            stamp_append_time(records, header, now_ms)
        self._write(records, header, now_ms)
        if header.producer_id != NO_PRODUCER_ID:
            self.producers.add(header, now_ms)
        if self.append_listeners:
            self._tell_listeners(header.batch_bytes)
        return Appended(header.base_offset, append_time_ms)

    def append_marker(self, marker: TransactionMarker, now_ms: int) -> Appended:
        """End the producer's transaction in this partition, whether it has one or not. Raises KafkaError:
        INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED."""
        self.check_online()
        self.producers.check_marker(marker)
        records = memoryview(marker_batch(marker, now_ms))
        header = BatchHeader(records)
        if self.config.timestamp_type is TimestampType.LOG_APPEND_TIME:
            stamp_append_time(records, header, now_ms)
        segment = self._write(records, header, now_ms)
        self.note_marker(marker, segment, header, now_ms)
        self._tell_listeners(header.batch_bytes)
        return Appended(header.base_offset, -1)

    def note_marker(
        self, marker: TransactionMarker, segment: Segment, header: BatchHeader, seen_ms: int
    ) -> None:
        """A marker is in the log."""
        aborted = self.producers.add_marker(marker, header, seen_ms)
        if aborted is not None:
            segment.aborted.append(aborted)

    def _write(self, records: memoryview, header: BatchHeader, now_ms: int) -> Segment:
        """Give the batch its offset and write it at the end of the log."""
        header.base_offset = self.log_end_offset
        assign_offset(records, header.base_offset, LEADER_EPOCH)
        try:
            segments = self.segments
            segment = self.roll(now_ms) if segments.must_roll(header, now_ms) else segments[-1]
            segment.append(records, header)
        except OSError as exc:
            logger.error("append failed", log=self.directory.name, error=str(exc))
            raise KafkaError(
                ErrorCode.kafka_storage_error, f"cannot write to {self.directory.name}: {exc.strerror}"
            ) from exc
        segments.unsynced[segment.file] = None
        self.unsynced_records += header.records_count
        self.log_end_offset = segment.next_offset
        return segment

    def _tell_listeners(self, appended_bytes: int) -> None:
        for listener in tuple(self.append_listeners):
            listener(appended_bytes)

    def check_online(self) -> None:
        """Raise KafkaError when the log is offline."""
        if self.failure is not None:
            raise KafkaError(self.failure.code, self.failure.message)

    def roll(self, now_ms: int) -> Segment:
        """Start a new segment. The producers' state is kept beside it."""
        is_first = not self.segments
        segment = self.segments.roll(self.log_end_offset, now_ms)
        if not is_first:
            self.write_snapshot()
        return segment

    @property
    def metadata_path(self) -> Path:
        """Kafka's `partition.metadata`: which topic, by id, the directory belongs to."""
        return self.segments.metadata_path

    # --- syncing (sync.py decides when) ---

    @property
    def is_synced(self) -> bool:
        return not self.segments.unsynced and not self.segments.unsynced_directories

    def begin_sync(self) -> SyncJob:
        """Everything written so far is in this job; what is written from now on is in the next one."""
        segments = self.segments
        job = SyncJob(self, self.log_end_offset, list(segments.unsynced), list(segments.unsynced_directories))
        segments.unsynced.clear()
        segments.unsynced_directories.clear()
        self.unsynced_records = 0
        return job

    def finish_sync(self, job: SyncJob) -> None:
        """The job has run. After an error nobody knows what is on disk: the log is offline from then on."""
        if job.error is not None:
            self.fail(f"{self.directory.name} is offline: a sync failed: {job.error.strerror}")
        elif self.failure is None:
            self.recovery_point = max(self.recovery_point, job.end_offset)

    def fail(self, reason: str) -> None:
        """Take the log offline until the broker is started again."""
        logger.error("log offline", log=self.directory.name, reason=reason)
        self.close_for(KafkaError(ErrorCode.kafka_storage_error, reason))

    def close_for(self, error: KafkaError) -> None:
        """Answer everything with `error` from now on, waiting consumers too."""
        if self.failure is None:
            self.failure = error
        self._tell_listeners(0)

    # --- reading ---

    def read(
        self, offset: int, max_bytes: int, *, at_least_one: bool = True, committed: bool = False
    ) -> FileSlice | None:
        """Whole batches from the one with `offset` on; None at the end of the log. Raises KafkaError.

        As many as `max_bytes` holds, from one segment; when not even one fits, one or None. `committed`:
        the last stable offset is the end.
        """
        self.check_online()
        if offset == self.log_end_offset:
            return None
        if not self.log_start_offset <= offset < self.log_end_offset:
            raise KafkaError(
                ErrorCode.offset_out_of_range,
                f"offset {offset} is not in {self.log_start_offset} to {self.log_end_offset}",
            )
        stable = self.last_stable_offset if committed else self.log_end_offset
        if offset >= stable:
            return None
        with self.offline_on_damage():
            segment, start = self.segments.locate(offset)
            if segment.size - start <= max_bytes:
                end, next_offset = segment.size, segment.next_offset
            else:
                end, next_offset = segment.whole_batches_end(start, start + max_bytes)
            if next_offset > stable:
                end, next_offset = self.segments.locate(stable)[1], stable
        if end - start > max_bytes and not at_least_one:
            return None
        self.segments.remember(next_offset, segment, end)
        return FileSlice(segment.file, start, end - start, next_offset)

    def aborted_transactions(self, start_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions with records in `start_offset` to before `end_offset`, in the order in
        which they ended. Raises KafkaError."""
        found: list[AbortedTransaction] = []
        with self.offline_on_damage():
            for segment in self.segments.since(start_offset):
                overlapping, is_complete = segment.aborted.overlapping(start_offset, end_offset)
                found += overlapping
                if is_complete:
                    break
        return found

    def open_transaction(self, producer_id: int) -> int | None:
        """The first offset of the producer's open transaction in this partition."""
        return self.producers.open_transaction(producer_id)

    @contextmanager
    def offline_on_damage(self) -> Iterator[None]:
        """What cannot be read takes the log offline, and is answered with KafkaError."""
        try:
            yield
        except (InvalidBatch, OSError) as exc:
            self.fail(
                f"{self.directory.name} is offline: it cannot be read: {exc}. See 'millstream log verify'"
            )
            self.check_online()

    # --- settings and retention ---

    def reconfigure(self, config: LogConfig) -> None:
        """Obey other settings from now on."""
        self.config = config
        self.segments.reconfigure(config)

    def enforce_retention(self, now_ms: int) -> int:
        """Delete the oldest segments that are too old, too much or before the log start.

        Returns the number deleted; after SEGMENTS_DELETED_AT_ONCE there may be more to delete.
        """
        if self.failure is not None or self.is_being_cleaned:
            return 0
        expired = max(self.segments.expired(now_ms), self.segments.before_start)
        if expired and expired == len(self.segments):
            # The new segment's name is all that remembers the next offset: durable before the others go.
            self.roll(now_ms)
            sync_directory(self.directory)
        expired = min(expired, SEGMENTS_DELETED_AT_ONCE)
        self.segments.delete_oldest(expired)
        return expired

    def delete_records(self, before_offset: int) -> None:
        """Move the log start offset to `before_offset`, -1 for the high watermark; never back.

        Durable once the log is synced. Raises KafkaError: OFFSET_OUT_OF_RANGE beyond the high watermark,
        POLICY_VIOLATION when `cleanup.policy` is compact alone.
        """
        self.check_online()
        if self.config.compact and not self.config.delete:
            raise KafkaError(ErrorCode.policy_violation, "records cannot be deleted: cleanup.policy=compact")
        offset = self.high_watermark if before_offset == HIGH_WATERMARK else before_offset
        if not 0 <= offset <= self.high_watermark:
            raise KafkaError(
                ErrorCode.offset_out_of_range, f"offset {offset} is beyond the end, {self.high_watermark}"
            )
        try:
            self.segments.delete_before(offset)
        except OSError as exc:
            raise KafkaError(
                ErrorCode.kafka_storage_error, f"cannot write to {self.directory.name}: {exc.strerror}"
            ) from exc

    def settle_segment(self, new: Segment, deleted: list[str]) -> None:
        """A segment that compaction has made is in place (swap.py), where `deleted` files were."""
        self.segments.settle(new, deleted)
        self.snapshot_offset = -1
        self.write_snapshot()

    # --- opening and closing ---

    def adopt(self, segments: list[Segment], recovery_point: int) -> None:
        """Take over what recovery.py found on disk, of which all before `recovery_point` is synced."""
        self.segments.adopt(segments)
        self.log_end_offset = segments[-1].next_offset if segments else 0
        self.recovery_point = min(recovery_point, self.log_end_offset)
        if self.recovery_point < self.log_end_offset:
            unsynced = {s.file: None for s in segments if s.next_offset > self.recovery_point}
            self.segments.unsynced.update(unsynced)
            self.segments.unsynced_directories.update({self.directory: None, self.directory.parent: None})

    def begin_at_log_start(self) -> None:
        """After a loss of power the log may end before its start, which was moved by `delete_records`: nobody
        was told, but the offsets between may have been read. As in Kafka, they are not used again."""
        if self.log_end_offset >= self.log_start_offset:
            return
        self.log_end_offset = self.recovery_point = self.log_start_offset
        self.roll(self.segments[-1].created_ms if self.segments else 0)
        sync_directory(self.directory)
        self.segments.delete_oldest(len(self.segments) - 1)

    def write_snapshot(self) -> None:
        """Write down the producers' state at the log's end, and what the aborted indexes have to be.
        Without it a restart reads more, that is all."""
        if self.snapshot_offset == self.log_end_offset:
            return
        path = self.directory / f"{self.log_end_offset:020d}.snapshot"
        try:
            checksums = {}
            for segment in self.segments:
                if segment.aborted.checksum.count:
                    segment.aborted.flush()
                    checksums[segment.base_offset] = segment.aborted.checksum
            write_snapshot(path, self.producers, checksums)
            self.snapshot_offset = self.log_end_offset
            for old in sorted(self.directory.glob("*.snapshot"))[:-SNAPSHOTS_KEPT]:
                old.unlink()
        except OSError as exc:
            logger.warning("no producer snapshot", log=self.directory.name, error=str(exc))

    def close(self) -> None:
        """Leave everything so that the next start need not look into the segments. Blocks for the sync."""
        if not self.segments or self.failure is not None:
            return
        for segment in self.segments:
            segment.seal()
        self.write_snapshot()
        job = self.begin_sync()
        job.run(set())
        self.finish_sync(job)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
