"""Making a damaged partition one that opens again, with the broker stopped.

Two ways, and a person chooses:

* CUT takes out the bytes that are no intact batches and keeps all others. The offsets of what is lost stay
  unused; the partition's `.compacted` mark says that gaps may be there.
* TRUNCATE ends the log at the first damage. Offsets after it are given out again, to other records.

Whatever is changed or taken away is kept in `repair-originals/<time>/<partition>` in the data directory, by
second names of the files: nothing is written in place, so they need no space. A kill at any point leaves a
partition that can be inspected and repaired again: the new segment takes the place of the old one in one step
(swap.py), segments go newest first, and the recovery point, which makes the broker believe the result, is
written last.
"""

import errno
import os
import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from broker.log.checkpoint import CLEAN_SHUTDOWN, RECOVERY_POINTS, read_checkpoint, write_checkpoint
from broker.log.inspect import PartitionReport, Stretch, base_offset, inspect_partition, topic_id
from broker.log.partition_log import sync_directory
from broker.log.segment import CLEANED_SUFFIX, SUFFIXES, segment_paths
from broker.log.segments import COMPACTED_SUFFIX
from broker.log.swap import commit, finish_swaps, mark_deleted
from broker.wire.batch import HEADER_BYTES, MAGIC, NO_PRODUCER_ID, NO_TIMESTAMP, BatchHeader

ORIGINALS = "repair-originals"
ABORTED_INDEX_SUFFIX = SUFFIXES[-1]
COPY_BYTES = 1024 * 1024

NO_SECOND_NAME = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
"""What a file system says that cannot give a file another name."""


class Way(StrEnum):
    """How a partition is repaired."""

    CUT = "cut"
    TRUNCATE = "truncate"


@dataclass(slots=True)
class Plan:
    """What a repair of one partition does. `kept` has the byte ranges of each segment that is rewritten."""

    report: PartitionReport
    way: Way
    end_offset: int
    """Where the log will end."""
    kept: dict[Path, list[tuple[int, int]]] = field(default_factory=dict)
    removed_segments: list[Path] = field(default_factory=list)
    removed_files: list[Path] = field(default_factory=list)
    """Indexes and snapshots, which are made anew."""

    @property
    def lost(self) -> list[Stretch]:
        return self.report.damage


def plan_repair(report: PartitionReport, way: Way) -> Plan | None:
    """What has to be done; None when nothing is wrong. `report` has to be of a data directory at rest."""
    if report.is_intact:
        return None
    plan = Plan(report, way, report.end_offset)
    if report.damage and way is Way.CUT:
        _plan_cut(plan)
    elif report.damage:
        _plan_truncation(plan)
    changed = [*plan.kept, *plan.removed_segments]
    indexes = [index for path in changed for index in _indexes(path)]
    damaged = [found.file for found in report.derived]
    # Snapshots confirm the indexes of aborted transactions, and tell of records that may be gone.
    is_stale = changed or any(path.suffix == ABORTED_INDEX_SUFFIX for path in damaged)
    snapshots = sorted(report.directory.glob("*.snapshot")) if is_stale else []
    plan.removed_files = [path for path in dict.fromkeys([*indexes, *snapshots, *damaged]) if path.exists()]
    return plan


def _plan_cut(plan: Plan) -> None:
    report = plan.report
    plan.end_offset = max(report.end_offset, report.synced_offset)
    for path in report.segments:
        cuts = [(s.start, s.end) for s in report.stretches if s.file == path and s.end > s.start]
        if cuts:
            size = path.stat().st_size
            starts = [0, *(end for _, end in cuts)]
            ends = [*(start for start, _ in cuts), size]
            plan.kept[path] = [(start, end) for start, end in zip(starts, ends, strict=True) if end > start]


def _plan_truncation(plan: Plan) -> None:
    report = plan.report
    first = report.damage[0]
    plan.end_offset = first.first_offset
    if first.file not in report.segments:  # all of them are gone
        return
    number = report.segments.index(first.file)
    if first.start == 0 and number > 0:
        plan.removed_segments = report.segments[number:]
        return
    plan.removed_segments = report.segments[number + 1 :]
    if first.start < first.file.stat().st_size:
        plan.kept[first.file] = [(0, first.start)] if first.start else []


