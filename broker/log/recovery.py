"""Opening a partition's directory: what a kill or a power failure may have left is put in order.

Everything before the recovery point was synced and is trusted; so is everything after a clean
shutdown. Only the rest is read and its CRCs checked, up to the first batch that is not whole:

* nothing readable follows: it is the torn tail of a write that nobody was told about, and cut off;
* it lies before the recovery point, or good batches follow it: records that were acknowledged may be
  lost, so nothing is touched and the log stays offline.

Indexes and snapshots that are missing or no good are made anew.
"""

import mmap
import os

import structlog

from broker.log.partition_log import LEADER_EPOCH, PartitionLog
from broker.log.segment import RELATIVE_OFFSET_MAX, Segment
from broker.wire.batch import HEADER_BYTES, NO_PRODUCER_ID, BatchHeader, InvalidBatch, check_crc

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
        _load_producers(log)
    except (CorruptLog, InvalidBatch, OSError) as exc:
        log.recovery_point = synced_offset  # what was intact must not become a torn tail at the next start
        log.fail(
            f"{log.directory.name} is offline: {exc}. Nothing was changed: restore the file from a copy, "
            "or delete the topic"
        )


def _recovered_segments(log: PartitionLog, recovery_point: int) -> list[Segment]:
    segments = _open_segments(log) if log.directory.exists() else []
    for number, segment in enumerate(segments):
        following = segments[number + 1 :]
        if following and following[0].base_offset <= recovery_point:
            _trust(segment, following[0].base_offset)
        elif _recover(segment, recovery_point, following):
            for empty in following:
                empty.unlink()
            return segments[: number + 1]
    return segments


def _open_segments(log: PartitionLog) -> list[Segment]:
    names = {path.stem for path in log.directory.glob("*.log")}
    for path in log.directory.iterdir():
        if path.suffix == ".tmp" or (path.suffix in (".index", ".timeindex") and path.stem not in names):
            path.unlink()
    interval = log.config.index_interval_bytes
    return [
        Segment(log.directory, int(name), index_interval_bytes=interval, create=False)
        for name in sorted(names)
    ]


def _trust(segment: Segment, next_offset: int) -> None:
    segment.next_offset = next_offset
    if segment.size and not (segment.indexes_are_sane and segment.load_max_timestamp()):
        segment.rebuild_indexes()


def _recover(segment: Segment, recovery_point: int, following: list[Segment]) -> bool:
    """Read the part that is not trusted, and cut a torn tail off. True when there was one."""
    position = segment.resume_indexes(recovery_point)
    end = _read_batches(segment, position, recovery_point, following)
    torn = segment.size - end
    if not torn:
        return False
    name = str(segment.file.path)
    logger.warning("torn tail cut off", segment=name, next_offset=segment.next_offset, bytes=torn)
    os.ftruncate(segment.file.fd, end)
    segment.size = end
    return True


def _read_batches(segment: Segment, position: int, recovery_point: int, following: list[Segment]) -> int:
    """Where the last whole batch ends. Raises CorruptLog when more than a torn tail is wrong."""
    try:
        for verify in (False, True):  # first what is trusted, then the rest
            for start, header in segment.batches(position, verify=verify):
                if not verify and header.base_offset >= recovery_point:
                    break
                _check_order(segment, header, appended=verify)
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
    """The producers' state at the log's end: the newest good snapshot, then what the log says after it."""
    known_until = log.log_start_offset
    for path in sorted(log.directory.glob("*.snapshot"), reverse=True):
        offset = int(path.stem) if path.stem.isdecimal() else -1
        if not log.log_start_offset <= offset <= log.log_end_offset:
            path.unlink()  # of a tail that is gone, or older than all records
        elif log.producers.read_snapshot(path):
            known_until = log.snapshot_offset = offset
            break
    for segment in log.segments:
        if segment.next_offset <= known_until:
            continue
        found = segment.position_of(max(known_until, segment.base_offset))
        for _, header in segment.batches(found[0] if found else segment.size):
            if header.producer_id != NO_PRODUCER_ID and not header.is_control:
                log.producers.add(header, header.max_timestamp)
