"""Settings of the S3 source under Confluent's name: those of its source, which mirror the sink's."""

from abc import abstractmethod
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from pydantic import SecretStr

from connect.api import Config, ConfigError, FieldError, Importance, Kind, setting
from connect.api.java_regex import regex_error
from connectors.s3.access import (
    ANONYMOUS,
    ASSUME_ROLE,
    HTTP,
    Access,
    Encryption,
    Proxy,
    Role,
    check_provider,
    simple_name,
)
from connectors.s3.config import (
    AVRO_FORMAT,
    BYTES_FORMAT,
    JSON_FORMAT,
    PARQUET_FORMAT,
    check_customer_key,
    class_named,
)
from connectors.s3.source.decompress import SUFFIXES
from connectors.s3.source.envelopes import Bare
from connectors.s3.source.formats import Format, JsonLines, SeparatedBytes, Text, avro, csv, parquet
from connectors.s3.source.places import Layout, PatternLayout, SinkLayout
from connectors.s3.source.progress import CHANGES
from connectors.s3.source.reading import SourcePlan

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW

RESTORE, GENERIC = "RESTORE_BACKUP", "GENERIC"
CSV_FORMAT, TEXT_FORMAT = "csv", "text"
FORMATS: Final = (JSON_FORMAT, AVRO_FORMAT, PARQUET_FORMAT, BYTES_FORMAT, CSV_FORMAT, TEXT_FORMAT)
_EXTENSIONS: Final[Mapping[str, str]] = {
    JSON_FORMAT: ".json", AVRO_FORMAT: ".avro", PARQUET_FORMAT: ".parquet", CSV_FORMAT: ".csv",
    TEXT_FORMAT: ".txt",
}  # fmt: skip
_PROVIDER: Final = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"


def check_sqs(value: str) -> str | None:
    """Refused, so that nobody waits for events that are not looked at."""
    return "Millstream finds new objects by listing the bucket; it reads no SQS queue yet" if value else None


def one_of(*choices: str) -> Callable[[str | None], str | None]:
    """A check for one of these, in any case."""
    lowered = {choice.lower() for choice in choices}

    def check(value: str | None) -> str | None:
        return None if (value or "").lower() in lowered else f"Value must be one of: {', '.join(choices)}"

    return check


def _check_format(value: str) -> str | None:
    return None if class_named(value, FORMATS) else f"Format must be one of: {', '.join(FORMATS)}"


def _check_topic_patterns(value: list[str]) -> str | None:
    for pair in value:
        topic, colon, pattern = pair.partition(":")
        if not topic.strip() or not colon:
            return f"Each is topic:regex, unlike {pair!r}"
        if why := regex_error(pattern.strip()):
            return f"{pair!r}: {why}"
    return None


class SourceConfig(Config):
    """What both connectors' settings have."""

    changed_objects: str = setting(
        "changed.objects", default="ignore", importance=LOW, group="Source", check=one_of(*CHANGES),
        recommended=CHANGES,
        doc="What to do with an object whose content changes after it has been read: ignore it, read all of "
            "it again, or continue behind the records that have been read. Millstream's own setting.",
    )  # fmt: skip
    sqs_queue: str = setting(
        "sqs.queue.url", default="", importance=LOW, group="Source", check=check_sqs,
        doc="Not supported: new objects are found by listing.",
    )  # fmt: skip

    @abstractmethod
    def plan(self) -> SourcePlan:
        """What the settings come down to."""


