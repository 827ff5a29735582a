"""Appending to and reading from one partition's log."""

import errno
import os
from pathlib import Path

import pytest
from support.batches import make_batch, patch

from broker.log.config import LogConfig, TimestampType
from broker.log.partition_log import PartitionLog
from broker.log.segment import SegmentFile
from broker.wire.batch import BatchHeader
from broker.wire.errors import ErrorCode, KafkaError

NOW = 2_000_000


def new_log(tmp_path: Path, **config: object) -> PartitionLog:
    return PartitionLog(tmp_path / "t-0", LogConfig(**config))  # type: ignore[arg-type]


def append(log: PartitionLog, batch: bytearray | None = None, now_ms: int = NOW) -> int:
    return log.append(memoryview(batch if batch is not None else make_batch()), now_ms).base_offset


def offsets(log: PartitionLog, offset: int, max_bytes: int = 1 << 30) -> list[int]:
    """The base offsets of the batches that a read returns."""
    data = log.read(offset, max_bytes)
    found, position = [], 0
    content = memoryview(data.read()) if data else memoryview(b"")
    while position < len(content):
        header = BatchHeader(content, position)
        found.append(header.base_offset)
        position += header.batch_bytes
    assert position == len(content)
    return found


def refusal(log: PartitionLog, batch: bytearray) -> ErrorCode:
    with pytest.raises(KafkaError) as caught:
        append(log, batch)
    return caught.value.code


