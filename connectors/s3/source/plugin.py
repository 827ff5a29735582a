"""The S3 source under Confluent's and under Aiven's name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from connect.api import FieldError, SourceConnector
from connect.version import __version__
from connectors.s3.source.aiven_config import AivenS3SourceConfig
from connectors.s3.source.config import S3SourceConfig, SourceConfig
from connectors.s3.source.progress import check_offset
from connectors.s3.source.queue import queue_problems
from connectors.s3.source.task import TASKS, S3SourceTask
from connectors.s3.store import problems_of


class _S3Source(SourceConnector[SourceConfig]):
    version = __version__
    task_class = S3SourceTask

    def task_configs(self, config: SourceConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [{**config.originals, TASKS: str(max_tasks)}] * max_tasks

    def check_connection(self, config: SourceConfig) -> Iterable[FieldError]:
        """Whether the bucket is there and may be listed, and the queue may be read."""
        access = config.plan().access
        yield from problems_of(access, "read")
        if config.queue is not None:
            yield from queue_problems(access, config.queue)

    def exactly_once_support(self, config: SourceConfig) -> bool:
        """Offsets say for each object how much of it has been read."""
        return True

    def alter_offsets(
        self,
        config: SourceConfig,
        offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]],
    ) -> bool:
        for source_partition, source_offset in offsets:
            if source_offset is not None:
                check_offset(source_partition, source_offset)
        return True


class S3SourceConnector(_S3Source):
    """Reads what the S3 sink wrote back into topics, or any objects into a topic."""

    config_class: ClassVar[type[SourceConfig]] = S3SourceConfig


class AivenS3SourceConnector(_S3Source):
    """Reads objects whose names fit a template."""

    config_class: ClassVar[type[SourceConfig]] = AivenS3SourceConfig
