"""The S3 sink under Aiven's name."""

from collections.abc import Iterable, Mapping, Sequence

from connect.api import FieldError, SinkConnector
from connect.version import __version__
from connectors.s3.aiven.config import AivenS3SinkConfig
from connectors.s3.aiven.sink import AivenS3SinkTask
from connectors.s3.store import problems_of


class AivenS3SinkConnector(SinkConnector[AivenS3SinkConfig]):
    """Writes the records of topics into objects of an S3 bucket, whenever offsets are committed."""

    version = __version__
    config_class = AivenS3SinkConfig
    task_class = AivenS3SinkTask

    def task_configs(self, config: AivenS3SinkConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * max_tasks

    def check_connection(self, config: AivenS3SinkConfig) -> Iterable[FieldError]:
        """Whether the bucket is there and the credentials are good."""
        return problems_of(config.access)
