"""Which log is compacted when, as in Kafka, and how the outcome gets into it.

A log is dirty from where its last compaction has ended (`cleaner-offset-checkpoint`). The dirtiest one
is cleaned first, one at a time; a process of its own does the reading and writing (cleaner_process.py),
and here its segments are put in place of the old ones, one after the other (swap.py).

Never touched: the active segment, what is not synced, what is younger than `min.compaction.lag.ms`, and all
from the first open transaction on. A log in which a damaged segment was found is left alone until the next
start.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from broker.log.checkpoint import PartitionId, read_checkpoint, write_checkpoint
from broker.log.cleaner_process import DAMAGED, encode_job
from broker.log.compaction import CleanedSegment, CompactionJob, SourceSegment
from broker.log.config import FOREVER_MS
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.segments import newest_timestamp
from broker.log.swap import commit, discard_cleaned, drop_cleaned, put_in_place
from broker.log.transactions import IndexChecksum
from broker.wire.batch import InvalidBatch
from broker.wire.errors import KafkaError

logger = structlog.get_logger(__name__)

CHECKPOINT_NAME = "cleaner-offset-checkpoint"
CHECKPOINT_KIND = "clean offsets"


@dataclass(frozen=True, slots=True)
class CleanerSettings:
    """`log.cleaner.*`."""

    dedupe_buffer_bytes: int = 128 * 1024 * 1024
    io_bytes_per_second: float = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Cleanable:
    """What of a log may be cleaned. `is_urgent`: its oldest dirty record is over `max.compaction.lag.ms`."""

    segments: list[SourceSegment]
    first_dirty_offset: int
    dirty_ratio: float
    is_urgent: bool


class WorkerLost(Exception):
    """The process has ended in the middle of a job."""


def cleanable(log: PartitionLog, clean_until: int, now_ms: int) -> Cleanable | None:
    """None when there is nothing, or not enough of it for `min.cleanable.dirty.ratio`.

    Raises InvalidBatch or OSError when a segment cannot be read.
    """
    config = log.config
    if not config.compact or log.failure is not None or len(log.segments) < 2:
        return None
    if clean_until > log.log_end_offset:  # of a log that has lost its end
        clean_until = 0
    first_dirty = max(clean_until, log.segments[0].base_offset)
    limit = min(log.last_stable_offset, log.recovery_point)
    sources: list[SourceSegment] = []
    dirty_bytes, oldest_ms = 0, now_ms
    for segment, following in zip(log.segments[:-1], log.segments[1:], strict=True):
        end_offset = following.base_offset
        if end_offset > limit:
            break
        if end_offset > first_dirty:
            # Without a lag no clock is asked: records may be ahead of one that was set back.
            lag_ms = config.min_compaction_lag_ms
            if lag_ms and segment.size and newest_timestamp(segment) > now_ms - lag_ms:
                break
            dirty_bytes += segment.size
            if segment.size and config.max_compaction_lag_ms != FOREVER_MS:
                first = next(segment.batches(0))[1].max_timestamp
                oldest_ms = min(oldest_ms, first if first > 0 else now_ms)
        sources.append(SourceSegment(segment.base_offset, end_offset, segment.size))
    total_bytes = sum(segment.size for segment in sources)
    if not dirty_bytes:
        return None
    found = Cleanable(
        sources,
        first_dirty_offset=min(first_dirty, sources[-1].end_offset),
        dirty_ratio=dirty_bytes / total_bytes,
        is_urgent=oldest_ms < now_ms - config.max_compaction_lag_ms,
    )
    return found if found.is_urgent or found.dirty_ratio > config.min_cleanable_dirty_ratio else None


def compaction_job(log: PartitionLog, found: Cleanable, settings: CleanerSettings) -> CompactionJob:
    """All that has to be known to clean the log, as of now."""
    config = log.config
    producers = {
        producer_id: (producer.batches[-1].last_offset if producer.batches else None, producer.producer_epoch)
        for producer_id, producer in log.producers
    }
    return CompactionJob(
        directory=str(log.directory),
        segments=found.segments,
        first_dirty_offset=found.first_dirty_offset,
        aborted=log.aborted_transactions(found.segments[0].base_offset, found.segments[-1].end_offset),
        producers=producers,
        now_ms=time.time_ns() // 1_000_000,
        delete_retention_ms=config.delete_retention_ms,
        segment_bytes=config.segment_bytes,
        segment_index_bytes=config.segment_index_bytes,
        index_interval_bytes=config.index_interval_bytes,
        map_bytes=settings.dedupe_buffer_bytes,
        io_bytes_per_second=settings.io_bytes_per_second,
    )


class Cleaner:
    """Lives on the broker's event loop."""

    def __init__(self, logs: LogManager, data_dir: Path, settings: CleanerSettings) -> None:
        self._logs = logs
        self._data_dir = data_dir
        self._settings = settings
        self._checkpoint_path = data_dir / CHECKPOINT_NAME
        self._clean_until = read_checkpoint(self._checkpoint_path, CHECKPOINT_KIND)
        self._uncleanable: set[PartitionLog] = set()
        self._worker: Process | None = None

    async def run(self) -> None:
        """Clean all logs that are dirty enough. The process is there as long as it has work."""
        skipped: set[PartitionLog] = set()
        try:
            while (dirtiest := self._dirtiest(skipped)) is not None:
                log, found = dirtiest
                if not await self._clean(log, found):
                    skipped.add(log)
        finally:
            await self._end_worker()

    def _dirtiest(self, skipped: set[PartitionLog]) -> tuple[PartitionLog, Cleanable] | None:
        self._uncleanable.intersection_update(self._logs)
        now_ms = time.time_ns() // 1_000_000
        best: tuple[PartitionLog, Cleanable] | None = None
        for log in self._logs:
            if log in skipped or log in self._uncleanable or not log.config.compact:
                continue
            try:
                found = cleanable(log, self._clean_until.get(self._logs.partition_id(log), 0), now_ms)
            except (InvalidBatch, OSError) as exc:
                logger.error("log cannot be compacted", log=log.directory.name, error=str(exc))
                self._uncleanable.add(log)
                continue
            if found is not None and (best is None or _rank(found) > _rank(best[1])):
                best = log, found
        return best

    async def _clean(self, log: PartitionLog, found: Cleanable) -> bool:
        """Whether it was cleaned. What stands in the way is logged."""
        started = time.monotonic()
        directory_fd = os.open(log.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        log.is_being_cleaned = True
        totals: Mapping[str, int] | None = None
        try:
            totals = await self._compact(log, found, directory_fd)
        except (WorkerLost, InvalidBatch, KafkaError, OSError) as exc:
            logger.error("compaction failed", log=log.directory.name, error=str(exc))
        finally:
            os.close(directory_fd)
            log.is_being_cleaned = False
        if totals is None:
            await self._end_worker()
            await asyncio.to_thread(discard_cleaned, log.directory)
            return False
        self._clean_until[self._logs.partition_id(log)] = totals["clean_until"]
        await self._write_checkpoint()
        logger.info(
            "compacted", log=log.directory.name, seconds=round(time.monotonic() - started, 3), **totals
        )
        return True

    async def _compact(
        self, log: PartitionLog, found: Cleanable, directory_fd: int
    ) -> Mapping[str, int] | None:
        worker = await self._working()
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(encode_job(compaction_job(log, found, self._settings)))
        await worker.stdin.drain()
        while line := await worker.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if log.failure is not None:  # deleted or offline meanwhile
                return None
            if "cleaned" in answer:
                await _take_over(log, found, CleanedSegment(**answer["cleaned"]), directory_fd)
            elif "done" in answer:
                done: Mapping[str, int] = answer["done"]
                return done if log.failure is None else None
            else:
                logger.error("compaction failed", log=log.directory.name, error=answer["error"])
                if answer["kind"] == DAMAGED:
                    self._uncleanable.add(log)
                return None
        raise WorkerLost("the cleaner's process has ended")

    async def _working(self) -> Process:
        if self._worker is None or self._worker.returncode is not None:
            module = "broker.log.cleaner_process"
            arguments = [sys.executable, "-m", module, str(self._data_dir), str(os.getpid())]
            self._worker = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
        return self._worker

    async def _end_worker(self) -> None:
        """What it was writing is thrown away; it has changed nothing."""
        worker, self._worker = self._worker, None
        if worker is not None:
            if worker.returncode is None:
                worker.kill()
            await worker.communicate()  # closes the pipes and waits for its end

    async def _write_checkpoint(self) -> None:
        known = {self._logs.partition_id(log) for log in self._logs}
        points: dict[PartitionId, int] = {key: at for key, at in self._clean_until.items() if key in known}
        self._clean_until = points
        await asyncio.to_thread(write_checkpoint, self._checkpoint_path, dict(points), CHECKPOINT_KIND)


def _rank(found: Cleanable) -> tuple[bool, float]:
    return found.is_urgent, found.dirty_ratio


async def _take_over(log: PartitionLog, found: Cleanable, cleaned: CleanedSegment, directory_fd: int) -> None:
    """Put a cleaned segment in place. The file system is left to threads: while the disk is busy, even to
    rename a file takes its time. Raises InvalidBatch or OSError; the log is offline when that may matter."""
    log.segments.mark_compacted(found.segments[-1].end_offset)
    base_offset, end_offset = cleaned.base_offset, cleaned.end_offset
    checksum = IndexChecksum(cleaned.aborted_count, cleaned.aborted_crc)
    new = log.segments.open_cleaned(base_offset, end_offset, checksum)
    try:
        await asyncio.to_thread(commit, directory_fd, base_offset, end_offset)
        if log.failure is not None:
            return
        log.segments.replace(new)
        deleted = await asyncio.to_thread(put_in_place, directory_fd, base_offset, end_offset)
    except OSError as exc:
        log.fail(
            f"{log.directory.name} is offline: a compacted segment cannot be put in place: {exc.strerror}"
        )
        raise
    if log.failure is None:
        log.settle_segment(new, deleted)
        await asyncio.to_thread(drop_cleaned, directory_fd, base_offset)
