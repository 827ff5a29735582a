"""What a start makes of the files that a kill, a power failure or a bad disk has left."""

import os
import shutil
import uuid
from pathlib import Path

import pytest
from support.batches import make_batch

from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.timestamps import find_by_timestamp, find_max_timestamp
from broker.wire.batch import BatchHeader
from broker.wire.errors import ErrorCode, KafkaError

TOPIC_ID = uuid.UUID(int=5)
NOW = 10_000


def open_log(data_dir: Path, topic_id: uuid.UUID = TOPIC_ID, **config: object) -> PartitionLog:
    """What the broker does at its start, with one partition in the catalog."""
    data_dir.mkdir(exist_ok=True)
    manager = LogManager(data_dir)
    log = manager.create("t", topic_id, 0, LogConfig(index_interval_bytes=100, **config))  # type: ignore[arg-type]
    manager.finish_start()
    log.manager = manager  # type: ignore[attr-defined]
    return log


class Disk:
    """A data directory with a log of batches of three records, and a copy of it as of now."""

    def __init__(self, tmp_path: Path, batches: int, **config: object) -> None:
        self.config = config
        self.path = tmp_path / "data"
        self._copies = tmp_path
        self.manager = LogManager(self._made())
        self.log = self.manager.create("t", TOPIC_ID, 0, LogConfig(index_interval_bytes=100, **config))  # type: ignore[arg-type]
        self.manager.finish_start()
        for number in range(batches):
            self.append(number)

    def _made(self) -> Path:
        self.path.mkdir()
        return self.path

    def append(self, number: int) -> None:
        values = [b"%d-%d" % (number, record) for record in range(3)]
        batch = make_batch(values, timestamps=[NOW + 3 * number + record for record in range(3)],
                           producer_id=1, producer_epoch=0, sequence=3 * number)  # fmt: skip
        self.log.append(memoryview(batch), NOW)

    def sync(self) -> None:
        job = self.log.begin_sync()
        job.run(set())
        self.log.finish_sync(job)
        self.manager.write_checkpoint(self.manager.recovery_points())

    def killed(self) -> Path:
        """The directory as a kill at this moment leaves it."""
        copy = self._copies / uuid.uuid4().hex
        shutil.copytree(self.path, copy)
        return copy

    def reopen(self, data_dir: Path) -> PartitionLog:
        return open_log(data_dir, **self.config)


def read_all(log: PartitionLog) -> bytes:
    content, offset = b"", log.log_start_offset
    while (data := log.read(offset, 1 << 30)) is not None:
        content += data.read()
        offset = BatchHeader(content, len(content) - last_batch_bytes(content)).last_offset + 1
    return content


def last_batch_bytes(content: bytes) -> int:
    position = 0
    while position + BatchHeader(content, position).batch_bytes < len(content):
        position += BatchHeader(content, position).batch_bytes
    return len(content) - position


def active_file(data_dir: Path) -> Path:
    return max((data_dir / "t-0").glob("*.log"))


def failure(log: PartitionLog) -> KafkaError:
    with pytest.raises(KafkaError) as caught:
        log.read(0, 1000)
    assert caught.value.code == ErrorCode.kafka_storage_error
    return caught.value


def test_after_a_kill_everything_written_is_there(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 20, segment_bytes=500)
    log = disk.reopen(disk.killed())
    assert log.log_end_offset == 60
    assert read_all(log) == read_all(disk.log)
    assert len(log.segments) == len(disk.log.segments)


def test_after_a_clean_shutdown_nothing_is_read_but_the_end(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 20, segment_bytes=500)
    disk.manager.close()
    copy = disk.killed()
    log = disk.reopen(copy)
    assert read_all(log) == read_all(disk.log)
    assert log.is_synced
    assert not (copy / ".kafka_cleanshutdown").exists()  # until the next clean shutdown


