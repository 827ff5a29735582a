"""The S3 sink under Confluent's name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from connect.api import FieldError, SinkConnector
from connect.version import __version__
from connectors.s3.config import S3SinkConfig
from connectors.s3.sink import S3SinkTask
from connectors.s3.store import error_code, explain, make_client

LOOK_TIMEOUT_S: Final = 5.0

# Which setting to look at first, by S3's error code.
_SETTINGS: Final[Mapping[str, str]] = {
    "InvalidAccessKeyId": "aws.access.key.id",
    "SignatureDoesNotMatch": "aws.secret.access.key",
    "PermanentRedirect": "s3.region",
    "301": "s3.region",
    "AuthorizationHeaderMalformed": "s3.region",
}


class S3SinkConnector(SinkConnector[S3SinkConfig]):
    """Writes the records of topics into objects of an S3 bucket."""

    version = __version__
    config_class = S3SinkConfig
    task_class = S3SinkTask

    def task_configs(self, config: S3SinkConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * max_tasks

    def check_connection(self, config: S3SinkConfig) -> Iterable[FieldError]:
        """Whether the bucket is there and the credentials are good."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        what = f"s3://{config.bucket}"
        try:
            # A list tells why it is refused, which a HEAD of the bucket does not.
            client = make_client(config, read_timeout_s=LOOK_TIMEOUT_S)
            client.list_objects_v2(Bucket=config.bucket, MaxKeys=1)
        except ClientError as exc:
            code = error_code(exc.response)
            # Who may only write may not list.
            if code not in ("AccessDenied", "403"):
                yield FieldError(_SETTINGS.get(code, "s3.bucket.name"), str(explain(exc, what)))
        except HTTPClientError as exc:
            yield FieldError("store.url", str(explain(exc, what)))
        except (BotoCoreError, ValueError) as exc:
            yield FieldError("s3.bucket.name", str(explain(exc, what)))
