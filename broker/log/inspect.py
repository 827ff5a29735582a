"""Looking at the logs of a data directory from outside, and saying what is wrong. Nothing is changed.

A batch is intact when its CRC is right and its offsets follow those before it. Bytes of a segment that are
no intact batches are a `Stretch`; what is lost with them are the offsets up to the next intact batch, which
is searched for byte by byte. Offsets that are missing where no bytes are missing are a stretch of no bytes:
a segment that somebody took away, or an end of the log that was synced once and is not there.

What follows the last intact batch and was never synced is the torn tail that a kill leaves. It is named, and
is no damage: the next start cuts it off. Gaps before the partition's `.compacted` mark are no damage either.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.log.checkpoint import CLEAN_SHUTDOWN, RECOVERY_POINTS, read_checkpoint
from broker.log.derived_files import DerivedDamage, DerivedFiles, snapshot_damage
from broker.log.partition_log import LEADER_EPOCH
from broker.log.segment import RELATIVE_OFFSET_MAX
from broker.log.segments import COMPACTED_SUFFIX, LOG_START_SUFFIX
from broker.log.swap import SWAP_SUFFIX
from broker.wire.batch import HEADER_BYTES, MAGIC, BatchHeader, InvalidBatch, check_crc

_MAGIC_MARK = b"\0\0\0\0\x02"
"""Leader epoch and magic of every batch, at byte 12 of it."""

_MARK_POSITION = 12

ANY_OFFSET = 2**63 - 1


class NotALog(Exception):
    """There is no log where one is asked for; the message names the place."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes `start` to `end` of a segment are no intact batches, and the offsets from `first_offset` to
    before `next_offset` are not there. `next_offset` is None when no intact batch follows and nobody knows
    where the log ended."""

    file: Path
    start: int
    end: int
    first_offset: int
    next_offset: int | None
    problem: str
    is_torn_tail: bool = False

    @property
    def lost(self) -> str:
        """What is gone, for a person."""
        if self.is_torn_tail:
            return "never synced, cut off at the next start"
        if self.next_offset is None:
            return f"all from offset {self.first_offset} on is lost"
        if self.next_offset == self.first_offset:
            return "no offset is lost"
        last = self.next_offset - 1
        return (
            f"offset {last} is lost"
            if last == self.first_offset
            else f"offsets {self.first_offset} to {last} are lost"
        )


@dataclass(slots=True)
class PartitionReport:
    """What was found in a partition's directory. `end_offset` follows the last intact batch."""

    directory: Path
    synced_offset: int = 0
    """All before it was on disk once."""
    was_clean: bool = False
    """Whether all that there is was on disk when the broker stopped."""
    compacted_until: int = 0
    segments: list[Path] = field(default_factory=list)
    batches: int = 0
    records: int = 0
    start_offset: int = 0
    end_offset: int = 0
    has_transactions: bool = False
    stretches: list[Stretch] = field(default_factory=list)
    derived: list[DerivedDamage] = field(default_factory=list)

    @property
    def damage(self) -> list[Stretch]:
        return [stretch for stretch in self.stretches if not stretch.is_torn_tail]

    @property
    def is_intact(self) -> bool:
        return not self.damage and not self.derived


def partition_directories(data_dir: Path, names: list[str] | None = None) -> list[Path]:
    """The directories of all partitions, or of those named `topic` or `topic-partition`. Raises NotALog."""
    if not data_dir.is_dir():
        raise NotALog(f"{data_dir} is no directory")
    found = sorted(
        (path for path in data_dir.iterdir() if path.is_dir() and path.name.rpartition("-")[2].isdecimal()),
        key=lambda path: (path.name.rpartition("-")[0], int(path.name.rpartition("-")[2])),
    )
    if not names:
        return found
    chosen: dict[Path, None] = {}
    for name in names:
        named = [path for path in found if name in (path.name, path.name.rpartition("-")[0])]
        if not named:
            raise NotALog(f"{data_dir} has no files of a topic or partition {name}")
        chosen |= dict.fromkeys(named)
    return list(chosen)


def inspect_partition(directory: Path) -> PartitionReport:
    """Read all files of a partition. Its data directory says what was synced."""
    return _Inspection(directory).run()