def test_the_last_batch_cut_at_every_byte_is_removed(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    whole = read_all(disk.log)
    batch_bytes = last_batch_bytes(whole)
    for cut in range(1, batch_bytes + 1):
        copy = disk.killed()
        os.truncate(active_file(copy), len(whole) - cut)
        log = disk.reopen(copy)
        assert log.log_end_offset == 9
        assert read_all(log) == whole[:-batch_bytes]
        shutil.rmtree(copy)


def test_a_bit_flip_anywhere_in_the_unsynced_last_batch_removes_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    whole = read_all(disk.log)
    start = len(whole) - last_batch_bytes(whole)
    for position in range(start, len(whole)):
        copy = disk.killed()
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        active_file(copy).write_bytes(damaged)
        log = disk.reopen(copy)
        assert log.failure is None, position
        assert read_all(log) == whole[:start], position
        shutil.rmtree(copy)


@pytest.mark.parametrize("zeros", [1, 60, 61, 100, 5000])
def test_a_zero_filled_tail_is_removed(tmp_path: Path, zeros: int) -> None:
    disk = Disk(tmp_path, 4)
    whole = read_all(disk.log)
    copy = disk.killed()
    active_file(copy).write_bytes(whole + bytes(zeros))
    log = disk.reopen(copy)
    assert read_all(log) == whole
    assert active_file(copy).stat().st_size == len(whole)


def test_appends_go_on_after_a_torn_tail(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    copy = disk.killed()
    os.truncate(active_file(copy), active_file(copy).stat().st_size - 1)
    log = disk.reopen(copy)
    assert log.append(memoryview(make_batch()), NOW).base_offset == 9


def test_damage_before_the_recovery_point_takes_the_log_offline_and_changes_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    disk.sync()
    copy = disk.killed()
    file = active_file(copy)
    damaged = file.read_bytes()[:-1]
    file.write_bytes(damaged)
    assert "intact before" in failure(disk.reopen(copy)).message
    # Nor does the next start think of it as a torn tail.
    log = disk.reopen(copy)
    assert "intact before" in failure(log).message
    with pytest.raises(KafkaError):
        log.append(memoryview(make_batch()), NOW)
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("loss", ["batch", "everything", "directory"])
def test_a_log_that_ends_too_early_is_offline(tmp_path: Path, loss: str, *, clean: bool) -> None:
    """A loss at a batch's end looks like a whole log; what was synced says that it is none."""
    disk = Disk(tmp_path, 4)
    disk.sync()
    if clean:
        disk.manager.close()
    copy = disk.killed()
    whole = read_all(disk.log)
    if loss == "directory":
        shutil.rmtree(copy / "t-0")
    else:
        keep = len(whole) - last_batch_bytes(whole) if loss == "batch" else 0
        os.truncate(active_file(copy), keep)
    for _ in range(2):
        assert "has had all before 12" in failure(disk.reopen(copy)).message


def test_damage_with_good_batches_after_it_takes_the_log_offline(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    whole = read_all(disk.log)
    copy = disk.killed()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    active_file(copy).write_bytes(damaged)
    assert "records follow it" in failure(disk.reopen(copy)).message
    assert active_file(copy).read_bytes() == damaged


def test_a_damaged_length_with_good_batches_after_it_takes_the_log_offline(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    damaged = bytearray(read_all(disk.log))
    damaged[8] = 0x7F
    copy = disk.killed()
    active_file(copy).write_bytes(damaged)
    assert "records follow it" in failure(disk.reopen(copy)).message


def test_damage_in_a_segment_that_is_not_the_last_takes_the_log_offline(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 20, segment_bytes=500)
    copy = disk.killed()
    first = min((copy / "t-0").glob("*.log"))
    first.write_bytes(first.read_bytes()[:-5])
    assert "records follow it" in failure(disk.reopen(copy)).message


def test_a_tail_torn_off_before_an_empty_segment_joins_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    disk.log.roll(NOW)
    copy = disk.killed()
    first = min((copy / "t-0").glob("*.log"))
    os.truncate(first, first.stat().st_size - 1)
    log = disk.reopen(copy)
    assert (log.log_end_offset, len(log.segments)) == (9, 1)
    assert log.append(memoryview(make_batch()), NOW).base_offset == 9


def test_a_start_that_does_not_come_about_changes_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    copy = disk.killed()
    os.truncate(active_file(copy), active_file(copy).stat().st_size - 1)
    LogManager(copy).close()  # the port was in use, say
    log = disk.reopen(copy)
    assert (log.failure, log.log_end_offset) == (None, 9)


@pytest.mark.parametrize("suffix", [".index", ".timeindex", ".snapshot"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "odd", "zeros"])
@pytest.mark.parametrize("clean", [True, False])
def test_helper_files_that_are_no_good_are_made_anew(
    tmp_path: Path, suffix: str, damage: str, clean: bool
) -> None:
    disk = Disk(tmp_path, 40, segment_bytes=1500)
    whole = read_all(disk.log)
    if clean:
        disk.manager.close()
    else:
        disk.sync()
    copy = disk.killed()
    for path in (copy / "t-0").glob(f"*{suffix}"):
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(
                {"empty": b"", "garbage": b"\x55\x11" * 96, "odd": b"\0" * 5, "zeros": bytes(96)}[damage]
            )
    log = disk.reopen(copy)
    assert read_all(log) == whole
    for offset in range(log.log_end_offset):
        data = log.read(offset, 1)
        assert data is not None
        assert BatchHeader(data.read()).base_offset == offset - offset % 3
        assert find_by_timestamp(log, NOW + offset) == (NOW + offset, offset)
    assert find_max_timestamp(log) == (NOW + 119, 119)
    # The producer goes on where it was.
    duplicate = make_batch(3, producer_id=1, producer_epoch=0, sequence=117)
    assert log.append(memoryview(duplicate), NOW).base_offset == 117
    with pytest.raises(KafkaError):
        log.append(memoryview(make_batch(3, producer_id=1, producer_epoch=0, sequence=121)), NOW)


def test_producers_are_known_after_a_kill_with_the_snapshot_of_the_last_roll(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 20, segment_bytes=500)
    log = disk.reopen(disk.killed())
    for back in range(5):
        sequence = 57 - 3 * back
        repeated = make_batch(3, producer_id=1, producer_epoch=0, sequence=sequence)
        assert log.append(memoryview(repeated), NOW).base_offset == sequence


def test_a_directory_of_an_older_topic_of_the_same_name_is_set_aside(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    copy = disk.killed()
    log = open_log(copy, topic_id=uuid.UUID(int=6))
    assert log.log_end_offset == 0
    assert len(list(copy.glob("orphans/*/t-0/*.log"))) == 1


def test_a_directory_of_no_known_topic_is_set_aside_and_deleted_ones_go(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 4)
    shutil.copytree(disk.path / "t-0", disk.path / "lost-3")
    deleted = disk.manager.delete("t", 0)
    assert deleted is not None
    assert deleted.exists()
    copy = disk.killed()
    open_log(copy)
    assert len(list(copy.glob("orphans/*/lost-3/*.log"))) == 1
    assert not list(copy.glob("*-delete"))


def test_a_deleted_log_answers_nobody(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1)
    disk.manager.delete("t", 0)
    with pytest.raises(KafkaError) as caught:
        disk.log.append(memoryview(make_batch()), NOW)
    assert caught.value.code == ErrorCode.unknown_topic_or_partition
    again = disk.manager.create("t", uuid.UUID(int=6), 0, LogConfig())
    assert again.append(memoryview(make_batch()), NOW).base_offset == 0


def test_recovery_points_that_are_no_good_only_cost_time(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 20, segment_bytes=500)
    disk.sync()
    copy = disk.killed()
    (copy / "recovery-points").write_text("nonsense\n3\n")
    assert read_all(disk.reopen(copy)) == read_all(disk.log)


def test_the_recovery_point_of_a_deleted_topic_means_nothing_for_a_new_one(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 20)
    disk.sync()
    disk.manager.delete("t", 0)
    log = disk.manager.create("t", uuid.UUID(int=6), 0, LogConfig())
    log.append(memoryview(make_batch(3)), NOW)
    copy = disk.killed()
    os.truncate(active_file(copy), 50)
    assert open_log(copy, topic_id=uuid.UUID(int=6)).log_end_offset == 0