def perform(plan: Plan, originals: Path) -> PartitionReport:
    """Do it, and look again. `originals` is where copies of what changes are put. Raises OSError.

    The caller holds the data directory's lock (`broker.data_dir`).
    """
    directory = plan.report.directory
    _keep_originals(plan, originals / directory.name)
    # From here on, the next start looks closer.
    (directory.parent / CLEAN_SHUTDOWN).unlink(missing_ok=True)
    sync_directory(directory.parent)
    finish_swaps(directory)
    for path in plan.removed_files:
        path.unlink(missing_ok=True)
    for path in reversed(plan.removed_segments):
        mark_deleted(directory, base_offset(path))
        sync_directory(directory)
    for path, ranges in plan.kept.items():
        _rewrite(path, ranges)
    if plan.way is Way.CUT and plan.report.damage:
        _allow_gaps(plan)
    finish_swaps(directory)
    sync_directory(directory)
    if plan.report.damage:
        _set_recovery_point(plan)
    return inspect_partition(directory)


def _keep_originals(plan: Plan, target: Path) -> None:
    target.mkdir(parents=True)
    for path in dict.fromkeys([*plan.kept, *plan.removed_segments, *plan.removed_files]):
        _keep(path, target / path.name)
    for directory in (target, target.parent, target.parent.parent, target.parent.parent.parent):
        sync_directory(directory)


def _keep(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except OSError as exc:
        if exc.errno not in NO_SECOND_NAME:
            raise
        shutil.copy2(path, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())


def _rewrite(segment: Path, ranges: list[tuple[int, int]]) -> None:
    """Put a segment with these bytes of the old one in its place."""
    directory, base = segment.parent, base_offset(segment)
    current = segment_paths(directory, base)[0]
    cleaned = current.with_name(current.name + CLEANED_SUFFIX)
    with current.open("rb") as old, cleaned.open("wb") as new:
        for start, end in ranges:
            old.seek(start)
            while start < end:
                start += new.write(old.read(min(COPY_BYTES, end - start)))
        new.flush()
        os.fsync(new.fileno())
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        commit(directory_fd, base, base + 1)
    finally:
        os.close(directory_fd)
    finish_swaps(directory)


def _allow_gaps(plan: Plan) -> None:
    """Say that offsets are missing, and let the log end where it did."""
    directory, report = plan.report.directory, plan.report
    new = directory / f"{plan.end_offset:020d}{COMPACTED_SUFFIX}"
    if plan.end_offset > report.compacted_until:
        new.touch()
        for mark in directory.glob(f"*{COMPACTED_SUFFIX}"):
            if mark != new:
                mark.unlink()
    if plan.end_offset > report.end_offset:
        _write_filler(directory, report.end_offset, plan.end_offset)


def _write_filler(directory: Path, start_offset: int, end_offset: int) -> None:
    """A segment with one batch of no records, as compaction leaves them, that stands for lost offsets at the
    end: consumers go over it and reach the end of the log. No intact batch is in a segment of that name."""
    header = BatchHeader(bytes(HEADER_BYTES))
    header.magic = MAGIC
    header.base_offset, header.last_offset_delta = start_offset, end_offset - start_offset - 1
    header.base_timestamp = header.max_timestamp = NO_TIMESTAMP
    header.producer_id = header.producer_epoch = header.base_sequence = NO_PRODUCER_ID
    path = segment_paths(directory, start_offset)[0]
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        file.write(header.pack(b""))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _set_recovery_point(plan: Plan) -> None:
    directory = plan.report.directory
    topic = topic_id(directory)
    if topic is None:
        return
    path = directory.parent / RECOVERY_POINTS
    points = read_checkpoint(path)
    points[topic, int(directory.name.rpartition("-")[2])] = plan.end_offset
    write_checkpoint(path, points)
    sync_directory(directory.parent)


def _indexes(segment: Path) -> list[Path]:
    return segment_paths(segment.parent, base_offset(segment))[1:]
