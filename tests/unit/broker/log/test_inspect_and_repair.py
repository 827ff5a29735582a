"""Damage in the files of a partition: it is found where it is, and a repair loses nothing else.

The oracle: which batches were written where. After a repair the broker's own opening of the log must find
all that the inspection called intact, byte for byte and at its offset.
"""

import errno
import os
import random
import shutil
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from support.batches import make_batch

from broker.log.checkpoint import CLEAN_SHUTDOWN, RECOVERY_POINTS
from broker.log.config import LogConfig
from broker.log.inspect import inspect_partition, partition_directories
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.repair import ORIGINALS, Way, perform, plan_repair
from broker.log.segment import CLEANED_SUFFIX
from broker.log.swap import commit
from broker.wire.batch import BatchHeader
from broker.wire.errors import ErrorCode, KafkaError

P = ParamSpec("P")
R = TypeVar("R")

TOPIC_ID = uuid.UUID(int=5)
NOW = 10_000
BATCHES = 30
RECORDS = 3
SEGMENT_BYTES = 700


@dataclass(frozen=True, slots=True)
class Written:
    """A batch: the file and the position that it is at, its first offset, its bytes."""

    file: str
    position: int
    offset: int
    content: bytes

    @property
    def end(self) -> int:
        return self.position + len(self.content)


class Disk:
    """A data directory with one partition of several segments, as a stop or a kill has left it."""

    def __init__(self, data_dir: Path, *, clean: bool = False, synced: bool = False) -> None:
        self.data_dir = data_dir
        self.partition = data_dir / "t-0"
        data_dir.mkdir()
        manager = LogManager(data_dir)
        log = _create(manager)
        manager.finish_start()
        for number in range(BATCHES):
            values = [b"%d-%d" % (number, record) for record in range(RECORDS)]
            batch = make_batch(
                values, timestamps=[NOW + number] * RECORDS,
                producer_id=7, producer_epoch=0, sequence=number * RECORDS,
            )  # fmt: skip
            log.append(memoryview(batch), NOW)
        if clean:
            manager.close()
        elif synced:
            job = log.begin_sync()
            job.run(set())
            log.finish_sync(job)
            manager.write_checkpoint(manager.recovery_points())
        else:
            for segment in log.segments:  # what a kill leaves of them: all that was full
                segment.offset_index.flush()
                segment.time_index.flush()
        self.written = _batches(self.partition)
        self.files = sorted(path.name for path in self.partition.glob("*.log"))
        assert len(self.written) == BATCHES
        assert len(self.files) > 3

    def flip(self, batch: Written, at: int, value: int = 0xFF) -> None:
        """Invert a byte of a batch."""
        path = self.partition / batch.file
        content = bytearray(path.read_bytes())
        content[batch.position + at] ^= value
        path.write_bytes(content)

    def in_file(self, number: int) -> list[Written]:
        return [batch for batch in self.written if batch.file == self.files[number]]

    def open(self) -> PartitionLog:
        """What the broker does at its start."""
        manager = LogManager(self.data_dir)
        log = _create(manager)
        manager.finish_start()
        return log

    def repair(self, way: Way) -> None:
        plan = plan_repair(inspect_partition(self.partition), way)
        assert plan is not None
        after = perform(plan, self.data_dir / ORIGINALS / "now")
        assert after.is_intact, after
        assert plan_repair(after, way) is None

    def snapshot(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.partition.iterdir()}


def _create(manager: LogManager) -> PartitionLog:
    config = LogConfig(index_interval_bytes=100, segment_bytes=SEGMENT_BYTES)
    return manager.create("t", TOPIC_ID, 0, config)


def _batches(partition: Path) -> list[Written]:
    written = []
    for path in sorted(partition.glob("*.log")):
        content, position = path.read_bytes(), 0
        while position < len(content):
            header = BatchHeader(content, position)
            end = position + header.batch_bytes
            written.append(Written(path.name, position, header.base_offset, content[position:end]))
            position = end
    return written


