"""What the S3 sink and the S3 source have in common under Confluent's names: how to reach the bucket, and how
names of objects are made.
"""

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import SecretStr

from connect.api import FieldError, Importance, Kind, setting
from connectors.s3.access import (
    ANONYMOUS,
    ASSUME_ROLE,
    Access,
    Encryption,
    Proxy,
    Role,
    check_provider,
    simple_name,
)
from connectors.s3.checks import customer_key_error, key_pair_errors, revealed, url_error
from connectors.s3.locations import OtherStoresConfig, location_errors

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW

JSON_FORMAT: Final = "io.confluent.connect.s3.format.json.JsonFormat"
BYTES_FORMAT: Final = "io.confluent.connect.s3.format.bytearray.ByteArrayFormat"
AVRO_FORMAT: Final = "io.confluent.connect.s3.format.avro.AvroFormat"
PARQUET_FORMAT: Final = "io.confluent.connect.s3.format.parquet.ParquetFormat"
FORMATS: Final = (JSON_FORMAT, AVRO_FORMAT, PARQUET_FORMAT, BYTES_FORMAT)

_DEFAULT_CREDENTIALS: Final = "com.amazonaws.auth.DefaultAWSCredentialsProviderChain"


class ConfluentConfig(OtherStoresConfig):
    """In the order of the sink."""

    bucket: str = setting(
        "s3.bucket.name", importance=HIGH, group="S3", doc="The bucket.",
        check=lambda value: None if value else "String must be non-empty",
    )  # fmt: skip
    region: str = setting("s3.region", default="us-west-2", group="S3", doc="The region of the bucket.")
    credentials_provider: str = setting(
        "s3.credentials.provider.class", kind=Kind.CLASS, default=_DEFAULT_CREDENTIALS, importance=LOW,
        group="S3", check=check_provider,
        doc="Without aws.access.key.id the usual places are looked at: environment, profile, container, "
            "instance. AwsAssumeRoleCredentialsProvider assumes s3.credentials.provider.sts.role.arn.",
    )  # fmt: skip
    role_arn: str | None = setting(
        "s3.credentials.provider.sts.role.arn", default=None, importance=MEDIUM, group="S3",
        doc="The role to assume.",
    )  # fmt: skip
    role_session: str = setting(
        "s3.credentials.provider.sts.role.session.name", default="millstream", importance=LOW, group="S3",
        doc="How the session with the role is called in AWS's logs.",
    )  # fmt: skip
    role_external_id: str | None = setting(
        "s3.credentials.provider.sts.role.external.id", default=None, importance=LOW, group="S3",
        doc="The external id that the role asks for.",
    )  # fmt: skip
    sts_endpoint: str | None = setting(
        "s3.credentials.provider.sts.endpoint", default=None, importance=LOW, group="S3",
        doc="The endpoint of STS, where it is not that of AWS.",
    )  # fmt: skip
    access_key_id: str = setting(
        "aws.access.key.id", default="", importance=HIGH, group="S3",
        doc="The access key. Without one, the environment, a profile, the container or instance give it.",
    )  # fmt: skip
    secret_access_key: SecretStr | None = setting(
        "aws.secret.access.key", default=None, importance=HIGH, group="S3",
        doc="The secret that belongs to aws.access.key.id.",
    )  # fmt: skip
    provider_key_id: str = setting(
        "s3.credentials.provider.access_key_id", default="", internal=True,
        doc="The access key of AivenAWSCredentialsProvider.",
    )  # fmt: skip
    provider_secret: SecretStr | None = setting(
        "s3.credentials.provider.secret_access_key", default=None, internal=True,
        doc="The secret of AivenAWSCredentialsProvider.",
    )  # fmt: skip
    sse_customer_key: SecretStr | None = setting(
        "s3.sse.customer.key", default=None, importance=LOW, group="S3", check=customer_key_error,
        doc="Base64 of 32 bytes: server-side encryption with a key of your own.",
    )  # fmt: skip
    wan_mode: bool = setting("s3.wan.mode", default=False, group="S3", doc="Use S3's accelerated endpoint.")
    part_retries: int = setting(
        "s3.part.retries", default=3, group="S3", at_least=0,
        doc="How often a failed request is tried again at once.",
    )  # fmt: skip
    part_retry_backoff_ms: int = setting(
        "s3.retry.backoff.ms", kind=Kind.LONG, default=200, importance=LOW, group="S3", at_least=0,
        doc="How long to wait before the first of these tries; doubled for each further one.",
    )  # fmt: skip
    bytes_extension: str = setting(
        "format.bytearray.extension", default=".bin", importance=LOW, group="S3",
        doc="How the names of objects of bytes end.",
    )  # fmt: skip
    bytes_separator: str | None = setting(
        "format.bytearray.separator", default=None, importance=LOW, group="S3",
        doc="What stands behind each record of bytes; a line feed if not set.",
    )  # fmt: skip
    proxy_url: str = setting(
        "s3.proxy.url", default="", importance=LOW, group="S3", check=url_error,
        doc="The proxy before S3, as http://host:port.",
    )  # fmt: skip
    proxy_user: str | None = setting(
        "s3.proxy.user", default=None, importance=LOW, group="S3",
        doc="The proxy's user.",
    )  # fmt: skip
    proxy_password: SecretStr | None = setting(
        "s3.proxy.password", default=None, importance=LOW, group="S3",
        doc="The proxy's password.",
    )  # fmt: skip
    path_style: bool = setting(
        "s3.path.style.access.enabled", default=True, importance=LOW, group="Keys and Headers",
        doc="Whether the bucket stands in the path of a URL rather than in its host name.",
    )  # fmt: skip

    topics_dir: str = setting(
        "topics.dir", default="topics", importance=HIGH, group="Storage",
        doc="The folder above those of the topics; may be empty.",
    )  # fmt: skip
    store_url: str | None = setting(
        "store.url", default=None, importance=HIGH, group="Storage",
        doc="The endpoint of an S3-compatible store; that of AWS if not set. gs://, az://, abfss:// or "
            "file:///folder for Google Cloud Storage, Azure or folders.",
    )  # fmt: skip
    directory_delim: str = setting(
        "directory.delim", default="/", group="Storage", doc="What stands between folders."
    )
    file_delim: str = setting(
        "file.delim", default="+", group="Storage", doc="What stands between topic, partition and offset."
    )

    @property
    def access(self) -> Access:
        """How to reach the bucket."""
        provider = simple_name(self.credentials_provider)
        location = self.location(self.store_url, self.bucket)
        role, proxy = None, None
        if provider == ASSUME_ROLE and self.role_arn:
            role = Role(self.role_arn, self.role_session, self.role_external_id, endpoint=self.sts_endpoint)
        if self.proxy_url:
            proxy = Proxy(self.proxy_url, self.proxy_user, revealed(self.proxy_password))
        return Access(
            bucket=self.bucket,
            region=self.region,
            endpoint=None if location else self.store_url,
            key_id=self.access_key_id or self.provider_key_id or None,
            secret=revealed(self.secret_access_key) or revealed(self.provider_secret),
            anonymous=provider == ANONYMOUS,
            path_style=self.path_style,
            accelerate=self.wan_mode,
            role=role,
            proxy=proxy,
            encryption=self._encryption,
            retries=self.part_retries,
            backoff_ms=self.part_retry_backoff_ms,
            location=location,
        )

    @property
    def _encryption(self) -> Encryption | None:
        key = revealed(self.sse_customer_key)
        return Encryption("AES256", customer_key=b64decode(key)) if key else None

    @property
    def _only_s3(self) -> Mapping[str, object]:
        """What no other store has."""
        return {"s3.sse.customer.key": revealed(self.sse_customer_key), "s3.wan.mode": self.wan_mode}

    def check(self) -> Iterable[FieldError]:
        yield from key_pair_errors(self.access_key_id, revealed(self.secret_access_key))
        yield from location_errors("store.url", self.store_url, self.bucket, self._only_s3)
        if self.credentials_provider.endswith(ASSUME_ROLE) and not self.role_arn:
            yield FieldError("s3.credentials.provider.sts.role.arn", f"{ASSUME_ROLE} needs the role's ARN")
        if self.proxy_user and not self.proxy_url:
            yield FieldError("s3.proxy.url", "s3.proxy.user needs the proxy's URL")