class _Inspection:
    """One pass over the segments, oldest first. `report.end_offset` is the offset that has to come next."""

    def __init__(self, directory: Path) -> None:
        self.report = report = PartitionReport(directory)
        report.synced_offset = _synced_offset(directory)
        report.was_clean = (directory.parent / CLEAN_SHUTDOWN).exists()
        report.segments = segment_files(directory)
        report.compacted_until = _marked_offset(directory, COMPACTED_SUFFIX)
        report.start_offset = _marked_offset(directory, LOG_START_SUFFIX)
        if report.segments:
            report.end_offset = base_offset(report.segments[0])
            report.start_offset = max(report.start_offset, report.end_offset)
        # Bytes of which it is not known yet what comes after them.
        self._pending: list[Stretch] = []
        self._previous: tuple[int, BatchHeader, int] | None = None

    def run(self) -> PartitionReport:
        report = self.report
        for number, path in enumerate(report.segments):
            later = report.segments[number:]
            base = base_offset(path)
            # An empty segment at the end that nobody has synced means nothing.
            counts = base <= report.synced_offset or any(file.stat().st_size for file in later)
            if base > report.end_offset and counts:
                problem = f"the segment before ends at {report.end_offset}, {path.name} begins at {base}"
                self._go_on(path, 0, base, problem)
                report.end_offset = base
            limit = base_offset(later[1]) if len(later) > 1 else base + RELATIVE_OFFSET_MAX + 1
            self._scan(path, base, limit)
        self._finish()
        report.derived += snapshot_damage(report.directory)
        return report

    def _scan(self, path: Path, base: int, limit: int) -> None:
        derived = DerivedFiles(path, base)
        self._previous = None
        with mapped(path) as view:
            position = 0
            while position < len(view):
                try:
                    header = _intact_batch(view, position, base, limit)
                    end = position + header.batch_bytes
                    if header.base_offset < self.report.end_offset:
                        self._take_back_jump(path, position, header)
                    if header.base_offset < self.report.end_offset:
                        problem = f"offset {header.base_offset} after offset {self.report.end_offset - 1}"
                        self._unreadable(path, position, end, problem)
                    else:
                        self._batch(path, position, header)
                        derived.observe(position, header)
                except InvalidBatch as exc:
                    end = next_intact(view, position + 1, self.report.end_offset, limit)
                    self._unreadable(path, position, end, str(exc))
                position = end
        self.report.derived += derived.damage()

    def _batch(self, path: Path, position: int, header: BatchHeader) -> None:
        report = self.report
        expected = report.end_offset
        problem = f"offset {header.base_offset} instead of {expected}"
        self._go_on(path, position, header.base_offset, problem)
        self._previous = (position, header, expected)
        report.end_offset = header.last_offset + 1
        report.batches += 1
        report.has_transactions |= header.is_transactional
        report.records += header.records_count

    def _go_on(self, path: Path, position: int, offset: int, problem: str) -> None:
        """What was pending ends at `offset`; a gap before it where nothing was is a stretch of its own."""
        report = self.report
        if self._pending:
            report.stretches += [replace(stretch, next_offset=offset) for stretch in self._pending]
            self._pending.clear()
        elif offset > max(report.end_offset, report.compacted_until):
            missing = (report.end_offset, offset)
            report.stretches.append(Stretch(path, position, position, *missing, problem))

    def _unreadable(self, path: Path, start: int, end: int, problem: str) -> None:
        if self._pending and self._pending[-1].file == path and self._pending[-1].end == start:
            self._pending[-1] = replace(self._pending[-1], end=end)
        else:
            self._pending.append(Stretch(path, start, end, self.report.end_offset, None, problem))

    def _take_back_jump(self, path: Path, position: int, header: BatchHeader) -> None:
        """The batch fits if the one before, which left a gap, is not counted: then that one's offset, which
        no CRC covers, is wrong."""
        if self._previous is None or self._pending:
            return
        start, wrong, expected = self._previous
        if not expected <= header.base_offset or wrong.base_offset == expected:
            return
        report = self.report
        if report.stretches and report.stretches[-1].start == report.stretches[-1].end == start:
            report.stretches.pop()
        report.end_offset = expected
        report.batches -= 1
        report.records -= wrong.records_count
        self._unreadable(path, start, position, f"offset {wrong.base_offset} instead of {expected}")

    def _finish(self) -> None:
        report, pending = self.report, self._pending
        end = report.end_offset
        was_longer = report.synced_offset > end
        if pending:
            is_torn = (
                not report.was_clean
                and not was_longer
                and all(not path.stat().st_size for path in report.segments if path > pending[0].file)
            )
            known_end = report.synced_offset if was_longer else None
            report.stretches += [replace(s, next_offset=known_end, is_torn_tail=is_torn) for s in pending]
        elif was_longer:
            last = report.segments[-1] if report.segments else report.directory
            size = last.stat().st_size if report.segments else 0
            problem = f"the log ends at offset {end} and has had all before {report.synced_offset}"
            report.stretches.append(Stretch(last, size, size, end, report.synced_offset, problem))