def read_all(log: PartitionLog) -> dict[int, bytes]:
    """Every batch that a consumer gets, by its first offset."""
    found: dict[int, bytes] = {}
    offset = log.log_start_offset
    while (data := log.read(offset, 1 << 30)) is not None:
        content, position = data.read(), 0
        while position < len(content):
            header = BatchHeader(content, position)
            if header.records_count:
                found[header.base_offset] = content[position : position + header.batch_bytes]
            position += header.batch_bytes
            offset = header.last_offset + 1
    return found


def append_one(log: PartitionLog) -> int:
    return log.append(memoryview(make_batch([b"new"])), NOW).base_offset


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "data")


class TestIntact:
    @pytest.mark.parametrize(
        "state", [{"clean": True}, {"synced": True}, {}], ids=["clean", "synced", "killed"]
    )
    def test_what_a_stop_or_a_kill_leaves_is_intact(self, tmp_path: Path, state: dict[str, bool]) -> None:
        disk = Disk(tmp_path / "data", **state)
        before = disk.snapshot()
        report = inspect_partition(disk.partition)
        assert report.is_intact, report
        assert (report.batches, report.records) == (BATCHES, BATCHES * RECORDS)
        assert (report.start_offset, report.end_offset) == (0, BATCHES * RECORDS)
        assert plan_repair(report, Way.CUT) is None
        assert disk.snapshot() == before

    def test_a_torn_tail_is_no_damage(self, disk: Disk) -> None:
        last = disk.written[-1]
        for size in range(last.position + 1, last.end, 7):
            with (disk.partition / last.file).open("r+b") as file:
                file.truncate(size)
                file.seek(last.position)
                file.write(last.content[: size - last.position])
            report = inspect_partition(disk.partition)
            (torn,) = report.stretches
            assert report.is_intact
            assert (torn.is_torn_tail, torn.start, torn.first_offset) == (True, last.position, last.offset)

    def test_partitions_are_found_by_topic_and_by_name(self, tmp_path: Path) -> None:
        for name in ("a-b-0", "a-b-10", "a-b-2", "a-0", "orphans", "x-y"):
            (tmp_path / name).mkdir()
        assert [p.name for p in partition_directories(tmp_path)] == ["a-0", "a-b-0", "a-b-2", "a-b-10"]
        assert [p.name for p in partition_directories(tmp_path, ["a-b"])] == ["a-b-0", "a-b-2", "a-b-10"]
        assert [p.name for p in partition_directories(tmp_path, ["a-0", "a"])] == ["a-0"]


FIELDS = {
    "base offset": 7, "high byte of the base offset": 0, "length": 11, "high byte of the length": 8,
    "leader epoch": 15, "magic": 16, "crc": 20, "record count": 60, "record": 65,
}  # fmt: skip


