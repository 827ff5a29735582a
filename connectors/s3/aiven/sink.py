"""The task of the S3 sink under Aiven's name: all files are completed whenever offsets are committed.

An offset is committed once all files with records before it are in the bucket. A task that is killed leaves
files of records that were not committed; they are written again, under the same names where the template
says nothing that depends on the clock.

What S3 refuses (a missing bucket, a denied permission) is tried again until somebody mends it, as the Java
connector does, and the status tells what it is.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import structlog

from connect.api import DataError, RetriableError, SinkRecord, SinkTask, SinkTaskContext, TopicPartition
from connect.api.java_patterns import time_zone
from connectors.s3.aiven.config import AivenS3SinkConfig
from connectors.s3.aiven.files import FilePlan, FilesSinceFlush
from connectors.s3.aiven.formats import format_for
from connectors.s3.aiven.template import Clock
from connectors.s3.staging import Staging
from connectors.s3.store import RefusedError, UploadLostError, open_bucket

log = structlog.get_logger(__name__)

# What the files may have waiting in memory; and how many there may be. Where there are more, they are
# completed before offsets are due to be committed.
WAITING_BYTES_MAX: Final = 40 << 20
FILES_MAX: Final = 512


class AivenS3SinkTask(SinkTask[AivenS3SinkConfig]):
    _files: FilesSinceFlush

    def start(self, context: SinkTaskContext, config: AivenS3SinkConfig) -> None:
        self._context = context
        self._config = config
        self._format = format_for(config)
        template = config.template
        self._staging = Staging(config.upload_threads)
        self._files = FilesSinceFlush(
            FilePlan(
                bucket=open_bucket(config.access),
                staging=self._staging,
                part_bytes=config.part_bytes,
                format=self._format,
                template=template,
                clock=Clock(template, time_zone(config.timezone)),
                uses_event_time=config.uses_event_time,
                records_max=config.records_max or None,
                report=context.report_errant,
            )
        )
        # The next offset after what was taken, and after what is in the bucket, by partition.
        self._taken: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, int] = {}
        self._is_flushing = False
        self._awaits_rewind = False
        self._needs_commit = False  # there was a flush since offsets were last asked for

    def put(self, records: Sequence[SinkRecord]) -> None:
        runs = list(_by_partition(records))
        if self._awaits_rewind:  # these come again, behind those before them
            self._awaits_rewind = False
            self._context.rewind({p: self._done.get(p, run[0].offset) for p, run in reversed(runs)})
            return
        for partition, run in runs:
            self._taken.setdefault(partition, run[0].offset)
            self._done.setdefault(partition, run[0].offset)
        try:
            self._put(runs)
        except UploadLostError as exc:
            log.warning("writing the records again", error=str(exc))
            self._start_over({partition for partition, _ in runs})
        except RetriableError:
            if self._config.retry_backoff_ms is not None:
                self._context.timeout(self._config.retry_backoff_ms)
            raise

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        if self._awaits_rewind:
            self._awaits_rewind = False
            return {}
        if self._needs_commit:
            # Of two flushes without a commit between them, a task that starts before both writes other files.
            self._needs_commit = False
            self._context.request_commit()
            return self._safe(offsets)
        try:
            self._flush()
        except UploadLostError as exc:
            log.warning("writing the records again", error=str(exc))
            safe = self._safe(offsets)
            self._start_over()
            return safe
        except RetriableError as exc:
            # `put` goes on with it, and with it the status tells why.
            log.warning("the files are not complete yet", error=str(exc))
        return self._safe(offsets)

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        states = [(self._taken.pop(p, None), self._done.pop(p, None)) for p in partitions]
        if any(taken != done for taken, done in states):
            # Their records are another task's now, and some may share files with others.
            self._awaits_rewind = self._start_over()

    def stop(self) -> None:
        if hasattr(self, "_files"):  # it may not have come so far
            self._files.abandon()
            self._staging.close()

    def _put(self, runs: Sequence[tuple[TopicPartition, list[SinkRecord]]]) -> None:
        if self._is_flushing:
            self._flush_before_commit()
        now_ms = int(time.time() * 1000)
        for partition, run in runs:
            self._take(partition, run, now_ms)
        self._patiently(self._make_room)
        if len(self._files) > FILES_MAX and not self._needs_commit:
            self._flush_before_commit()

    def _take(self, partition: TopicPartition, run: list[SinkRecord], now_ms: int) -> None:
        """Put records into files, in memory: they count as taken, whatever S3 says later."""
        taken = self._taken[partition]
        if run[0].offset < taken:  # they come again after an error
            run = [record for record in run if record.offset >= taken]
            if not run:
                return
        next_offset = run[-1].offset + 1
        try:
            items = self._format.items(run)
        except DataError:
            run, items = self._sorted_out(run)
        if run:
            self._files.take(run, items, now_ms)
        self._taken[partition] = next_offset

    def _sorted_out(self, run: Sequence[SinkRecord]) -> tuple[list[SinkRecord], list[Any]]:
        """The records that the format takes, and their items; the others are reported."""
        good: list[SinkRecord] = []
        items: list[Any] = []
        for record in run:
            try:
                items += self._format.items([record])
            except DataError as exc:
                self._context.report_errant(record, exc)
            else:
                good.append(record)
        return good, items

    def _make_room(self) -> None:
        self._files.send_full_parts()
        self._files.shrink(WAITING_BYTES_MAX)

    def _flush_before_commit(self) -> None:
        self._flush()
        self._needs_commit = True
        self._context.request_commit()

    def _flush(self) -> None:
        """Complete all files; after an error `put` goes on before it takes records."""
        self._is_flushing = True
        self._patiently(self._files.complete)
        self._is_flushing = False
        self._done = dict(self._taken)

    def _patiently(self, request: Callable[[], None]) -> None:
        try:
            request()
        except RefusedError as exc:
            raise RetriableError(str(exc)) from exc

    def _safe(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """The offsets to commit: those given where everything that was taken is in the bucket."""
        safe = dict(offsets)
        for partition in offsets.keys() & self._done.keys():
            done = self._done[partition]
            if self._taken[partition] != done or done > offsets[partition]:
                safe[partition] = done
        return safe

    def _start_over(self, more: Collection[TopicPartition] = ()) -> bool:
        """Drop all files and have their records (and those of `more`) delivered again, if there are any."""
        self._files.abandon()
        self._is_flushing = False
        again = {p: done for p, done in self._done.items() if self._taken[p] != done or p in more}
        self._taken = dict(self._done)
        self._context.rewind(again)
        return bool(again)


def _by_partition(records: Sequence[SinkRecord]) -> Iterator[tuple[TopicPartition, list[SinkRecord]]]:
    """Neighbours of one Kafka partition, whatever a transform made of topic and partition."""
    for key, run in groupby(records, attrgetter("original_topic", "original_partition")):
        yield TopicPartition(*key), list(run)