def sound_header(view: memoryview, position: int) -> BatchHeader:
    """The header of the batch there, of which all bytes are there. Raises InvalidBatch."""
    header = BatchHeader(view, position)
    end = position + header.batch_bytes
    if header.magic != MAGIC or header.batch_bytes < HEADER_BYTES or header.last_offset_delta < 0:
        raise InvalidBatch("no batch header")
    if end > len(view):
        there = len(view) - position
        raise InvalidBatch(f"the batch says {header.batch_bytes} bytes, {there} are there")
    return header


def _intact_batch(view: memoryview, position: int, base: int, limit: int) -> BatchHeader:
    """The header of the batch there, whose offsets are from `base` to before `limit`, or InvalidBatch."""
    header = sound_header(view, position)
    with view[position : position + header.batch_bytes] as batch:
        check_crc(batch, header)
    if header.partition_leader_epoch != LEADER_EPOCH:
        raise InvalidBatch(f"leader epoch {header.partition_leader_epoch}")
    if not base <= header.base_offset <= header.last_offset < limit:
        raise InvalidBatch(f"offset {header.base_offset} in the segment of {base} to {limit - 1}")
    return header


def next_intact(view: memoryview, position: int, base: int = 0, limit: int = ANY_OFFSET) -> int:
    """Where the next intact batch with offsets from `base` to before `limit` starts; the end if there is
    none. `view` is of an `mmap`."""
    content = view.obj
    assert isinstance(content, mmap.mmap)
    while (found := content.find(_MAGIC_MARK, position + _MARK_POSITION)) >= 0:
        position = found - _MARK_POSITION
        try:
            _intact_batch(view, position, base, limit)
        except InvalidBatch:  # it only looked like one
            position += 1
        else:
            return position
    return len(view)


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The bytes of a file, which may be larger than memory. They are those of an `mmap`."""
    with path.open("rb") as file:
        size = path.stat().st_size
        content = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else mmap.mmap(-1, 1)
        with content, memoryview(content) as view, view[:size] as whole:
            yield whole


def segment_files(directory: Path) -> list[Path]:
    """The log files that count, oldest first. What compaction has put in place of others, but not renamed
    yet, counts for them (swap.py)."""
    files = {int(path.stem): path for path in directory.glob("*.log") if path.stem.isdecimal()}
    for swap in directory.glob(f"*{SWAP_SUFFIX}"):
        first, _, end = swap.stem.partition("-")
        files = {base: path for base, path in files.items() if not int(first) <= base < int(end)}
        files[int(first)] = swap
    return [files[base] for base in sorted(files)]


def base_offset(segment: Path) -> int:
    """What the name of a segment's file says."""
    return int(segment.stem.partition("-")[0])


def topic_id(directory: Path) -> str | None:
    """Of the topic that a partition's directory belongs to."""
    try:
        lines = (directory / "partition.metadata").read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    return next((line.removeprefix("topic_id: ") for line in lines if line.startswith("topic_id: ")), None)


def _synced_offset(directory: Path) -> int:
    topic, partition = topic_id(directory), int(directory.name.rpartition("-")[2])
    points = read_checkpoint(directory.parent / RECOVERY_POINTS)
    return 0 if topic is None else points.get((topic, partition), 0)


def _marked_offset(directory: Path, suffix: str) -> int:
    return max((int(path.stem) for path in directory.glob(f"*{suffix}")), default=0)
