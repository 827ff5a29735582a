"""Opening a partition's directory: what a kill or a power failure may have left is put in order.

Everything before the recovery point was synced and is trusted; so is everything after a clean
shutdown. Only the rest is read and its CRCs checked, up to the first batch that is not whole:

* nothing readable follows: it is the torn tail of a write that nobody was told about, and cut off;
* it lies before the recovery point, or good batches follow it: records that were acknowledged may be
  lost, so nothing is touched and the log stays offline.

A gap between two segments is a file that somebody took away, unless compaction has been there: then, too,
the log stays offline. Oldest segments that are gone cannot be told from those that retention deleted.

Indexes and snapshots that are missing or no good are made anew.
"""

import mmap
import os

import structlog

from broker.log.partition_log import LEADER_EPOCH, PartitionLog
from broker.log.producer_snapshot import Checksums, read_snapshot
from broker.log.segment import LOOKUP_BYTES, RELATIVE_OFFSET_MAX, SUFFIXES, Segment
from broker.log.swap import finish_swaps
from broker.log.transactions import IndexChecksum
from broker.wire.batch import HEADER_BYTES, NO_PRODUCER_ID, BatchHeader, InvalidBatch, check_crc
from broker.wire.markers import read_marker

logger = structlog.get_logger(__name__)

TRUST_ALL = 2**63 - 1
"""A recovery point that no offset comes up to."""

_BATCH_MARK = b"\0\0\0\0\x02"
"""Leader epoch and magic of every batch that this broker writes, at byte 12 of it."""

_MARK_POSITION = 12


class CorruptLog(Exception):
    """Damage that is no torn tail; the message says where."""


def open_log(log: PartitionLog, synced_offset: int, *, clean: bool) -> None:
    """Fill `log` from its directory. A damaged log is left as it is on disk, and offline.

    All before `synced_offset` was on disk for sure; after a `clean` shutdown all that there is was.
    """
    try:
        recovery_point = TRUST_ALL if clean else synced_offset
        log.adopt(_recovered_segments(log, recovery_point), recovery_point)
        if log.log_end_offset < synced_offset:
            raise CorruptLog(f"it ends at offset {log.log_end_offset} and has had all before {synced_offset}")
        log.begin_at_log_start()
        _load_producers(log)
    except (CorruptLog, InvalidBatch, OSError) as exc:
        log.recovery_point = synced_offset  # what was intact must not become a torn tail at the next start
        log.fail(
            f"{log.directory.name} is offline: {exc}. Nothing was changed: restore the file from a copy, or "
            "stop the broker and see what 'millstream log verify' finds and 'millstream log repair' can do"
        )


def _recovered_segments(log: PartitionLog, recovery_point: int) -> list[Segment]:
    segments = _open_segments(log) if log.directory.exists() else []
    compacted_until = log.segments.compacted_until
    for number, segment in enumerate(segments):
        following = segments[number + 1 :]
        next_base = following[0].base_offset if following else TRUST_ALL
        if following and next_base <= recovery_point:
            segment.trust(next_base)
            is_torn = False
            if next_base > compacted_until:
                segment.next_offset = _end_offset(segment)
        else:
            is_torn = _recover(segment, recovery_point, following, compacted_until)
        has_gap = following and next_base > max(segment.next_offset, compacted_until)
        if has_gap and (next_base <= recovery_point or any(later.size for later in following)):
            raise CorruptLog(
                f"offsets {segment.next_offset} to {next_base - 1} are missing between "
                f"{segment.file.path.name} and {following[0].file.path.name}"
            )
        if is_torn or has_gap:
            for empty in following:
                empty.unlink()
            return segments[: number + 1]
    return segments


def _end_offset(segment: Segment) -> int:
    """The offset after the last one that is in the segment."""
    entry, start = segment.offset_index.last(), 0
    if entry is not None:
        try:
            found = segment.position_of(segment.base_offset + entry[0])
            start = found[0] if found else 0
        except InvalidBatch:
            segment.rebuild_indexes()
    end_offset = segment.base_offset
    for _, header in segment.batches(start, chunk_bytes=LOOKUP_BYTES):
        end_offset = header.last_offset + 1
    return end_offset


def _open_segments(log: PartitionLog) -> list[Segment]:
    finish_swaps(log.directory)
    log.segments.load_marks()
    names = {path.stem for path in log.directory.glob("*.log")}
    for path in log.directory.iterdir():
        if path.suffix == ".tmp" or (path.suffix in SUFFIXES and path.stem not in names):
            path.unlink()
    interval = log.config.index_interval_bytes
    return [
        Segment(log.directory, int(name), index_interval_bytes=interval, create=False)
        for name in sorted(names)
    ]


