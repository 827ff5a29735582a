"""The task of the S3 sink: hands records to the writer of their Kafka partition, and bounds the memory."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog

from connect.api import RetriableError, SinkRecord, SinkTask, SinkTaskContext, TopicPartition
from connect.api.java_patterns import time_zone
from connectors.s3.compatibility import Compatibility
from connectors.s3.config import S3SinkConfig
from connectors.s3.files import Tagging
from connectors.s3.intake import Intake
from connectors.s3.naming import Naming
from connectors.s3.partitioners import partitioner_for
from connectors.s3.rotation import RotationRules, Schedule
from connectors.s3.staging import Staging
from connectors.s3.store import open_bucket
from connectors.s3.timestamps import extractor_for
from connectors.s3.views import views_for
from connectors.s3.writer import FilePlan, PartitionWriter

log = structlog.get_logger(__name__)

# What the open files of a task may have waiting in memory; and how much of it is left when it was too much.
WAITING_BYTES_MAX: Final = 40 << 20
_LEFT: Final = 0.75


class S3SinkTask(SinkTask[S3SinkConfig]):
    _writers: dict[TopicPartition, PartitionWriter]
    _plan: FilePlan

    def __init__(self) -> None:
        self._writers = {}

    def start(self, context: SinkTaskContext, config: S3SinkConfig) -> None:
        self._context = context
        self._config = config
        self._plan = _plan(context, config)

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._writers[partition] = self._new_writer(partition)

    def put(self, records: Sequence[SinkRecord]) -> None:
        now_ms = _now_ms()
        for writer in self._writers.values():
            writer.started_over = False
        try:
            for writer in self._writers.values():
                writer.tick(now_ms)
            for partition, run in _by_partition(records):
                if partition not in self._writers:
                    self._writers[partition] = self._new_writer(partition)
                if not self._writers[partition].started_over:
                    self._writers[partition].write(run, now_ms)
            self._bound_memory()
        except RetriableError as exc:
            if not any(writer.started_over for writer in self._writers.values()):
                self._context.timeout(self._config.retry_backoff_ms)
                raise
            # If these records came again, they would come before those that start over.
            log.warning("having records delivered again", error=str(exc))
            self._rewind_to_untaken(records)

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        safe = {partition: writer.safe_offset for partition, writer in self._writers.items()}
        return {partition: offset for partition, offset in safe.items() if offset is not None}

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            writer = self._writers.pop(partition, None)
            if writer is not None:
                writer.abandon()

    def stop(self) -> None:
        self.close(list(self._writers))
        if hasattr(self, "_plan"):  # it may not have come so far
            self._plan.staging.close()

    def _rewind_to_untaken(self, records: Sequence[SinkRecord]) -> None:
        untaken: dict[TopicPartition, int] = {}
        for partition, run in _by_partition(records):
            writer = self._writers.get(partition)
            taken = writer.next_offset if writer is not None else None
            needed = run[0].offset if taken is None else taken
            if needed <= run[-1].offset:
                untaken.setdefault(partition, needed)
        self._context.rewind(untaken)

    def _new_writer(self, partition: TopicPartition) -> PartitionWriter:
        config, schedule = self._config, None
        if config.rotates_on_schedule:
            zone = time_zone(config.timezone)
            schedule = Schedule(config.rotate_schedule_interval_ms, zone, _now_ms())
        return PartitionWriter(partition, self._plan, schedule, self._context)

    def _bound_memory(self) -> None:
        """Send or spill the largest files while all together have too much in memory."""
        gauge = self._plan.staging.gauge
        if gauge.bytes <= WAITING_BYTES_MAX:
            return
        files = [(writer, file) for writer in self._writers.values() for file in writer.files.values()]
        files.sort(key=lambda pair: pair[1].memory_bytes, reverse=True)
        for writer, file in files:
            writer.shrink(file)
            if gauge.bytes <= WAITING_BYTES_MAX * _LEFT:
                return


def _by_partition(records: Sequence[SinkRecord]) -> Iterator[tuple[TopicPartition, list[SinkRecord]]]:
    """Neighbours of one Kafka partition, whatever a transform made of topic and partition."""
    for key, run in groupby(records, attrgetter("original_topic", "original_partition")):
        yield TopicPartition(*key), list(run)


def _plan(context: SinkTaskContext, config: S3SinkConfig) -> FilePlan:
    views = views_for(config)
    extractor = extractor_for(config) if config.is_time_based else None
    return FilePlan(
        bucket=open_bucket(config.access),
        part_bytes=config.part_bytes,
        staging=Staging(config.upload_threads),
        views=views,
        naming=Naming.of(config),
        intake=Intake(config, views, partitioner_for(config), extractor, context.report_errant),
        rules=RotationRules(
            config.flush_size,
            config.rotate_interval_ms if config.rotates_on_record_time else None,
            config.rotate_file_on_partition_change,
            config.rotate_bytes if config.rotate_bytes > 0 else None,
        ),
        extractor=extractor,
        tagging=Tagging(config.tags, config.on_tagging_error.lower() == "ignore")
        if config.object_tagging
        else None,
        compatibility=Compatibility(config.schema_compatibility.upper()),
        only_new_objects=config.rotates_on_schedule and config.conditional_writes,
    )


def _now_ms() -> int:
    return int(time.time() * 1000)