class TestDamage:
    @pytest.mark.parametrize("at", FIELDS.values(), ids=FIELDS)
    @pytest.mark.parametrize("where", ["first", "middle", "last"])
    def test_a_flipped_byte_is_found_and_costs_one_batch(self, disk: Disk, at: int, where: str) -> None:
        batches = disk.in_file(1)
        hit = batches[{"first": 0, "middle": len(batches) // 2, "last": -1}[where]]
        disk.flip(hit, at)
        (stretch,) = inspect_partition(disk.partition).damage
        assert (stretch.file.name, stretch.start, stretch.end) == (hit.file, hit.position, hit.end)
        assert (stretch.first_offset, stretch.next_offset) == (hit.offset, hit.offset + RECORDS)
        with pytest.raises(KafkaError, match="millstream log") as caught:
            disk.open().read(0, 1)
        assert caught.value.code is ErrorCode.kafka_storage_error

        disk.repair(Way.CUT)
        log = disk.open()
        kept = {batch.offset: batch.content for batch in disk.written if batch is not hit}
        assert read_all(log) == kept
        assert append_one(log) == BATCHES * RECORDS

    def test_truncation_keeps_what_is_before_and_gives_offsets_out_again(self, disk: Disk) -> None:
        hit = disk.in_file(1)[1]
        disk.flip(hit, 65)
        disk.repair(Way.TRUNCATE)
        log = disk.open()
        assert read_all(log) == {b.offset: b.content for b in disk.written if b.offset < hit.offset}
        assert append_one(log) == hit.offset

    def test_zeroed_blocks(self, disk: Disk) -> None:
        batches = disk.in_file(1)
        path = disk.partition / batches[0].file
        content = bytearray(path.read_bytes())
        start, end = batches[1].position + 30, batches[3].position + 30
        content[start:end] = bytes(end - start)
        path.write_bytes(content)
        (stretch,) = inspect_partition(disk.partition).damage
        assert (stretch.start, stretch.end) == (batches[1].position, batches[4].position)
        assert stretch.lost == f"offsets {batches[1].offset} to {batches[4].offset - 1} are lost"
        disk.repair(Way.CUT)
        gone = {batch.offset for batch in batches[1:4]}
        assert read_all(disk.open()).keys() == {b.offset for b in disk.written} - gone

    def test_a_cut_segment_in_the_middle(self, disk: Disk) -> None:
        *_, second_last, last = disk.in_file(1)
        with (disk.partition / last.file).open("r+b") as file:
            file.truncate(second_last.position + 20)
        (stretch,) = inspect_partition(disk.partition).damage
        assert (stretch.start, stretch.first_offset) == (second_last.position, second_last.offset)
        assert stretch.next_offset == last.offset + RECORDS
        disk.repair(Way.CUT)
        gone = {second_last.offset, last.offset}
        assert read_all(disk.open()).keys() == {b.offset for b in disk.written} - gone

    def test_a_segment_of_nothing_but_zeros(self, disk: Disk) -> None:
        gone = disk.in_file(2)
        path = disk.partition / gone[0].file
        path.write_bytes(bytes(path.stat().st_size))
        disk.repair(Way.CUT)
        assert read_all(disk.open()).keys() == {b.offset for b in disk.written} - {b.offset for b in gone}

    def test_the_first_segment_of_nothing_but_zeros_keeps_the_start(self, disk: Disk) -> None:
        gone = disk.in_file(0)
        path = disk.partition / gone[0].file
        path.write_bytes(bytes(path.stat().st_size))
        disk.repair(Way.TRUNCATE)
        log = disk.open()
        assert (log.log_start_offset, log.log_end_offset) == (0, 0)

    @pytest.mark.parametrize("way", Way)
    def test_a_missing_segment_in_the_middle(self, disk: Disk, way: Way) -> None:
        gone = disk.in_file(2)
        (disk.partition / gone[0].file).unlink()
        (stretch,) = inspect_partition(disk.partition).damage
        assert (stretch.first_offset, stretch.next_offset) == (gone[0].offset, gone[-1].offset + RECORDS)
        assert stretch.start == stretch.end
        with pytest.raises(KafkaError, match="missing"):
            disk.open().read(0, 1)
        disk.repair(way)
        kept = {b.offset for b in disk.written if way is Way.CUT or b.offset < gone[0].offset}
        assert read_all(disk.open()).keys() == kept - {batch.offset for batch in gone}

    @pytest.mark.parametrize("way", Way)
    @pytest.mark.parametrize("clean", [True, False])
    def test_a_missing_end_that_was_synced(self, tmp_path: Path, way: Way, clean: bool) -> None:
        disk = Disk(tmp_path / "data", clean=clean, synced=True)
        gone = disk.in_file(-1)
        for path in disk.partition.glob(f"{gone[0].file.partition('.')[0]}*"):
            path.unlink()
        (stretch,) = inspect_partition(disk.partition).damage
        assert (stretch.first_offset, stretch.next_offset) == (gone[0].offset, BATCHES * RECORDS)
        with pytest.raises(KafkaError):
            disk.open().read(0, 1)
        disk.repair(way)
        log = disk.open()
        assert read_all(log).keys() == {b.offset for b in disk.written} - {b.offset for b in gone}
        # Offsets that were told to clients are used again only by truncation.
        assert append_one(log) == (BATCHES * RECORDS if way is Way.CUT else gone[0].offset)

    @pytest.mark.parametrize("clean", [True, False])
    def test_a_tail_that_was_synced_is_damage_when_it_is_torn(self, tmp_path: Path, clean: bool) -> None:
        disk = Disk(tmp_path / "data", clean=clean, synced=True)
        last = disk.written[-1]
        with (disk.partition / last.file).open("r+b") as file:
            file.truncate(last.end - 3)
        (stretch,) = inspect_partition(disk.partition).damage
        assert (stretch.first_offset, stretch.next_offset) == (last.offset, BATCHES * RECORDS)
        disk.repair(Way.CUT)
        log = disk.open()
        assert read_all(log).keys() == {b.offset for b in disk.written[:-1]}
        assert append_one(log) == BATCHES * RECORDS

    def test_all_segments_missing(self, tmp_path: Path) -> None:
        disk = Disk(tmp_path / "data", synced=True)
        for path in disk.partition.glob("0*"):
            path.unlink()
        (stretch,) = inspect_partition(disk.partition).damage
        assert stretch.lost == f"offsets 0 to {BATCHES * RECORDS - 1} are lost"
        disk.repair(Way.CUT)
        assert append_one(disk.open()) == BATCHES * RECORDS

    def test_a_tail_written_out_of_order_by_a_loss_of_power(self, disk: Disk) -> None:
        """Pages of the last writes reach the disk in any order: an older one may be missing."""
        batches = disk.in_file(-1)
        path = disk.partition / batches[0].file
        content = bytearray(path.read_bytes())
        content[batches[-2].position : batches[-2].end] = bytes(len(batches[-2].content))
        path.write_bytes(content)
        with pytest.raises(KafkaError, match="records follow it"):
            disk.open().read(0, 1)
        disk.repair(Way.CUT)
        assert read_all(disk.open()).keys() == {b.offset for b in disk.written} - {batches[-2].offset}

    def test_several_damages_and_a_torn_tail_at_once(self, disk: Disk) -> None:
        hits = [disk.in_file(0)[2], disk.in_file(2)[0], disk.in_file(2)[1], disk.in_file(-1)[-1]]
        for hit in hits:
            disk.flip(hit, 65)
        report = inspect_partition(disk.partition)
        assert [(s.first_offset, s.is_torn_tail) for s in report.stretches] == [
            (hits[0].offset, False), (hits[1].offset, False), (hits[3].offset, True)
        ]  # fmt: skip
        disk.repair(Way.CUT)
        assert read_all(disk.open()).keys() == {b.offset for b in disk.written} - {h.offset for h in hits}

    @pytest.mark.parametrize("seed", range(25))
    def test_whatever_is_overwritten_the_rest_is_kept(self, tmp_path: Path, seed: int) -> None:
        """Random bytes over a random stretch: exactly the batches that it touches are lost."""
        rng = random.Random(seed)
        disk = Disk(tmp_path / "data", synced=seed % 2 == 0)
        name = rng.choice(disk.files)
        path = disk.partition / name
        content = bytearray(path.read_bytes())
        start = rng.randrange(len(content))
        end = min(len(content), start + rng.choice([1, 4, 100, 300]))
        for at in range(start, end):
            content[at] ^= rng.randrange(1, 256)
        path.write_bytes(content)
        touched = {b.offset for b in disk.written if b.file == name and b.position < end and start < b.end}
        plan = plan_repair(inspect_partition(disk.partition), Way.CUT)
        if plan is not None:
            assert perform(plan, disk.data_dir / ORIGINALS / "now").is_intact
        assert read_all(disk.open()).keys() == {b.offset for b in disk.written} - touched


class TestCompacted:
    @staticmethod
    def take_out(disk: Disk, batch: Written, suffix: str = "") -> None:
        """Write the segment without a batch, as compaction does, under a name with `suffix`."""
        path = disk.partition / batch.file
        content = path.read_bytes()
        rest = content[: batch.position] + content[batch.end :]
        path.with_name(path.name + suffix).write_bytes(rest)
        if not suffix:
            for index in disk.partition.glob(f"{path.stem}.*index"):
                index.unlink()

    def test_gaps_before_the_mark_are_no_damage(self, disk: Disk) -> None:
        gone, later = disk.in_file(1)[1], disk.in_file(2)[1]
        self.take_out(disk, gone)
        (disk.partition / f"{later.offset:020d}.compacted").touch()
        assert inspect_partition(disk.partition).is_intact
        self.take_out(disk, later)
        (gap,) = inspect_partition(disk.partition).damage
        assert (gap.first_offset, gap.next_offset) == (later.offset, later.offset + RECORDS)
        assert gap.start == gap.end == later.position
        disk.repair(Way.CUT)  # nothing can bring it back: from now on it is known
        kept = {b.offset for b in disk.written} - {gone.offset, later.offset}
        assert read_all(disk.open()).keys() == kept

    def test_what_compaction_has_put_in_place_but_not_renamed_counts(self, disk: Disk) -> None:
        gone, hit = disk.in_file(1)[1], disk.in_file(2)[0]
        start, end = disk.in_file(1)[0].offset, disk.in_file(1)[-1].offset + RECORDS
        self.take_out(disk, gone, CLEANED_SUFFIX)
        fd = os.open(disk.partition, os.O_RDONLY)
        commit(fd, start, end)
        os.close(fd)
        (disk.partition / f"{end:020d}.compacted").touch()
        report = inspect_partition(disk.partition)
        assert report.is_intact
        assert report.batches == BATCHES - 1
        disk.flip(hit, 65)
        disk.repair(Way.CUT)
        kept = {b.offset for b in disk.written} - {gone.offset, hit.offset}
        assert read_all(disk.open()).keys() == kept


class TestDerivedFiles:
    @pytest.mark.parametrize("suffix", [".index", ".timeindex", ".snapshot"])
    @pytest.mark.parametrize("how", ["garbage", "cut", "flipped"])
    def test_a_damaged_one_is_named_and_made_anew(self, tmp_path: Path, suffix: str, how: str) -> None:
        disk = Disk(tmp_path / "data", clean=True)
        path = sorted(disk.partition.glob(f"*{suffix}"))[0]
        content = bytearray(path.read_bytes())
        assert len(content) > 4
        if how == "cut":
            del content[-3:]
        elif how == "flipped":
            content[3] ^= 1
        else:
            content[:] = bytes(range(1, 1 + len(content) % 200)) * 8
        path.write_bytes(content)
        report = inspect_partition(disk.partition)
        assert not report.damage
        assert {found.file for found in report.derived} == {path}
        disk.repair(Way.CUT)
        log = disk.open()
        assert read_all(log) == {b.offset: b.content for b in disk.written}
        assert append_one(log) == BATCHES * RECORDS


class TestRepair:
    @pytest.mark.parametrize("has_links", [True, False])
    def test_the_original_bytes_are_kept(
        self, disk: Disk, has_links: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not has_links:
            monkeypatch.setattr("os.link", _no_links)
        disk.flip(disk.in_file(1)[0], 65)
        before = disk.snapshot()
        disk.repair(Way.TRUNCATE)
        copies = {
            path.name: path.read_bytes() for path in (disk.data_dir / ORIGINALS / "now" / "t-0").iterdir()
        }
        assert set(disk.files[1:]) <= set(copies)
        assert copies == {name: before[name] for name in copies}
        after = disk.snapshot()
        assert all(after[name] == content for name, content in before.items() if name not in copies)
        append_one(disk.open())
        assert all(
            (disk.data_dir / ORIGINALS / "now" / "t-0" / name).read_bytes() == before[name] for name in copies
        )

    def test_nothing_else_is_touched_by_looking_and_planning(self, disk: Disk) -> None:
        disk.flip(disk.in_file(1)[0], 65)
        before = disk.snapshot()
        assert plan_repair(inspect_partition(disk.partition), Way.CUT) is not None
        assert disk.snapshot() == before

    @pytest.mark.parametrize("way", Way)
    @pytest.mark.parametrize("end_is_lost", [False, True])
    def test_a_kill_at_any_step_leaves_something_to_repair(
        self, tmp_path: Path, way: Way, end_is_lost: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The repair is stopped before each of its changes to a directory, and run again."""
        original = Disk(tmp_path / "original", synced=True)
        lost = original.in_file(-1) if end_is_lost else []
        if end_is_lost:
            (original.partition / original.files[-1]).unlink()
        hits = [original.in_file(1)[1], original.in_file(3)[0]]
        for hit in hits:
            original.flip(hit, 65)
        steps = 0
        while True:
            disk = _copy(original, tmp_path / f"step{steps}")
            try:
                _repair_but_die(disk, way, steps, monkeypatch)
            except _Killed:
                pass
            else:
                break
            plan = plan_repair(inspect_partition(disk.partition), way)
            if plan is not None:
                assert perform(plan, disk.data_dir / ORIGINALS / "again").is_intact
            kept = {b.offset for b in disk.written if way is Way.CUT or b.offset < hits[0].offset}
            log = disk.open()
            assert read_all(log).keys() == kept - {batch.offset for batch in [*hits, *lost]}
            assert append_one(log) == (BATCHES * RECORDS if way is Way.CUT else hits[0].offset)
            steps += 1
        assert steps > 5

    def test_other_partitions_keep_their_recovery_points(self, tmp_path: Path) -> None:
        disk = Disk(tmp_path / "data", clean=True)
        path = disk.data_dir / RECOVERY_POINTS
        head, count, *points = path.read_text().splitlines()
        path.write_text("\n".join([head, str(int(count) + 1), *points, "other 3 17", ""]))
        disk.flip(disk.in_file(1)[0], 65)
        disk.repair(Way.TRUNCATE)
        lines = path.read_text().splitlines()
        assert "other 3 17" in lines
        assert any(line.endswith(f" 0 {disk.in_file(1)[0].offset}") for line in lines)
        assert not (disk.data_dir / CLEAN_SHUTDOWN).exists()


def _no_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


class _Killed(Exception):
    pass


def _copy(disk: Disk, target: Path) -> Disk:
    shutil.copytree(disk.data_dir, target)
    copy = Disk.__new__(Disk)
    copy.data_dir, copy.partition = target, target / "t-0"
    copy.written, copy.files = disk.written, disk.files
    return copy


def _repair_but_die(disk: Disk, way: Way, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = step

    def dying(real: Callable[P, R]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            nonlocal left
            if left == 0:
                raise _Killed
            left -= 1
            return real(*args, **kwargs)

        return call

    plan = plan_repair(inspect_partition(disk.partition), way)
    assert plan is not None
    with monkeypatch.context() as patched:
        for name in ("unlink", "rename", "touch", "replace"):
            patched.setattr(Path, name, dying(getattr(Path, name)))
        patched.setattr("os.rename", dying(os.rename))
        perform(plan, disk.data_dir / ORIGINALS / "now")


def test_a_batch_inside_a_value_is_not_taken_for_one_of_the_log(tmp_path: Path) -> None:
    """A record may hold the bytes of a batch; when its own batch is damaged, only that one is lost."""
    disk = Disk(tmp_path / "data")
    log = disk.open()
    inner = make_batch([b"inner"])
    struct.pack_into(">q", inner, 0, 3)  # an offset that the log has had already
    for value in (bytes(inner) * 3, b"last"):
        log.append(memoryview(make_batch([value])), NOW)
    outer = _batches(disk.partition)[-2]
    disk.flip(outer, 20)
    (stretch,) = inspect_partition(disk.partition).damage
    assert (stretch.start, stretch.end) == (outer.position, outer.end)