def _recover(segment: Segment, recovery_point: int, following: list[Segment], compacted_until: int) -> bool:
    """Read the part that is not trusted, and cut a torn tail off. True when there was one."""
    position = segment.resume_indexes(recovery_point)
    end = _read_batches(segment, position, recovery_point, following, compacted_until)
    torn = segment.size - end
    if not torn:
        return False
    name = str(segment.file.path)
    logger.warning("torn tail cut off", segment=name, next_offset=segment.next_offset, bytes=torn)
    os.ftruncate(segment.file.fd, end)
    segment.size = end
    return True


def _read_batches(
    segment: Segment, position: int, recovery_point: int, following: list[Segment], compacted_until: int
) -> int:
    """Where the last whole batch ends. Raises CorruptLog when more than a torn tail is wrong."""
    try:
        for verify in (False, True):  # first what is trusted, then the rest
            for start, header in segment.batches(position, verify=verify):
                if not verify and header.base_offset >= recovery_point:
                    break
                _check_order(segment, header, appended=verify and header.base_offset > compacted_until)
                segment.add_to_indexes(start, header)
                position = start + header.batch_bytes
    except InvalidBatch as exc:
        where = f"{segment.file.path} at position {position}, offset {segment.next_offset}: {exc}"
        if segment.next_offset < min(recovery_point, segment.base_offset + RELATIVE_OFFSET_MAX):
            raise CorruptLog(f"{where}; that was intact before") from exc
        if any(later.size for later in following) or _batch_follows(segment, position):
            raise CorruptLog(f"{where}; records follow it") from exc
    return position


def _check_order(segment: Segment, header: BatchHeader, *, appended: bool) -> None:
    """What is not synced yet was `appended` as it is; older parts may have gaps, by compaction."""
    expected = segment.next_offset
    gap = header.base_offset - expected
    # The CRC covers neither of these two fields.
    if gap < 0 or (appended and (gap > 0 or header.partition_leader_epoch != LEADER_EPOCH)):
        raise InvalidBatch(f"offset {header.base_offset} instead of {expected}, or a wrong leader epoch")


def _batch_follows(segment: Segment, position: int) -> bool:
    """Whether an intact batch with a later offset is anywhere after the damaged one at `position`."""
    with (
        mmap.mmap(segment.file.fd, segment.size, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        found = position + 1
        while (found := content.find(_BATCH_MARK, found + _MARK_POSITION) - _MARK_POSITION) > position:
            if found + HEADER_BYTES > segment.size:
                break
            header = BatchHeader(view, found)
            end = found + header.batch_bytes
            if 0 <= header.base_offset - segment.next_offset <= RELATIVE_OFFSET_MAX and end <= segment.size:
                with view[found:end] as batch:
                    try:
                        check_crc(batch, header)
                    except InvalidBatch:
                        pass  # it only looked like a batch
                    else:
                        return True
            found += 1
    return False


def _load_producers(log: PartitionLog) -> None:
    """Producers, open and aborted transactions at the log's end: the newest good snapshot, then what the
    log says after it."""
    known_until = _load_snapshot(log)
    for segment in log.segments.since(known_until):
        if segment.next_offset <= known_until:
            continue
        seen_ms = int(os.fstat(segment.file.fd).st_mtime * 1000)
        found = segment.position_of(max(known_until, segment.base_offset))
        for position, header in segment.batches(found[0] if found else segment.size):
            if header.producer_id != NO_PRODUCER_ID:
                _replay(log, segment, position, header, seen_ms)


def _load_snapshot(log: PartitionLog) -> int:
    """The offset up to which a snapshot has told all; the start of the log without one."""
    for path in sorted(log.directory.glob("*.snapshot"), reverse=True):
        offset = int(path.stem) if path.stem.isdecimal() else -1
        if not log.log_start_offset <= offset <= log.log_end_offset:
            path.unlink()  # of a tail that is gone, or older than all records
            continue
        checksums = read_snapshot(path, log.producers)
        if checksums is not None and _restore_aborted(log, checksums):
            log.snapshot_offset = offset
            return offset
    log.producers.clear()
    for segment in log.segments:
        segment.aborted.clear()
    return log.log_start_offset


def _restore_aborted(log: PartitionLog, checksums: Checksums) -> bool:
    """Take over the aborted indexes that a snapshot confirms; False when any is another one.

    So is one whose segment is not there, unless retention has deleted it: compaction has put its entries
    into the index of the segment before it, where nothing would miss them.
    """
    bases = {segment.base_offset for segment in log.segments}
    oldest = min(bases, default=0)
    if any(base >= oldest and base not in bases for base in checksums):
        return False
    return all(s.aborted.restore(checksums.get(s.base_offset, IndexChecksum())) for s in log.segments)


def _replay(log: PartitionLog, segment: Segment, position: int, header: BatchHeader, seen_ms: int) -> None:
    if not header.is_control:
        log.producers.add(header, seen_ms)
        return
    marker = read_marker(memoryview(os.pread(segment.file.fd, header.batch_bytes, position)), header)
    if marker is not None:
        log.note_marker(marker, segment, header, seen_ms)