class S3SourceConfig(SourceConfig):
    """Confluent's."""

    mode: str = setting(
        "mode", default=RESTORE, importance=HIGH, group="Connector", check=one_of(RESTORE, GENERIC),
        recommended=(RESTORE, GENERIC),
        doc="RESTORE_BACKUP reads what the S3 sink wrote back into topics and partitions of the same names. "
            "GENERIC reads any objects whose keys match topic.regex.list.",
    )  # fmt: skip
    topic_patterns: list[str] = setting(
        "topic.regex.list", default=[], importance=HIGH, group="Connector", check=_check_topic_patterns,
        doc="With mode=GENERIC, pairs topic:regex with commas between: an object goes to the topic of the "
            "first pattern that matches its whole key.",
    )  # fmt: skip
    format_class: str = setting(
        "format.class", kind=Kind.CLASS, importance=HIGH, group="Connector", check=_check_format,
        recommended=FORMATS,
        doc="The format of the objects: the class, or json, avro, parquet, bytearray, csv or text.",
    )  # fmt: skip
    on_error: str = setting(
        "behavior.on.error", default="fail", importance=HIGH, group="Connector",
        check=one_of("fail", "ignore"), recommended=("fail", "ignore"),
        doc="What to do with what cannot be read: as errors.tolerance says (fail), or log it and go on "
            "(ignore).",
    )  # fmt: skip
    records_max: int = setting(
        "record.batch.max.size", default=200, importance=MEDIUM, group="Connector", at_least=1,
        doc="How many records are handed on at once.",
    )  # fmt: skip
    poll_interval_ms: int = setting(
        "s3.poll.interval.ms", kind=Kind.LONG, default=5000, group="Connector", at_least=1,
        doc="How often the bucket is listed for new objects; less often where listing takes more than a "
            "tenth of the time.",
    )  # fmt: skip
    since_ms: int = setting(
        "file.discovery.starting.timestamp", kind=Kind.LONG, default=0, importance=LOW, group="Connector",
        at_least=0,
        doc="Objects that were last modified before this time, in milliseconds since 1970, are not read.",
    )  # fmt: skip
    csv_separator: str = setting(
        "csv.separator.char", default=",", importance=LOW, group="Connector",
        check=lambda value: None if len(value) == 1 else "One character is needed",
        doc="What stands between the fields of CSV.",
    )  # fmt: skip

    bucket: str = setting(
        "s3.bucket.name", importance=HIGH, group="S3", doc="The bucket.",
        check=lambda value: None if value else "String must be non-empty",
    )  # fmt: skip
    region: str = setting("s3.region", default="us-west-2", group="S3", doc="The region of the bucket.")
    credentials_provider: str = setting(
        "s3.credentials.provider.class", kind=Kind.CLASS, default=_PROVIDER, importance=LOW, group="S3",
        check=check_provider,
        doc="Without aws.access.key.id the usual places are looked at: environment, profile, container, "
            "instance. AwsAssumeRoleCredentialsProvider assumes s3.credentials.provider.sts.role.arn.",
    )  # fmt: skip
    role_arn: str | None = setting(
        "s3.credentials.provider.sts.role.arn", default=None, group="S3", doc="The role to assume.",
    )  # fmt: skip
    role_session: str = setting(
        "s3.credentials.provider.sts.role.session.name", default="millstream", importance=LOW, group="S3",
        doc="How the session with the role is called in AWS's logs.",
    )  # fmt: skip
    role_external_id: str | None = setting(
        "s3.credentials.provider.sts.role.external.id", default=None, importance=LOW, group="S3",
        doc="The external id that the role asks for.",
    )  # fmt: skip
    access_key_id: str = setting(
        "aws.access.key.id", default="", importance=HIGH, group="S3",
        doc="The access key. Without one, the environment, a profile, the container or instance give it.",
    )  # fmt: skip
    secret_access_key: SecretStr | None = setting(
        "aws.secret.access.key", default=None, importance=HIGH, group="S3",
        doc="The secret that belongs to aws.access.key.id.",
    )  # fmt: skip
    sse_customer_key: SecretStr | None = setting(
        "s3.sse.customer.key", default=None, importance=LOW, group="S3", check=check_customer_key,
        doc="Base64 of the 32 bytes that the objects are encrypted with, where that is a key of your own.",
    )  # fmt: skip
    wan_mode: bool = setting("s3.wan.mode", default=False, group="S3", doc="Use S3's accelerated endpoint.")
    path_style: bool = setting(
        "s3.path.style.access.enabled", default=True, importance=LOW, group="S3",
        doc="Whether the bucket stands in the path of a URL rather than in its host name.",
    )  # fmt: skip
    retries: int = setting(
        "s3.part.retries", default=3, group="S3", at_least=0,
        doc="How often a failed request is tried again at once.",
    )  # fmt: skip
    retry_backoff_ms: int = setting(
        "s3.retry.backoff.ms", kind=Kind.LONG, default=200, importance=LOW, group="S3", at_least=0,
        doc="How long to wait before the first of these tries; doubled for each further one.",
    )  # fmt: skip
    proxy_url: str = setting(
        "s3.proxy.url", default="", importance=LOW, group="S3",
        check=lambda value: None if not value or value.startswith(HTTP)
        else "The URL must begin with http:// or https://",
        doc="The proxy before S3, as http://host:port.",
    )  # fmt: skip
    proxy_user: str | None = setting(
        "s3.proxy.user", default=None, importance=LOW, group="S3", doc="The proxy's user.",
    )  # fmt: skip
    proxy_password: SecretStr | None = setting(
        "s3.proxy.password", default=None, importance=LOW, group="S3", doc="The proxy's password.",
    )  # fmt: skip

    store_url: str | None = setting(
        "store.url", default=None, importance=HIGH, group="Storage",
        doc="The endpoint of an S3-compatible store; that of AWS if not set.",
    )  # fmt: skip
    topics_dir: str = setting(
        "topics.dir", default="topics", importance=HIGH, group="Storage",
        doc="The folder above those of the topics, or with mode=GENERIC, of all objects; may be empty.",
    )  # fmt: skip
    directory_delim: str = setting(
        "directory.delim", default="/", group="Storage", doc="What stands between folders."
    )
    file_delim: str = setting(
        "file.delim", default="+", group="Storage", doc="What stands between topic, partition and offset."
    )
    bytes_extension: str = setting(
        "format.bytearray.extension", default=".bin", importance=LOW, group="Storage",
        doc="How the names of objects of bytes end.",
    )  # fmt: skip
    bytes_separator: str | None = setting(
        "format.bytearray.separator", default=None, importance=LOW, group="Storage",
        doc="What stands behind each record of bytes; a line feed if not set.",
    )  # fmt: skip
    needs_keys: bool = setting(
        "store.kafka.keys", default=False, importance=LOW, group="Storage",
        doc="Do not read an object before its keys are there. They are restored wherever there are any.",
    )  # fmt: skip
    needs_headers: bool = setting(
        "store.kafka.headers", default=False, importance=LOW, group="Storage",
        doc="Do not read an object before its headers are there. They are restored wherever there are any.",
    )  # fmt: skip
    partitioner_class: str | None = setting(
        "partitioner.class", kind=Kind.CLASS, default=None, importance=LOW, group="Storage",
        doc="Accepted and not needed: where records were is found in the names of the objects.",
    )  # fmt: skip

    @property
    def access(self) -> Access:
        """How to reach the bucket."""
        provider = simple_name(self.credentials_provider)
        role, proxy, encryption = None, None, None
        if provider == ASSUME_ROLE and self.role_arn:
            role = Role(self.role_arn, self.role_session, self.role_external_id)
        if self.proxy_url:
            proxy = Proxy(self.proxy_url, self.proxy_user, revealed(self.proxy_password))
        if key := revealed(self.sse_customer_key):
            encryption = Encryption("AES256", customer_key=b64decode(key))
        return Access(
            bucket=self.bucket, region=self.region, endpoint=self.store_url,
            key_id=self.access_key_id or None, secret=revealed(self.secret_access_key),
            anonymous=provider == ANONYMOUS, path_style=self.path_style, accelerate=self.wan_mode, role=role,
            proxy=proxy, encryption=encryption, retries=self.retries, backoff_ms=self.retry_backoff_ms,
        )  # fmt: skip

    @property
    def is_restore(self) -> bool:
        return self.mode.upper() == RESTORE

    def plan(self) -> SourcePlan:
        return SourcePlan(
            access=self.access, layout=self._layout(), format=self._format(), envelope=Bare(),
            compression=None, separator=self._separator, records_max=self.records_max,
            interval_ms=self.poll_interval_ms, changes=self.changed_objects.lower(), since_ms=self.since_ms,
            tolerates=self.on_error.lower() == "ignore", needs_keys=self.needs_keys,
            needs_headers=self.needs_headers,
        )  # fmt: skip

    def _layout(self) -> Layout:
        if self.is_restore:
            extension = _EXTENSIONS.get(self._format_name, self.bytes_extension)
            extensions = [extension + suffix for suffix in ("", *SUFFIXES)]
            return SinkLayout(self.topics_dir, self.directory_delim, self.file_delim, extensions)
        prefix = self.topics_dir + self.directory_delim if self.topics_dir.strip() else ""
        pairs = (pair.partition(":") for pair in self.topic_patterns)
        return PatternLayout(prefix, [(topic.strip(), pattern.strip()) for topic, _, pattern in pairs])

    @property
    def _format_name(self) -> str:
        return class_named(self.format_class, FORMATS) or self.format_class

    @property
    def _separator(self) -> bytes:
        # Kafka trims settings, but here white space counts.
        return self.originals.get("format.bytearray.separator", "\n").encode()

    def _format(self) -> Format:
        match self._format_name:
            case name if name == JSON_FORMAT:
                return JsonLines()
            case name if name == AVRO_FORMAT:
                return avro()
            case name if name == PARQUET_FORMAT:
                return parquet()
            case name if name == CSV_FORMAT:
                return csv(self.csv_separator)
            case name if name == TEXT_FORMAT:
                return Text()
            case _:
                return SeparatedBytes(self._separator)

    def check(self) -> Iterable[FieldError]:
        if bool(self.access_key_id) != bool(revealed(self.secret_access_key)):
            missing = "aws.secret.access.key" if self.access_key_id else "aws.access.key.id"
            yield FieldError(missing, "Set both aws.access.key.id and aws.secret.access.key, or neither")
        if self.store_url is not None and not self.store_url.startswith(HTTP):
            why = "The endpoint must begin with http:// or https://"
            yield FieldError("store.url", str(ConfigError.invalid("store.url", self.store_url, why)))
        if self.credentials_provider.endswith(ASSUME_ROLE) and not self.role_arn:
            yield FieldError("s3.credentials.provider.sts.role.arn", f"{ASSUME_ROLE} needs the role's ARN")
        if not self.is_restore and not any(self.topic_patterns):
            why = "topic.regex.list cannot be empty when the connector runs in GENERIC mode."
            yield FieldError("topic.regex.list", why)
        if not self.file_delim or not self.directory_delim:
            name = "directory.delim" if self.file_delim else "file.delim"
            yield FieldError(name, f"{name} cannot be empty: names of objects could not be taken apart")

    def warnings(self) -> Iterable[FieldError]:
        if self.is_restore and any(self.topic_patterns):
            yield FieldError("topic.regex.list", f"topic.regex.list has no effect with mode={RESTORE}")


def revealed(secret: SecretStr | None) -> str | None:
    """The secret's text; None where it is empty too."""
    return secret.get_secret_value() or None if secret is not None else None
