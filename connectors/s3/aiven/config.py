"""Settings of the S3 sink under Aiven's class name: its names, defaults and checks, the older names too."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from connect.api import Config, ConfigError, FieldError, Importance, Kind, Width, setting
from connect.api.java_patterns import time_zone
from connectors.s3.access import (
    ANONYMOUS,
    HTTP,
    Access,
    Encryption,
    Role,
    SettingNames,
    check_provider,
    simple_name,
)
from connectors.s3.aiven.template import Template, check_template
from connectors.s3.objects import PART_BYTES_MIN
from connectors.s3.staging import UPLOADS_MAX

LOW, LONG = Importance.LOW, Kind.LONG

FIELDS: Final = ("key", "value", "offset", "timestamp", "headers")
FORMATS: Final = ("avro", "csv", "json", "jsonl", "parquet")
COMPRESSIONS: Final[Mapping[str, str]] = {"none": "", "gzip": ".gz", "snappy": ".snappy", "zstd": ".zst"}
_SOURCES: Final = ("wallclock", "event")
_AVRO_CODECS: Final = ("null", "deflate", "snappy", "bzip2", "zstandard")
_DEFAULT_TEMPLATE: Final = "{{topic}}-{{partition}}-{{start_offset}}"
_OLD_NAME: Final = "{{topic}}-{{partition}}-{{start_offset:padding=true}}"
_STS: Final = "https://sts.amazonaws.com"
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d+|aws(-[a-z]+)*-global")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAMES: Final = SettingNames("aws.s3.bucket.name", "aws.s3.region", "aws.s3.endpoint")


def _any_case(message: str, *choices: str) -> Callable[[str | None], str | None]:
    return lambda value: None if value is None or value.lower() in choices else message


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _check_fields(value: list[str] | None) -> str | None:
    if value is None:
        return None
    if not any(value):
        return "cannot be empty"
    return None if set(value) <= set(FIELDS) else f"supported values are: {_quoted(FIELDS)}"


def _check_bucket(value: str | None) -> str | None:
    if value is None or (_BUCKET.fullmatch(value) and ".." not in value):
        return None
    return "Illegal bucket name: 3 to 63 small letters, digits, dots and hyphens"


def _check_region(value: str | None) -> str | None:
    fits = value is None or _REGION.fullmatch(value)
    return None if fits else "Regions are named like us-east-1"


def _check_endpoint(value: str | None) -> str | None:
    if value is None or (value.startswith(HTTP) and not re.search(r"\s", value)):
        return None
    return "The endpoint must be a URL that begins with http:// or https://"


def _check_zone(value: str) -> str | None:
    try:
        time_zone(value)
    except ValueError as exc:
        return str(exc)
    return None


def _check_part_bytes(value: int) -> str | None:
    return None if value >= PART_BYTES_MIN else f"Parts must have at least {PART_BYTES_MIN} bytes"


_check_compression = _any_case(_quoted(COMPRESSIONS), *COMPRESSIONS)
_check_source = _any_case(f"Supported values are: {_quoted(_SOURCES)}", *_SOURCES)


class AivenS3SinkConfig(Config):
    """In the order in which the Java connector lists them. What it has without effect is accepted."""

    access_key_id: SecretStr | None = setting(
        "aws.access.key.id", default=None, group="AWS",
        doc="The access key. Without one, the environment, a profile, the container or instance give it.",
    )  # fmt: skip
    secret_access_key: SecretStr | None = setting(
        "aws.secret.access.key", default=None, group="AWS",
        doc="The secret that belongs to aws.access.key.id.",
    )  # fmt: skip
    credentials_provider: str | None = setting(
        "aws.credentials.provider", kind=Kind.CLASS, default=None, group="AWS", check=check_provider,
        doc="AWS's own providers by their names. Without aws.access.key.id the usual places are looked at: "
            "environment, profile, container, instance.",
    )  # fmt: skip
    bucket_name: str | None = setting(
        "aws.s3.bucket.name", default=None, group="AWS", check=_check_bucket, doc="The bucket.",
    )  # fmt: skip
    sse_algorithm: str | None = setting(
        "aws.s3.sse.algorithm", default=None, group="AWS",
        check=_any_case("Supported values are: 'AES256', 'aws:kms'", "", "aes256", "aws:kms", "aws:kms:dsse"),
        doc="The algorithm of server-side encryption: AES256 or aws:kms.",
    )  # fmt: skip
    s3_endpoint: str | None = setting(
        "aws.s3.endpoint", default=None, importance=LOW, group="AWS", check=_check_endpoint,
        doc="The endpoint of an S3-compatible store; that of AWS if not set.",
    )  # fmt: skip
    s3_region: str | None = setting(
        "aws.s3.region", default=None, group="AWS", check=_check_region, doc="The region of the bucket.",
    )  # fmt: skip
    s3_prefix: str | None = setting(
        "aws.s3.prefix", default=None, group="AWS",
        doc="What names of objects begin with, in the old style: they go on as topic-partition-offset, with "
            "20 digits, and file.name.template is not used.",
    )  # fmt: skip
    fetch_page_size: int = setting(
        "aws.s3.fetch.page.size", default=10, group="AWS", doc="Of the source; the sink does not use it.",
    )  # fmt: skip
    fetch_buffer_size: int = setting(
        "aws.s3.fetch.buffer.size", default=1000, group="AWS",
        doc="Of the source; the sink does not use it.",
    )  # fmt: skip
    role_arn: str | None = setting(
        "aws.sts.role.arn", default=None, group="AWS STS", doc="The role to assume.",
    )  # fmt: skip
    role_session: str | None = setting(
        "aws.sts.role.session.name", default=None, group="AWS STS",
        doc="How the session with the role is called in AWS's logs.",
    )  # fmt: skip
    role_duration_s: int = setting(
        "aws.sts.role.session.duration", default=3600, group="AWS STS", at_least=900, at_most=43200,
        doc="How many seconds a session lasts before it is renewed.",
    )  # fmt: skip
    role_external_id: str | None = setting(
        "aws.sts.role.external.id", default=None, group="AWS STS",
        doc="The external id that the role asks for.",
    )  # fmt: skip
    sts_endpoint: str = setting(
        "aws.sts.config.endpoint", default=_STS, group="AWS STS", doc="The endpoint of STS.",
    )  # fmt: skip
    old_access_key_id: SecretStr | None = setting(
        "aws_access_key_id", default=None, doc="The old name of aws.access.key.id."
    )
    old_secret_access_key: SecretStr | None = setting(
        "aws_secret_access_key", default=None, doc="The old name of aws.secret.access.key."
    )
    old_bucket: str | None = setting(
        "aws_s3_bucket", default=None, check=_check_bucket, doc="The old name of aws.s3.bucket.name."
    )
    old_endpoint: str | None = setting(
        "aws_s3_endpoint", default=None, importance=LOW, check=_check_endpoint,
        doc="The old name of aws.s3.endpoint.",
    )  # fmt: skip
    old_region: str | None = setting(
        "aws_s3_region", default=None, check=_check_region, doc="The old name of aws.s3.region."
    )
    old_prefix: str | None = setting("aws_s3_prefix", default=None, doc="The old name of aws.s3.prefix.")
    old_fields: list[str] | None = setting(
        "output_fields", default=None, check=_check_fields, doc="The old name of format.output.fields."
    )
    old_compression: str | None = setting(
        "output_compression", default=None, check=_check_compression,
        doc="The old name of file.compression.type.",
    )  # fmt: skip
    backoff_ms: int = setting(
        "aws.s3.backoff.delay.ms", kind=LONG, default=100, group="S3 retry backoff policy", at_least=1,
        doc="How long to wait before a failed request is tried again; doubled for each further try.",
    )  # fmt: skip
    backoff_max_ms: int = setting(
        "aws.s3.backoff.max.delay.ms", kind=LONG, default=20_000, group="S3 retry backoff policy",
        at_least=1, doc="The longest such wait.",
    )  # fmt: skip
    backoff_retries: int = setting(
        "aws.s3.backoff.max.retries", default=3, group="S3 retry backoff policy", at_least=0, at_most=30,
        doc="How often a failed request is tried again at once.",
    )  # fmt: skip
    part_bytes: int = setting(
        "aws.s3.part.size.bytes", default=PART_BYTES_MIN, group="AWS", check=_check_part_bytes,
        doc="The bytes of a part of a multipart upload. Smaller objects are written at once.",
    )  # fmt: skip
    file_name_template: str | None = setting(
        "file.name.template", default=None, group="File", width=Width.LONG, check=check_template,
        doc="The names of objects, made of {{topic}}, {{partition}}, {{start_offset}}, {{timestamp:unit=…}} "
            "and {{key}}. If not set: {{topic}}-{{partition}}-{{start_offset}}, with .avro, .gz, .snappy or "
            ".zst behind it where that is set.",
    )  # fmt: skip
    file_prefix_template: str | None = setting(
        "file.prefix.template", default=None, group="File", width=Width.LONG,
        doc="Of the source; the sink does not use it.",
    )  # fmt: skip
    file_compression_type: str | None = setting(
        "file.compression.type", default=None, group="File", check=_check_compression,
        recommended=tuple(COMPRESSIONS), doc="How files are compressed; gzip if not set.",
    )  # fmt: skip
    records_max: int = setting(
        "file.max.records", default=0, group="File", width=Width.SHORT, at_least=0,
        doc="How many records a file holds at most. 0: all since the last commit of offsets.",
    )  # fmt: skip
    name_timezone: str = setting(
        "file.name.timestamp.timezone", default="Z", importance=LOW, group="File", width=Width.SHORT,
        check=_check_zone, doc="The time zone of {{timestamp}} in names.",
    )  # fmt: skip
    name_time_source: str = setting(
        "file.name.timestamp.source", default="WALLCLOCK", importance=LOW, group="File",
        width=Width.SHORT, check=_check_source,
        doc="Whether {{timestamp}} in names is the time of the wall clock or the record's: wallclock, event.",
    )  # fmt: skip
    output_type: str = setting(
        "format.output.type", default="csv", group="Format",
        check=_any_case(f"Supported values are: {_quoted(FORMATS)}", *FORMATS), recommended=FORMATS,
        doc="The format of the files.",
    )  # fmt: skip
    output_fields: list[str] | None = setting(
        "format.output.fields", default=None, group="Format", check=_check_fields, recommended=FIELDS,
        doc="What is written of each record; its value if not set.",
    )  # fmt: skip
    value_encoding: str = setting(
        "format.output.fields.value.encoding", default="base64", group="Format",
        check=_any_case("supported values are: 'none', 'base64'", "none", "base64"),
        recommended=("none", "base64"), doc="How values are written in CSV.",
    )  # fmt: skip
    envelope: bool = setting(
        "format.output.envelope", default=True, group="Format", width=Width.SHORT,
        doc="Whether a row names its fields. Without that there must be one field, which is the row.",
    )  # fmt: skip
    prefix_timezone: str = setting(
        "timestamp.timezone", default="Z", importance=LOW, group="File", width=Width.SHORT,
        check=_check_zone, doc="The time zone of {{timestamp}} in aws.s3.prefix.",
    )  # fmt: skip
    prefix_time_source: str = setting(
        "timestamp.source", default="WALLCLOCK", importance=LOW, group="File", width=Width.SHORT,
        check=_check_source, doc="As file.name.timestamp.source, for aws.s3.prefix.",
    )  # fmt: skip

    retry_backoff_ms: int | None = setting(
        "kafka.retry.backoff.ms", kind=LONG, default=None, at_least=0, at_most=86_400_000, internal=True,
        doc="How long to wait before files are written again after S3 could not take them.",
    )  # fmt: skip
    upload_threads: int = setting(
        "aws.s3.upload.threads", default=UPLOADS_MAX, internal=True, at_least=1, at_most=64,
        doc="How many files, and how many parts of large ones, are uploaded at once. Millstream's own.",
    )  # fmt: skip
    avro_codec: str = setting(
        "avro.codec", default="null", internal=True,
        check=_any_case(f"Supported values are: {_quoted(_AVRO_CODECS)}", *_AVRO_CODECS),
        doc="The codec of Avro files.",
    )  # fmt: skip
    connect_meta_data: bool = setting(
        "connect.meta.data", default=True, internal=True,
        doc="Whether Avro schemas tell what they were in Connect.",
    )  # fmt: skip

    @property
    def bucket(self) -> str:
        """The name that `check` has seen."""
        return self.bucket_name or self.old_bucket or ""

    @property
    def prefix(self) -> str | None:
        return self.s3_prefix if self.s3_prefix is not None else self.old_prefix

    @property
    def fields(self) -> Sequence[str]:
        """What is written of each record, in the order asked for."""
        return self.output_fields or self.old_fields or ("value",)

    @property
    def format(self) -> str:
        return self.output_type.lower()

    @property
    def compression(self) -> str:
        """none, gzip, snappy or zstd."""
        return (self._asked_compression or "gzip").lower()

    @property
    def _asked_compression(self) -> str | None:
        return self.file_compression_type or self.old_compression

    @property
    def template(self) -> Template:
        """That of the whole name, a prefix in the old style too."""
        suffix = COMPRESSIONS[(self._asked_compression or "none").lower()]
        if self.format == "avro":
            suffix = f".avro{suffix}"
        if self.prefix is not None:
            return Template.parse(f"{self.prefix}{_OLD_NAME}{suffix}")
        return Template.parse(self.file_name_template or _DEFAULT_TEMPLATE + suffix)

    @property
    def uses_event_time(self) -> bool:
        """Whether times in names are those of records."""
        source = self.name_time_source if self.prefix is None else self.prefix_time_source
        return source.lower() == "event"

    @property
    def timezone(self) -> str:
        """That of times in names."""
        return self.name_timezone if self.prefix is None else self.prefix_timezone

    @property
    def access(self) -> Access:
        """How to reach the bucket."""
        role, encryption = None, None
        if self.role_arn:
            endpoint = self.sts_endpoint if self.sts_endpoint != _STS else None
            session = self.role_session or "millstream"
            role = Role(self.role_arn, session, self.role_external_id, self.role_duration_s, endpoint)
        if self.sse_algorithm:
            name = self.sse_algorithm.lower()
            encryption = Encryption("AES256" if name == "aes256" else name)
        return Access(
            bucket=self.bucket,
            region=self.s3_region or self.old_region,
            endpoint=self.s3_endpoint or self.old_endpoint,
            key_id=_revealed(self.access_key_id) or _revealed(self.old_access_key_id),
            secret=_revealed(self.secret_access_key) or _revealed(self.old_secret_access_key),
            anonymous=simple_name(self.credentials_provider or "") == ANONYMOUS,
            role=role,
            encryption=encryption,
            retries=self.backoff_retries,
            backoff_ms=self.backoff_ms,
            backoff_max_ms=self.backoff_max_ms,
            names=_NAMES,
        )

    def check(self) -> Iterable[FieldError]:
        if not self.bucket:
            why = "Neither aws.s3.bucket.name nor aws_s3_bucket is set; name the bucket"
            yield FieldError("aws.s3.bucket.name", why)
        access = self.access
        if bool(access.key_id) != bool(access.secret):
            missing = "aws.secret.access.key" if access.key_id else "aws.access.key.id"
            yield FieldError(missing, "Set both aws.access.key.id and aws.secret.access.key, or neither")
        fields = self.output_fields or self.old_fields or ()
        if not self.envelope and len(fields) != 1:
            why = "When format.output.envelope is false, format.output.fields must name one field"
            yield _invalid("format.output.fields", ",".join(fields), why)
        if self.format in ("avro", "parquet") and len(set(fields)) < len(fields):
            why = f"a field may be there once in {self.format}"
            yield _invalid("format.output.fields", ",".join(fields), why)

    def warnings(self) -> Iterable[FieldError]:
        if self.file_prefix_template is not None:
            yield FieldError("file.prefix.template", "file.prefix.template has no effect on the sink")
        if self.prefix is not None and self.file_name_template is not None:
            why = "file.name.template has no effect beside aws.s3.prefix"
            yield FieldError("file.name.template", why)


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() or None if secret is not None else None


def _invalid(name: str, value: object, why: str) -> FieldError:
    return FieldError(name, str(ConfigError.invalid(name, value, why)))