def test_an_empty_log_touches_nothing_on_disk(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    assert log.read(0, 1000) is None
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (0, 0, 0)
    assert not log.directory.exists()


def test_offsets_are_given_out_in_order(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    assert [append(log, make_batch(3)), append(log, make_batch(2)), append(log)] == [0, 3, 5]
    assert log.log_end_offset == 6


def test_a_read_in_the_middle_of_a_batch_returns_the_whole_batch(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    for _ in range(3):
        append(log, make_batch(10))
    assert offsets(log, 15) == [10, 20]
    assert offsets(log, 30) == []


@pytest.mark.parametrize("offset", [-1, 31, 1000])
def test_reads_outside_of_the_log_are_out_of_range(tmp_path: Path, offset: int) -> None:
    log = new_log(tmp_path)
    append(log, make_batch(30))
    with pytest.raises(KafkaError) as caught:
        log.read(offset, 1000)
    assert caught.value.code == ErrorCode.offset_out_of_range


def test_a_read_returns_whole_batches_up_to_the_limit_and_at_least_one(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    size = len(make_batch())
    for _ in range(5):
        append(log)
    assert offsets(log, 0, max_bytes=1) == [0]
    assert offsets(log, 1, max_bytes=2 * size) == [1, 2]
    assert offsets(log, 1, max_bytes=3 * size - 1) == [1, 2]
    assert log.read(0, 1, at_least_one=False) is None


def test_every_offset_is_found_over_segments_and_index_entries(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=4000, index_interval_bytes=200)
    while len(log.segments) < 4:
        append(log, make_batch(3))
    for offset in range(log.log_end_offset):
        assert offsets(log, offset, max_bytes=1) == [offset - offset % 3]


def test_a_segment_rolls_by_time_between_its_first_and_a_new_record(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_ms=100)
    append(log, make_batch(timestamps=[1000]))
    append(log, make_batch(timestamps=[1100]))
    assert len(log.segments) == 1
    append(log, make_batch(timestamps=[1101]))
    assert [segment.base_offset for segment in log.segments] == [0, 2]


def test_a_segment_file_is_named_by_its_first_offset(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200)
    append(log, make_batch(5))
    append(log, make_batch(5))
    names = {path.name for path in log.directory.iterdir()}
    assert {"00000000000000000000.log", "00000000000000000005.log"} <= names


def test_log_append_time_is_stamped_into_the_batch(tmp_path: Path) -> None:
    log = new_log(tmp_path, timestamp_type=TimestampType.LOG_APPEND_TIME)
    appended = log.append(memoryview(make_batch(2)), NOW)
    assert appended.append_time_ms == NOW
    data = log.read(0, 1000)
    assert data is not None
    header = BatchHeader(data.read())
    assert (header.max_timestamp, header.attributes & 0x08) == (NOW, 0x08)
    assert log.segments[0].max_timestamp == NOW


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (patch(make_batch(), ">i", 57, 2), ErrorCode.invalid_record),
        (patch(make_batch(), ">i", 23, 1), ErrorCode.invalid_record),
        (patch(make_batch(), ">i", 57, 0), ErrorCode.invalid_record),
        (patch(make_batch(), ">q", 0, 7), ErrorCode.invalid_record),
        (make_batch() + make_batch(), ErrorCode.invalid_record),
        (make_batch()[:-1], ErrorCode.invalid_record),
        (bytearray(), ErrorCode.invalid_record),
        (bytearray(10), ErrorCode.invalid_record),
        (patch(make_batch(), ">I", 17, 1, fix_crc=False), ErrorCode.corrupt_message),
        (patch(make_batch(), ">b", 16, 1), ErrorCode.corrupt_message),
        (patch(make_batch(), ">i", 8, 10), ErrorCode.corrupt_message),
        (patch(make_batch(), ">h", 21, 5), ErrorCode.invalid_record),
        (patch(make_batch(), ">h", 21, 0x20), ErrorCode.invalid_record),
        (patch(make_batch(), ">h", 21, 0x10), ErrorCode.invalid_record),
        (make_batch(timestamps=[NOW + 3_600_001]), ErrorCode.invalid_timestamp),
        (make_batch([b"x" * 2000]), ErrorCode.message_too_large),
    ],
)
def test_a_bad_batch_is_refused_and_leaves_no_trace(
    tmp_path: Path, batch: bytearray, code: ErrorCode
) -> None:
    log = new_log(tmp_path, max_message_bytes=1000)
    append(log)
    assert refusal(log, batch) == code
    assert (log.log_end_offset, append(log), offsets(log, 0)) == (1, 1, [0, 1])


def test_old_timestamps_are_refused_by_before_max(tmp_path: Path) -> None:
    log = new_log(tmp_path, timestamp_before_max_ms=1000)
    assert refusal(log, make_batch(timestamps=[NOW - 1001])) == ErrorCode.invalid_timestamp
    append(log, make_batch(timestamps=[NOW - 1000]))


def idempotent(sequence: int, count: int = 1, *, producer_epoch: int = 0) -> bytearray:
    return make_batch(count, producer_id=7, producer_epoch=producer_epoch, sequence=sequence)


def test_a_repeated_batch_is_answered_with_its_offset_and_not_appended(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    for sequence in range(0, 14, 2):
        append(log, idempotent(sequence, 2))
    assert [append(log, idempotent(sequence, 2)) for sequence in (4, 12, 8)] == [4, 12, 8]
    assert log.log_end_offset == 14
    # More than five batches back nobody remembers: that is a gap.
    assert refusal(log, idempotent(2, 2)) == ErrorCode.out_of_order_sequence_number


def test_sequences_must_follow_each_other(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    append(log, idempotent(0, 3))
    assert refusal(log, idempotent(4)) == ErrorCode.out_of_order_sequence_number
    assert append(log, idempotent(3)) == 3


def test_a_sequence_wraps_around(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    append(log, idempotent(2**31 - 2, 3))
    assert append(log, idempotent(1)) == 3


def test_a_new_epoch_begins_at_sequence_0_and_fences_the_old_one(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    append(log, idempotent(0))
    assert refusal(log, idempotent(1, producer_epoch=1)) == ErrorCode.out_of_order_sequence_number
    append(log, idempotent(0, producer_epoch=1))
    assert refusal(log, idempotent(1)) == ErrorCode.invalid_producer_epoch


def test_an_unknown_producer_may_begin_anywhere(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    append(log, idempotent(0))
    log.producers.expire(NOW + 1)
    assert append(log, idempotent(55)) == 1


def test_a_full_disk_is_answered_and_appends_work_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log(tmp_path)
    append(log)
    write = os.pwrite

    def fill_up(fd: int, data: memoryview, position: int) -> int:
        if position == log.segments[0].size:
            return write(fd, data[:30], position)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fill_up)
        assert refusal(log, make_batch()) == ErrorCode.kafka_storage_error
    assert log.segments[0].file.path.stat().st_size == log.segments[0].size
    assert (append(log), offsets(log, 0)) == (1, [0, 1])


def test_an_index_that_cannot_be_written_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log(tmp_path, index_interval_bytes=0)
    append(log)
    with monkeypatch.context() as patched:
        patched.setattr("broker.log.index.PENDING_BYTES_MAX", 8)
        patched.setattr(os, "open", raise_emfile)
        for _ in range(20):
            append(log)
    for offset in range(21):
        assert offsets(log, offset, max_bytes=1) == [offset]
    log.roll(NOW)
    assert len(list(log.directory.glob("*.index"))) == 1


def raise_emfile(*_: object) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_failed_sync_takes_the_log_offline_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log(tmp_path)
    append(log)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        job = log.begin_sync()
        job.run(set())
    log.finish_sync(job)
    assert refusal(log, make_batch()) == ErrorCode.kafka_storage_error
    with pytest.raises(KafkaError, match="Input/output error"):
        log.read(0, 1000)
    assert log.recovery_point == 0


def test_a_sync_covers_what_was_written_before_it(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200)
    append(log, make_batch(5))
    append(log, make_batch(5))
    job = log.begin_sync()
    append(log)
    job.run(set())
    log.finish_sync(job)
    assert len([file for file in job.files if file.path.suffix == ".log"]) == 2
    assert {log.directory, tmp_path} == set(job.directories)
    assert any(file.path == log.metadata_path for file in job.files)
    assert log.recovery_point == 10
    assert not log.is_synced


def test_retention_by_size_keeps_the_newest_segments(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200, retention_bytes=400)
    for _ in range(10):
        append(log, make_batch(5))
    size = log.segments[0].size
    deleted = log.enforce_retention(NOW)
    assert deleted > 0
    assert 400 <= log.size < 400 + size
    assert log.log_start_offset == deleted * 5
    with pytest.raises(KafkaError):
        log.read(0, 1000)
    assert offsets(log, log.log_start_offset, 1) == [log.log_start_offset]
    assert len(list(log.directory.glob("*.log"))) == len(log.segments)


def test_retention_by_time_deletes_all_that_is_too_old_the_active_segment_too(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200, retention_ms=500)
    for timestamp in (1000, 2000, 3000):
        append(log, make_batch(3, timestamps=[timestamp] * 3))
    assert log.enforce_retention(2500) == 1
    assert log.log_start_offset == 3
    log.enforce_retention(4000)
    assert (log.log_start_offset, log.log_end_offset) == (9, 9)
    assert append(log) == 9


def test_no_retention_without_the_delete_policy(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200, retention_ms=1, delete=False)
    append(log, make_batch(5))
    append(log, make_batch(5))
    assert log.enforce_retention(10**12) == 0


def test_a_slice_outlives_the_deletion_of_its_segment(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200, retention_ms=1)
    append(log, make_batch(5))
    data = log.read(0, 1000)
    log.enforce_retention(10**12)
    assert data is not None
    assert BatchHeader(data.read()).base_offset == 0


def test_a_segment_file_closes_with_its_last_reader(tmp_path: Path) -> None:
    file = SegmentFile(tmp_path / "x.log", create=True)
    fd = file.fd
    del file
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_listeners_hear_of_appends_and_of_the_end(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    heard: list[int] = []
    log.append_listeners.add(heard.append)
    append(log)
    log.fail("broken")
    assert heard == [len(make_batch()), 0]
