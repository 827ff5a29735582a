"""The life of segments: when they roll, when they go, where the log starts, and what a start makes of it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.batches import make_batch
from support.compaction import committed_records, compact_log, keyed_batch, open_log, sync

from broker.log.config import LogConfig
from broker.log.deletion import DeletedFiles
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.timestamps import find_by_timestamp, find_max_timestamp
from broker.wire.errors import ErrorCode, KafkaError

NOW = 1_000_000


def new_log(tmp_path: Path, **config: object) -> PartitionLog:
    return open_log(tmp_path / "data", LogConfig(**config))[1]  # type: ignore[arg-type]


def append(log: PartitionLog, *timestamps: int, now_ms: int = NOW) -> None:
    for timestamp in timestamps:
        log.append(memoryview(make_batch(1, timestamps=[timestamp])), now_ms)


def bases(log: PartitionLog) -> list[int]:
    return [segment.base_offset for segment in log.segments]


def offsets(log: PartitionLog) -> list[int]:
    return [record.offset for record in committed_records(log)]


def killed(log: PartitionLog, tmp_path: Path) -> Path:
    """The data directory as a kill at this moment leaves it."""
    return shutil.copytree(log.directory.parent, tmp_path / f"killed-{len(list(tmp_path.iterdir()))}")


def code_of(error: pytest.ExceptionInfo[KafkaError]) -> ErrorCode:
    return error.value.code


# --- rolling ---


def test_a_segment_is_full_when_its_first_record_is_old_by_the_records_clock(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_ms=100)
    append(log, 5000, 5100, now_ms=NOW)
    append(log, 5050, now_ms=NOW + 10**6)
    assert bases(log) == [0]
    append(log, 5101, 5000)
    assert bases(log) == [0, 3], "an older record does not make a segment full"


def test_without_timestamps_the_brokers_clock_counts(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_ms=100)
    append(log, -1, now_ms=NOW)
    append(log, -1, now_ms=NOW + 100)
    assert bases(log) == [0]
    append(log, -1, now_ms=NOW + 101)
    assert bases(log) == [0, 2]


def test_the_jitter_shortens_the_time_at_random(tmp_path: Path) -> None:
    starts = set()
    for number in range(20):
        log = open_log(tmp_path / str(number), LogConfig(segment_ms=100, segment_jitter_ms=80))[1]
        append(log, *range(5000, 5102))
        starts.add(bases(log)[1])
    assert min(starts) > 20
    assert len(starts) > 5


def test_a_segment_is_full_when_its_index_is(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_index_bytes=120, index_interval_bytes=0)
    append(log, *range(5000, 5100))
    log.segments[0].seal()
    assert len(log.segments) > 5
    for segment in log.segments[:-1]:
        assert segment.time_index.size <= 120
        assert segment.offset_index.size <= 120


def test_settings_hold_as_soon_as_they_are_changed(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    append(log, 5000)
    log.reconfigure(LogConfig(segment_bytes=100))
    append(log, 5000, 5000)
    assert bases(log) == [0, 1, 2]
    log.reconfigure(LogConfig(retention_bytes=0))
    assert log.enforce_retention(NOW) == 3
    log.reconfigure(LogConfig(max_message_bytes=10))
    with pytest.raises(KafkaError) as error:
        append(log, 5000)
    assert code_of(error) == ErrorCode.message_too_large


# --- retention ---


def test_retention_by_size_takes_the_active_segment_too_when_nothing_may_stay(tmp_path: Path) -> None:
    log = new_log(tmp_path, retention_bytes=0)
    append(log, 5000, 5000)
    assert log.enforce_retention(NOW) == 1
    assert (log.log_start_offset, log.log_end_offset, bases(log)) == (2, 2, [2])
    assert log.enforce_retention(NOW) == 0, "an empty active segment stays"


def test_a_compacted_log_is_not_shortened_unless_it_is_deleted_from_as_well(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=100, compact=True, delete=False, retention_ms=1, retention_bytes=0)
    for _ in range(4):
        log.append(keyed_batch([(b"k", b"v")]), NOW)
    assert log.enforce_retention(NOW) == 0
    log.reconfigure(LogConfig(compact=True, delete=True, retention_ms=1))
    log.is_being_cleaned = True
    assert log.enforce_retention(NOW) == 0, "it waits for the compaction"
    log.is_being_cleaned = False
    assert log.enforce_retention(NOW) == 4


def test_deleted_files_stay_for_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    log = new_log(tmp_path, segment_bytes=100, retention_ms=1, file_delete_delay_ms=5000)
    deleted = DeletedFiles()
    log.segments._deleted = deleted
    append(log, 5000, 5000, 5000)
    reader = log.read(0, 100)
    assert log.enforce_retention(NOW) == 3
    names = sorted(path.name for path in log.directory.glob("*.log*"))
    assert names == [f"{n:020d}.log.deleted" for n in range(3)] + [f"{3:020d}.log"]
    clock = 4.9
    assert deleted.take_due() == []
    clock = 5.0
    deleted.remove(deleted.take_due())
    assert len(deleted) == 0
    assert [path.name for path in log.directory.glob("*.log*")] == [f"{3:020d}.log"]
    assert reader is not None
    assert len(reader.read()) == reader.length, "who reads a segment may go on"


def test_a_start_removes_what_was_deleted(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=100, retention_ms=1)
    append(log, 5000, 5000)
    log.enforce_retention(NOW)
    again = open_log(killed(log, tmp_path), log.config)[1]
    assert not list(again.directory.glob("*.deleted"))
    assert (again.log_start_offset, again.log_end_offset) == (2, 2)


# --- preallocation ---


def test_space_is_set_aside_and_given_back(tmp_path: Path) -> None:
    config = LogConfig(preallocate=True, segment_bytes=100_000)
    manager, log = open_log(tmp_path / "data", config)
    append(log, 5000, 5000)
    [first] = log.directory.glob("*.log")
    assert first.stat().st_size == 100_000
    sync(log)

    again = open_log(killed(log, tmp_path), config)[1]
    assert again.failure is None
    assert offsets(again) == [0, 1]
    append(again, 5000)
    assert offsets(again) == [0, 1, 2]

    log.roll(NOW)
    assert first.stat().st_size == log.segments[0].size
    append(log, 5000)
    manager.close()
    assert [path.stat().st_size for path in sorted(log.directory.glob("*.log"))] == [
        segment.size for segment in log.segments
    ]
    assert offsets(open_log(tmp_path / "data", config)[1]) == [0, 1, 2]


# --- the start of the log ---


def test_deleted_records_are_gone_for_good(tmp_path: Path) -> None:
    log = new_log(tmp_path, segment_bytes=200)
    append(log, *[5000] * 10)
    log.delete_records(5)
    assert log.log_start_offset == 5
    assert offsets(log) == [5, 6, 7, 8, 9]
    with pytest.raises(KafkaError) as error:
        log.read(4, 1000)
    assert code_of(error) == ErrorCode.offset_out_of_range
    assert log.enforce_retention(NOW) == 2, "whole segments before it go at the next turn of retention"
    log.delete_records(3)
    assert log.log_start_offset == 5, "it never goes back"

    again = open_log(killed(log, tmp_path), log.config)[1]
    assert offsets(again) == [5, 6, 7, 8, 9]
    again.delete_records(-1)
    assert (again.log_start_offset, again.log_end_offset) == (10, 10)
    assert again.read(10, 1000) is None
    append(again, 5000)
    last = open_log(killed(again, tmp_path), log.config)[1]
    assert offsets(last) == [10]
    assert len(list(last.directory.glob("*.logstart"))) == 1


def test_records_that_cannot_be_deleted(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    append(log, 5000, 5000)
    for offset in (3, -2):
        with pytest.raises(KafkaError) as error:
            log.delete_records(offset)
        assert code_of(error) == ErrorCode.offset_out_of_range
    log.reconfigure(LogConfig(compact=True, delete=False))
    with pytest.raises(KafkaError) as error:
        log.delete_records(1)
    assert code_of(error) == ErrorCode.policy_violation
    assert offsets(log) == [0, 1]


def test_a_log_that_has_lost_its_end_goes_on_at_its_start(tmp_path: Path) -> None:
    """A loss of power took records that were not synced, but left the name that says where the log starts."""
    log = new_log(tmp_path)
    append(log, *[5000] * 10)
    log.delete_records(8)
    data_dir = killed(log, tmp_path)
    os.truncate(data_dir / "t-0" / f"{0:020d}.log", 0)
    again = open_log(data_dir, log.config)[1]
    assert (again.log_start_offset, again.log_end_offset) == (8, 8)
    append(again, 5000)
    assert offsets(open_log(killed(again, tmp_path), log.config)[1]) == [8]


# --- files that are gone ---


@pytest.mark.parametrize("is_clean", [True, False])
def test_a_segment_that_somebody_took_away_is_noticed(tmp_path: Path, is_clean: bool) -> None:
    manager, log = open_log(tmp_path / "data", LogConfig(segment_bytes=200))
    append(log, *[5000] * 10)
    sync(log)
    if is_clean:
        manager.close()
    else:
        manager.write_checkpoint(manager.recovery_points())
    data_dir = killed(log, tmp_path)
    shutil.copytree(data_dir, tmp_path / "intact")
    assert open_log(tmp_path / "intact", log.config)[1].failure is None
    (data_dir / "t-0" / f"{4:020d}.log").unlink()
    again = open_log(data_dir, log.config)[1]
    assert again.failure is not None
    assert "offsets 4 to 5 are missing between 00000000000000000002.log and" in again.failure.message


def test_gaps_that_compaction_has_left_are_none(tmp_path: Path) -> None:
    config = LogConfig(segment_bytes=200, compact=True, delete=False, min_cleanable_dirty_ratio=0.0)
    manager, log = open_log(tmp_path / "data", config)
    for number in range(30):
        log.append(keyed_batch([(b"k%d" % (number % 2), b"%d" % number)]), NOW)
    compact_log(log, now_ms=NOW)
    assert [segment.size for segment in log.segments].count(0) > 5
    found = offsets(log)
    for data_dir in (killed(log, tmp_path), closed(manager, log, tmp_path)):
        assert offsets(open_log(data_dir, config)[1]) == found


def closed(manager: LogManager, log: PartitionLog, tmp_path: Path) -> Path:
    manager.close()
    return killed(log, tmp_path)


def test_a_longer_compacted_mark_does_not_hide_a_segment_that_is_gone_after_it(tmp_path: Path) -> None:
    config = LogConfig(segment_bytes=200, compact=True, delete=False, min_cleanable_dirty_ratio=0.0)
    _, log = open_log(tmp_path / "data", config)
    for number in range(10):
        log.append(keyed_batch([(b"k", b"%d" % number)]), NOW)
    log.reconfigure(replace(config, min_compaction_lag_ms=1 << 40))
    log.segments.mark_compacted(4)
    sync(log)
    data_dir = killed(log, tmp_path)
    (data_dir / "t-0" / f"{6:020d}.log").unlink()
    assert open_log(data_dir, config)[1].failure is not None


# --- searching by time ---


def test_no_search_finds_what_was_deleted_or_compacted_away(tmp_path: Path) -> None:
    config = LogConfig(compact=True, min_cleanable_dirty_ratio=0.0)
    log = open_log(tmp_path / "data", config)[1]
    for key, timestamp in [(b"a", 100), (b"b", 200), (b"a", 300), (b"c", 400)]:
        log.append(
            keyed_batch(
                [(key, b"1")], timestamps=[timestamp], producer_id=timestamp, producer_epoch=0, sequence=0
            ),
            NOW,
        )
    log.roll(NOW)
    compact_log(log)
    assert find_by_timestamp(log, 50) == (200, 1), "the first batch is still there, but has no records"
    log.delete_records(2)
    assert find_by_timestamp(log, 50) == (300, 2)
    assert find_by_timestamp(log, 401) is None
    assert find_max_timestamp(log) == (400, 3)


def test_no_space_for_a_new_segment_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LogConfig(preallocate=True, segment_bytes=200)
    log = open_log(tmp_path / "data", config)[1]
    append(log, 5000, 5000)

    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(KafkaError) as error:
            append(log, 5000)
        assert code_of(error) == ErrorCode.kafka_storage_error
    assert len(list(log.directory.glob("*.log"))) == 1
    append(log, 5000)
    assert offsets(open_log(killed(log, tmp_path), config)[1]) == [0, 1, 2]
