"""The S3 sink under Confluent's name."""

from collections.abc import Iterable, Mapping, Sequence

from connect.api import FieldError, SinkConnector
from connect.version import __version__
from connectors.s3.config import ICEBERG_FORMAT, S3SinkConfig
from connectors.s3.store import problems_of
from connectors.s3.task import FormatTask


class S3SinkConnector(SinkConnector[S3SinkConfig]):
    """Writes the records of topics into objects of an S3 bucket."""

    version = __version__
    config_class = S3SinkConfig
    task_class = FormatTask

    def task_configs(self, config: S3SinkConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * max_tasks

    def check_connection(self, config: S3SinkConfig) -> Iterable[FieldError]:
        """Whether the bucket is there, the credentials are good and, for tables, the catalog answers."""
        yield from problems_of(config.access)
        if config.format == ICEBERG_FORMAT:
            from connectors.s3.iceberg.look import problems_of_catalog

            yield from problems_of_catalog(config)
