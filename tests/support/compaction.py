"""Compaction of a log without a process, and what readers see of a log."""

import os
import uuid
from dataclasses import replace
from pathlib import Path

from support.batches import make_batch

from broker.log.cleaner import Cleanable, CleanerSettings, cleanable, compaction_job
from broker.log.compaction import CleanedSegment, Totals, compact
from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.swap import commit, drop_cleaned, put_in_place
from broker.log.transactions import IndexChecksum
from broker.wire.batch import NO_PRODUCER_ID, BatchHeader
from broker.wire.markers import read_marker
from broker.wire.records import Record, read_records

TOPIC_ID = uuid.UUID(int=7)

Pairs = list[tuple[bytes, bytes | None]]


def open_log(data_dir: Path, config: LogConfig) -> tuple[LogManager, PartitionLog]:
    """What a start of the broker does with one partition in the catalog."""
    data_dir.mkdir(exist_ok=True)
    manager = LogManager(data_dir)
    log = manager.create("t", TOPIC_ID, 0, config)
    manager.finish_start()
    return manager, log


def keyed_batch(pairs: Pairs, **fields: object) -> memoryview:
    keys: list[bytes | None] = [key for key, _ in pairs]
    return memoryview(make_batch([value for _, value in pairs], keys=keys, **fields))  # type: ignore[arg-type]


def sync(log: PartitionLog) -> None:
    job = log.begin_sync()
    job.run(set())
    log.finish_sync(job)


def find_cleanable(log: PartitionLog, clean_until: int = 0, now_ms: int = 1 << 50) -> Cleanable:
    sync(log)
    found = cleanable(log, clean_until, now_ms)
    assert found is not None
    return found


def run_compaction(
    log: PartitionLog, found: Cleanable, *, now_ms: int, map_bytes: int = 1 << 20
) -> tuple[list[CleanedSegment], int]:
    """What the process does: the segments that now lie beside the log, and up to where it is clean."""
    job = replace(compaction_job(log, found, CleanerSettings(map_bytes)), now_ms=now_ms)
    totals = Totals()
    return list(compact(job, totals)), totals.clean_until


def take_over(log: PartitionLog, found: Cleanable, cleaned: CleanedSegment) -> None:
    """What the broker does with one of them."""
    log.segments.mark_compacted(found.segments[-1].end_offset)
    base_offset, end_offset = cleaned.base_offset, cleaned.end_offset
    checksum = IndexChecksum(cleaned.aborted_count, cleaned.aborted_crc)
    new = log.segments.open_cleaned(base_offset, end_offset, checksum)
    directory_fd = os.open(log.directory, os.O_RDONLY)
    commit(directory_fd, base_offset, end_offset)
    log.segments.replace(new)
    before = [batch for _, batch in batches_of(log)]
    deleted = put_in_place(directory_fd, base_offset, end_offset)
    assert [batch for _, batch in batches_of(log)] == before, "it can be read all the time"
    log.settle_segment(new, deleted)
    drop_cleaned(directory_fd, base_offset)
    os.close(directory_fd)


def compact_log(log: PartitionLog, clean_until: int = 0, *, now_ms: int = 0, map_bytes: int = 1 << 20) -> int:
    """All of it; the offset up to which the log is clean then."""
    found = find_cleanable(log, clean_until)
    segments, clean_until = run_compaction(log, found, now_ms=now_ms, map_bytes=map_bytes)
    for cleaned in segments:
        take_over(log, found, cleaned)
    return clean_until


def batches_of(log: PartitionLog) -> list[tuple[BatchHeader, memoryview]]:
    """All batches that a consumer is sent, one fetch after the other."""
    found: list[tuple[BatchHeader, memoryview]] = []
    offset = log.log_start_offset
    while (piece := log.read(offset, 10_000)) is not None:
        content, position = memoryview(piece.read()), 0
        while position < len(content):
            header = BatchHeader(content, position)
            found.append((header, content[position : position + header.batch_bytes]))
            position += header.batch_bytes
        assert found[-1][0].last_offset >= offset
        offset = found[-1][0].last_offset + 1
    return found


def committed_records(log: PartitionLog) -> list[Record]:
    """What a read_committed consumer is shown, by Kafka's rules for consumers."""
    end = log.last_stable_offset
    waiting = sorted(log.aborted_transactions(log.log_start_offset, end), key=lambda a: a.first_offset)
    aborted: set[int] = set()
    shown: list[Record] = []
    for header, batch in batches_of(log):
        if header.base_offset >= end:
            break
        while waiting and waiting[0].first_offset <= header.last_offset:
            aborted.add(waiting.pop(0).producer_id)
        if header.is_control:
            marker = read_marker(batch, header) if header.records_count else None
            if marker is not None and not marker.is_commit:
                aborted.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in aborted):
            shown += read_records(batch, header)
        assert header.producer_id != NO_PRODUCER_ID or not header.is_transactional
    return shown


def newest_values(records: list[Record]) -> dict[bytes, bytes]:
    """The table that a topic stands for."""
    table: dict[bytes, bytes] = {}
    for record in records:
        assert record.key is not None
        if record.value is None:
            table.pop(bytes(record.key), None)
        else:
            table[bytes(record.key)] = bytes(record.value)
    return table
