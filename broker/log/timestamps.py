"""Searching a log by time (ListOffsets). Reads one batch's records; batches found by the time index."""

import os

import structlog

from broker.log.partition_log import PartitionLog
from broker.log.segment import LOOKUP_BYTES, Segment
from broker.wire.batch import NO_TIMESTAMP, BatchHeader, InvalidBatch
from broker.wire.records import record_timestamps

logger = structlog.get_logger(__name__)

TimestampOffset = tuple[int, int]
"""Unix milliseconds, and the offset of the record that has them."""


def find_by_timestamp(log: PartitionLog, timestamp: int) -> TimestampOffset | None:
    """The first record from the log start offset on whose timestamp is `timestamp` or later, or None.

    Raises KafkaError when the log is damaged, and takes it offline.
    """
    with log.offline_on_damage():
        for segment in log.segments:
            if segment.max_timestamp >= timestamp:
                found = _find_in_segment(segment, timestamp, log.log_start_offset)
                if found is not None:
                    return found
    return None


def find_max_timestamp(log: PartitionLog) -> TimestampOffset | None:
    """The first record that has the largest timestamp of all; None when no record has one.

    Raises KafkaError when the log is damaged, and takes it offline.
    """
    with log.offline_on_damage():
        newest = max(log.segments, key=lambda segment: segment.max_timestamp, default=None)
        if newest is None or newest.max_timestamp == NO_TIMESTAMP:
            return None
        found = newest.position_of(newest.max_timestamp_offset)
        if found is None:
            return None
        position, header = found
        # As in Kafka, even one that DeleteRecords has put before the log start.
        return _find_in_batch(newest, position, header, header.max_timestamp, 0)


def _find_in_segment(segment: Segment, timestamp: int, start_offset: int) -> TimestampOffset | None:
    for position, header in segment.batches(_start_position(segment, timestamp), chunk_bytes=LOOKUP_BYTES):
        if header.max_timestamp >= timestamp and header.last_offset >= start_offset:
            found = _find_in_batch(segment, position, header, timestamp, start_offset)
            if found is not None:
                return found
    return None


def _start_position(segment: Segment, timestamp: int) -> int:
    """Where to begin: all before it is older than `timestamp`."""
    try:
        entry = segment.time_index.floor(timestamp - 1, field=0)
        return segment.check_time_entry(entry)[0] if entry else 0
    except InvalidBatch as exc:
        logger.warning("index rebuilt", segment=str(segment.file.path), reason=str(exc))
        segment.rebuild_indexes()
    return 0


def _find_in_batch(
    segment: Segment, position: int, header: BatchHeader, timestamp: int, start_offset: int
) -> TimestampOffset | None:
    batch = memoryview(os.pread(segment.file.fd, header.batch_bytes, position))
    try:
        for offset, record_timestamp in record_timestamps(batch, header):
            if record_timestamp >= timestamp and offset >= start_offset:
                return record_timestamp, offset
    except InvalidBatch:  # records that nobody can read: the batch is the best answer there is
        return header.max_timestamp, max(header.base_offset, start_offset)
    return None
