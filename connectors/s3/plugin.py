"""The S3 sink under Confluent's name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from connect.api import FieldError, SinkConnector
from connect.version import __version__
from connectors.s3.access import make_client
from connectors.s3.config import S3SinkConfig
from connectors.s3.sink import S3SinkTask
from connectors.s3.store import error_code, explain, setting_behind

LOOK_TIMEOUT_S: Final = 5.0


class S3SinkConnector(SinkConnector[S3SinkConfig]):
    """Writes the records of topics into objects of an S3 bucket."""

    version = __version__
    config_class = S3SinkConfig
    task_class = S3SinkTask

    def task_configs(self, config: S3SinkConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * max_tasks

    def check_connection(self, config: S3SinkConfig) -> Iterable[FieldError]:
        """Whether the bucket is there and the credentials are good."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            # A list tells why it is refused, which a HEAD of the bucket does not.
            client = make_client(config.access, read_timeout_s=LOOK_TIMEOUT_S)
            client.list_objects_v2(Bucket=config.bucket, MaxKeys=1)
        except (BotoCoreError, ClientError, ValueError) as exc:
            # Who may only write may not list.
            if not isinstance(exc, ClientError) or error_code(exc.response) not in ("AccessDenied", "403"):
                yield FieldError(setting_behind(exc), str(explain(exc, f"s3://{config.bucket}")))
