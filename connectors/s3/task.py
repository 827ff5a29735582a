"""The sink's task: one that writes objects, or one that writes tables, as the format asks."""

from collections.abc import Iterable, Mapping, Sequence

from connect.api import ConnectError, SinkRecord, SinkTask, SinkTaskContext, TopicPartition
from connectors.s3.config import ICEBERG_FORMAT, S3SinkConfig
from connectors.s3.sink import S3SinkTask


class FormatTask(SinkTask[S3SinkConfig]):
    task: SinkTask[S3SinkConfig]

    def start(self, context: SinkTaskContext, config: S3SinkConfig) -> None:
        self.task = _table_task() if config.format == ICEBERG_FORMAT else S3SinkTask()
        self.task.start(context, config)

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        self.task.open(partitions)

    def put(self, records: Sequence[SinkRecord]) -> None:
        self.task.put(records)

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return self.task.pre_commit(offsets)

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        self.task.close(partitions)

    def stop(self) -> None:
        if hasattr(self, "task"):
            self.task.stop()


def _table_task() -> SinkTask[S3SinkConfig]:
    try:
        import pyiceberg  # noqa: F401
    except ImportError as exc:
        from connectors.s3.iceberg.look import INSTALL

        raise ConnectError(INSTALL) from exc
    from connectors.s3.iceberg.sink import IcebergSinkTask  # importing it costs memory

    return IcebergSinkTask()
