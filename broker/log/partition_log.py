"""The log of one partition: segments, the three ends, producer state.

On one node every record is committed as soon as it is written, so `high_watermark` is
`log_end_offset`: readers see a record before it is synced, as on a Kafka whose replicas have it in
their page caches. What a kill of the process cannot take away is shown; what `acks=all` promises is
synced before the answer (sync.py). Both ends only ever move forward.

The files of a partition are made when its first record comes: the catalog says which partitions there are,
so an empty one needs nothing on disk, and a thousand new ones cost nothing.
"""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from broker.log.config import NO_LIMIT, LogConfig, TimestampType
from broker.log.producers import ProducerStates
from broker.log.segment import RELATIVE_OFFSET_MAX, FileSlice, Segment, SegmentFile
from broker.log.validation import validate_batch
from broker.wire.batch import (
    NO_PRODUCER_ID,
    NO_TIMESTAMP,
    BatchHeader,
    InvalidBatch,
    assign_offset,
    stamp_append_time,
)
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)

READ_POSITIONS_KEPT = 16
SNAPSHOTS_KEPT = 2
LEADER_EPOCH = 0

AppendListener = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Appended:
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

    def __init__(self, directory: Path, config: LogConfig, *, metadata: str = "") -> None:
        self.directory = directory
        self.config = config
        self.failure: KafkaError | None = None
        self.segments: list[Segment] = []
        self.producers = ProducerStates()
        self.log_end_offset = 0
        self.recovery_point = 0
        """All before it is on disk for sure: synced, or found intact at the start."""
        self.snapshot_offset = -1
        """Where the newest snapshot of the producers was taken."""
        self.unsynced_records = 0
        self.append_listeners: set[AppendListener] = set()
        """Each is called after an append with the number of bytes."""
        self._metadata = metadata
        self._bases: list[int] = []
        self._unsynced: dict[SegmentFile, None] = {}
        self._unsynced_directories: dict[Path, None] = {}
        self._read_positions: OrderedDict[int, tuple[Segment, int]] = OrderedDict()

    # --- the ends ---

    @property
    def log_start_offset(self) -> int:
        return self._bases[0] if self._bases else 0

    @property
    def high_watermark(self) -> int:
        return self.log_end_offset

    @property
    def last_stable_offset(self) -> int:
        return self.log_end_offset

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    # --- writing ---

    def append(self, records: memoryview, now_ms: int) -> Appended:
        """Append the one batch in `records`, which is patched in place. Raises KafkaError.

        A batch that an idempotent producer repeats is not appended: the answer is where it is.
        """
        config = self.config
        header = validate_batch(records, config, now_ms)
        self.check_online()
        if header.producer_id != NO_PRODUCER_ID:
            duplicate = self.producers.check(header)
            if duplicate is not None:
                stamps = config.timestamp_type is TimestampType.LOG_APPEND_TIME
                return Appended(duplicate.base_offset, duplicate.timestamp if stamps else -1)
        append_time_ms = -1
        if config.timestamp_type is TimestampType.LOG_APPEND_TIME:
            append_time_ms = now_ms
            stamp_append_time(records, header, now_ms)
        header.base_offset = self.log_end_offset
        assign_offset(records, header.base_offset, LEADER_EPOCH)
        try:
            segment = self._segment_for(header, now_ms)
            segment.append(records, header)
        except OSError as exc:
            logger.error("append failed", log=self.directory.name, error=str(exc))
            raise KafkaError(
                ErrorCode.kafka_storage_error, f"cannot write to {self.directory.name}: {exc.strerror}"
            ) from exc
        self._unsynced[segment.file] = None
        self.unsynced_records += header.records_count
        self.log_end_offset = segment.next_offset
        if header.producer_id != NO_PRODUCER_ID:
            self.producers.add(header, now_ms)
        for listener in tuple(self.append_listeners):
            listener(header.batch_bytes)
        return Appended(header.base_offset, append_time_ms)

    def check_online(self) -> None:
        """Raise KafkaError when the log is offline."""
        if self.failure is not None:
            raise KafkaError(self.failure.code, self.failure.message)

    def _segment_for(self, header: BatchHeader, now_ms: int) -> Segment:
        if not self.segments:
            self._make_directory()
            return self._add_segment(self.log_end_offset)
        active = self.segments[-1]
        if active.size and self._is_full(active, header, now_ms):
            return self.roll()
        return active

    def _is_full(self, active: Segment, header: BatchHeader, now_ms: int) -> bool:
        config = self.config
        if active.size + header.batch_bytes > config.segment_bytes:
            return True
        if header.last_offset - active.base_offset > RELATIVE_OFFSET_MAX:
            return True
        newest = now_ms if header.max_timestamp == NO_TIMESTAMP else header.max_timestamp
        return active.first_timestamp != NO_TIMESTAMP and newest - active.first_timestamp > config.segment_ms

    def roll(self) -> Segment:
        """Start a new segment. The producers' state is kept beside it."""
        if self.segments:
            self.segments[-1].seal()
        segment = self._add_segment(self.log_end_offset)
        self.write_snapshot()
        return segment

    def _add_segment(self, base_offset: int) -> Segment:
        interval = self.config.index_interval_bytes
        segment = Segment(self.directory, base_offset, index_interval_bytes=interval, create=True)
        self._unsynced_directories[self.directory] = None
        self.segments.append(segment)
        self._bases.append(base_offset)
        return segment

    def _make_directory(self) -> None:
        # What an attempt before has left may not be durable either.
        self._unsynced_directories[self.directory.parent] = None
        self.directory.mkdir(exist_ok=True)
        if not self.metadata_path.exists():
            self.metadata_path.write_text(self._metadata, encoding="ascii")
            self._unsynced[SegmentFile(self.metadata_path)] = None

    @property
    def metadata_path(self) -> Path:
        """Kafka's `partition.metadata`: which topic, by id, the directory belongs to."""
        return self.directory / "partition.metadata"

    # --- syncing (sync.py decides when) ---

    @property
    def is_synced(self) -> bool:
        return not self._unsynced and not self._unsynced_directories

    def begin_sync(self) -> SyncJob:
        """Everything written so far is in this job; what is written from now on is in the next one."""
        job = SyncJob(self, self.log_end_offset, list(self._unsynced), list(self._unsynced_directories))
        self._unsynced.clear()
        self._unsynced_directories.clear()
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
        for listener in tuple(self.append_listeners):
            listener(0)

    # --- reading ---

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool = True) -> FileSlice | None:
        """Whole batches from the one with `offset` on; None at the end of the log. Raises KafkaError.

        As many as `max_bytes` holds, from one segment; when not even one fits, one or None.
        """
        self.check_online()
        if offset == self.log_end_offset:
            return None
        if not self.log_start_offset <= offset < self.log_end_offset:
            raise KafkaError(
                ErrorCode.offset_out_of_range,
                f"offset {offset} is not in {self.log_start_offset} to {self.log_end_offset}",
            )
        with self.offline_on_damage():
            segment, start = self._locate(offset)
            if segment.size - start <= max_bytes:
                end, next_offset = segment.size, segment.next_offset
            else:
                end, next_offset = segment.whole_batches_end(start, start + max_bytes)
        if end - start > max_bytes and not at_least_one:
            return None
        self._remember(next_offset, segment, end)
        return FileSlice(segment.file, start, end - start)

    @contextmanager
    def offline_on_damage(self) -> Iterator[None]:
        """What cannot be read takes the log offline, and is answered with KafkaError."""
        try:
            yield
        except (InvalidBatch, OSError) as exc:
            self.fail(f"{self.directory.name} is offline: it cannot be read: {exc}")
            self.check_online()

    def _locate(self, offset: int) -> tuple[Segment, int]:
        """The segment and the position of the batch that has `offset`, or of the first one after it."""
        known = self._read_positions.get(offset)
        if known is not None and known[1] < known[0].size:
            return known
        for segment in self.segments[max(0, bisect_right(self._bases, offset) - 1) :]:
            try:
                found = segment.position_of(offset)
            except InvalidBatch as exc:
                logger.warning("index rebuilt", segment=str(segment.file.path), reason=str(exc))
                segment.rebuild_indexes()
                found = segment.position_of(offset)
            if found is not None:
                return segment, found[0]
        raise InvalidBatch(f"no batch has it, though the log ends at {self.log_end_offset}")

    def _remember(self, offset: int, segment: Segment, position: int) -> None:
        """A consumer goes on where it stopped: then there is nothing to search."""
        self._read_positions[offset] = (segment, position)
        self._read_positions.move_to_end(offset)
        if len(self._read_positions) > READ_POSITIONS_KEPT:
            self._read_positions.popitem(last=False)

    # --- retention ---

    def enforce_retention(self, now_ms: int) -> int:
        """Delete the oldest segments that are too old or too much; the number deleted."""
        config = self.config
        if self.failure is not None or not config.delete or not self.segments:
            return 0
        expired = 0
        if config.retention_ms >= 0:
            for segment in self.segments:
                if not segment.size or now_ms - self._newest(segment) <= config.retention_ms:
                    break
                expired += 1
        if config.retention_bytes != NO_LIMIT:
            surplus = self.size - config.retention_bytes
            by_size = 0
            for segment in self.segments[:-1]:
                if surplus < segment.size:
                    break
                surplus -= segment.size
                by_size += 1
            expired = max(expired, by_size)
        if expired == len(self.segments):
            # The new segment's name is all that remembers the next offset: durable before the others go.
            self.roll()
            sync_directory(self.directory)
        self._delete_segments(expired)
        return expired

    @staticmethod
    def _newest(segment: Segment) -> int:
        """Unix milliseconds; records without timestamps count from when they were written."""
        if segment.max_timestamp != NO_TIMESTAMP:
            return segment.max_timestamp
        return int(os.fstat(segment.file.fd).st_mtime * 1000)

    def _delete_segments(self, count: int) -> None:
        if not count:
            return
        deleted, self.segments = self.segments[:count], self.segments[count:]
        self._bases = [segment.base_offset for segment in self.segments]
        self._read_positions.clear()
        for segment in deleted:
            self._unsynced.pop(segment.file, None)
            segment.unlink()
        logger.info("segments deleted", log=self.directory.name, count=count, start=self.log_start_offset)

    # --- opening and closing ---

    def adopt(self, segments: list[Segment], recovery_point: int) -> None:
        """Take over what recovery.py found on disk, of which all before `recovery_point` is synced."""
        self.segments = segments
        self._bases = [segment.base_offset for segment in segments]
        self.log_end_offset = segments[-1].next_offset if segments else 0
        self.recovery_point = min(recovery_point, self.log_end_offset)
        if self.recovery_point < self.log_end_offset:
            self._unsynced = {s.file: None for s in segments if s.next_offset > self.recovery_point}
            self._unsynced_directories = {self.directory: None, self.directory.parent: None}

    def write_snapshot(self) -> None:
        """Write down the producers' state at the log's end. Without it a restart reads more, that is all."""
        if self.snapshot_offset == self.log_end_offset:
            return
        path = self.directory / f"{self.log_end_offset:020d}.snapshot"
        try:
            self.producers.write_snapshot(path)
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
