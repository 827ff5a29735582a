"""Settings of the S3 sink: the names, defaults and checks of Confluent's S3SinkConnector.

What Millstream does not do yet is declared all the same and refused when it is asked for, so that nothing
is left out in silence.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from connect.api import Config, ConfigError, FieldError, Importance, Kind, setting
from connect.api.java_patterns import JavaPattern
from connectors.s3.access import Access, Encryption
from connectors.s3.checks import class_named, invalid, one_of, revealed, zone_error
from connectors.s3.confluent import (
    AVRO_FORMAT,
    BYTES_FORMAT,
    FORMATS,
    JSON_FORMAT,
    PARQUET_FORMAT,
    ConfluentConfig,
)
from connectors.s3.custom_partitioner import configured, custom_partitioner, is_custom
from connectors.s3.iceberg.settings import IcebergSettings
from connectors.s3.objects import PART_BYTES_MIN
from connectors.s3.staging import UPLOADS_MAX

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW

ICEBERG_FORMAT: Final = "io.millstream.connect.s3.format.iceberg.IcebergFormat"
_VALUE_FORMATS: Final = (*FORMATS, ICEBERG_FORMAT)
_PARTITIONERS: Final = "io.confluent.connect.storage.partitioner."
DEFAULT_PARTITIONER: Final = _PARTITIONERS + "DefaultPartitioner"
FIELD_PARTITIONER: Final = _PARTITIONERS + "FieldPartitioner"
TIME_PARTITIONER: Final = _PARTITIONERS + "TimeBasedPartitioner"
HOURLY_PARTITIONER: Final = _PARTITIONERS + "HourlyPartitioner"
DAILY_PARTITIONER: Final = _PARTITIONERS + "DailyPartitioner"
TIME_PARTITIONERS: Final = (TIME_PARTITIONER, HOURLY_PARTITIONER, DAILY_PARTITIONER)
_PARTITIONER_CLASSES: Final = (DEFAULT_PARTITIONER, FIELD_PARTITIONER, *TIME_PARTITIONERS)

_ACLS: Final = (
    "private", "public-read", "public-read-write", "authenticated-read", "log-delivery-write",
    "bucket-owner-read", "bucket-owner-full-control", "aws-exec-read",
)  # fmt: skip
_ZSTD_LEVEL_MAX: Final = 22


def _check_format(value: str) -> str | None:
    if class_named(value, FORMATS) is not None:
        return None
    return f"Format must be one of: {', '.join(FORMATS)}"


def _check_value_format(value: str) -> str | None:
    if class_named(value, _VALUE_FORMATS) is not None:
        return None
    return f"Format must be one of: {', '.join(_VALUE_FORMATS)}"


def _check_partitioner(value: str) -> str | None:
    if class_named(value, _PARTITIONER_CLASSES) is not None:
        return None
    if not is_custom(value):
        return (
            f"Partitioner must be one of: {', '.join(_PARTITIONER_CLASSES)}, or module:Class of a class "
            "derived from connectors.s3.custom_partitioner.CustomPartitioner"
        )
    try:
        custom_partitioner(value)
    except ConfigError as exc:
        return str(exc)
    return None


def _check_tags(value: list[str]) -> str | None:
    wrong = [pair for pair in value if pair.count(":") != 1 or pair.startswith(":")]
    return f"Tags are given as key:value, unlike {wrong[0]}" if wrong else None


class FileConfig(Config):
    """What is in a file, and when it is complete."""

    format_class: str = setting(
        "format.class", kind=Kind.CLASS, importance=HIGH, group="Connector", check=_check_value_format,
        recommended=_VALUE_FORMATS,
        doc="The format of the objects: the class, or json, avro, parquet, bytearray or iceberg for short.",
    )  # fmt: skip
    flush_size: int = setting(
        "flush.size", importance=HIGH, group="Connector", at_least=1,
        doc="How many records of one Kafka partition are written before its files are completed.",
    )  # fmt: skip
    rotate_interval_ms: int = setting(
        "rotate.interval.ms", kind=Kind.LONG, default=-1, importance=HIGH, group="Connector",
        doc="Complete the files of a Kafka partition when a record's time (of timestamp.extractor) is this "
            "many milliseconds after the first one's. Needs a time-based partitioner. -1: never.",
    )  # fmt: skip
    rotate_schedule_interval_ms: int = setting(
        "rotate.schedule.interval.ms", kind=Kind.LONG, default=-1, importance=MEDIUM, group="Connector",
        doc="Complete files at these intervals of the wall clock, counted from midnight in timezone, whether "
            "records arrive or not. Objects are then no longer determined by the records alone. -1: never.",
    )  # fmt: skip
    rotate_bytes: int = setting(
        "rotate.bytes", kind=Kind.LONG, default=-1, importance=MEDIUM, group="Connector",
        doc="Complete the files of a Kafka partition after this many bytes of records, as they are before "
            "compression (Parquet: as JSON). Millstream's own setting. -1: never.",
    )  # fmt: skip
    rotate_file_on_partition_change: bool = setting(
        "rotate.file.on.partition.change", default=True, importance=LOW, group="Connector",
        doc="With rotate.interval.ms: also complete the files when a record belongs to another encoded "
            "partition than the one before it.",
    )  # fmt: skip
    retry_backoff_ms: int = setting(
        "retry.backoff.ms", kind=Kind.LONG, default=5000, importance=LOW, group="Connector", at_least=0,
        doc="How long to wait before records are written again after S3 could not take them.",
    )  # fmt: skip
    filename_offset_zero_pad_width: int = setting(
        "filename.offset.zero.pad.width", default=10, importance=LOW, group="Connector", at_least=0,
        doc="To how many digits the start offset in an object's name is filled with zeros.",
    )  # fmt: skip
    schema_compatibility: str = setting(
        "schema.compatibility", default="NONE", importance=HIGH, group="Connector",
        check=one_of("none", "backward", "forward", "full"),
        recommended=("NONE", "BACKWARD", "FORWARD", "FULL"),
        doc="How records of changing schemas share a file. NONE: each schema has files of its own (JSON and "
            "bytes hold records of any schema). BACKWARD and FULL: with the newest version of the schema; "
            "FORWARD: with the oldest.",
    )  # fmt: skip
    avro_codec: str = setting(
        "avro.codec", default="null", importance=LOW, group="Connector",
        check=one_of("null", "deflate", "snappy", "bzip2"), doc="The codec of Avro files.",
    )  # fmt: skip
    parquet_codec: str = setting(
        "parquet.codec", default="snappy", importance=LOW, group="Connector",
        check=one_of("none", "gzip", "snappy", "lz4", "zstd"), doc="The codec of Parquet files.",
    )  # fmt: skip


class S3SinkConfig(IcebergSettings, ConfluentConfig, FileConfig):
    """Files, rotation, S3, layout; in the order in which Confluent documents them."""

    object_tagging: bool = setting(
        "s3.object.tagging", default=False, importance=LOW, group="S3", after="s3.bucket.name",
        doc="Tag objects with startOffset, endOffset and recordCount.",
    )  # fmt: skip
    object_tags: list[str] = setting(
        "s3.object.tagging.key.value.pairs", default=[], importance=LOW, group="S3", check=_check_tags,
        doc="More tags for objects, as key:value, separated by commas.",
    )  # fmt: skip
    on_tagging_error: str = setting(
        "s3.object.behavior.on.tagging.error", default="ignore", importance=LOW, group="S3",
        check=one_of("ignore", "fail"), recommended=("ignore", "fail"),
        doc="What to do when an object is there and its tags cannot be set.",
    )  # fmt: skip
    part_bytes: int = setting(
        "s3.part.size", default=26214400, importance=HIGH, group="S3",
        check=lambda value: None if value >= PART_BYTES_MIN
        else f"Part size must be at least: {PART_BYTES_MIN} bytes (5MB)", after="s3.region",
        doc="The bytes of a part of a multipart upload. Smaller objects are written at once.",
    )  # fmt: skip
    sse_algorithm: str = setting(
        "s3.ssea.name", default="", importance=LOW, group="S3",
        check=one_of("", "aes256", "aws:kms", "aws:kms:dsse"), recommended=("AES256", "aws:kms"),
        after="aws.secret.access.key",
        doc="The algorithm of server-side encryption: AES256 or aws:kms.",
    )  # fmt: skip
    sse_kms_key_id: str = setting(
        "s3.sse.kms.key.id", default="", importance=LOW, group="S3", after="s3.sse.customer.key",
        doc="The KMS key of server-side encryption with s3.ssea.name=aws:kms; AWS's own if not set.",
    )  # fmt: skip
    acl_canned: str | None = setting(
        "s3.acl.canned", default=None, importance=LOW, group="S3", check=one_of("", *_ACLS),
        recommended=_ACLS, doc="The canned ACL of objects.",
    )  # fmt: skip
    compression_type: str = setting(
        "s3.compression.type", default="none", importance=LOW, group="S3", after="s3.wan.mode",
        check=one_of("none", "gzip", "zstd"), recommended=("none", "gzip", "zstd"),
        doc="How JSON and bytes are compressed: none, gzip, or (Millstream's own) zstd.",
    )  # fmt: skip
    compression_level: int = setting(
        "s3.compression.level", default=-1, importance=LOW, group="S3", at_least=-1, at_most=_ZSTD_LEVEL_MAX,
        doc="The level of gzip, 0 to 9, or of zstd, 1 to 22; -1 is a fast one.",
    )  # fmt: skip
    decimal_format: str = setting(
        "json.decimal.format", default="BASE64", group="S3", check=one_of("base64", "numeric"),
        recommended=("BASE64", "NUMERIC"), doc="How JSON shows decimals of records that have a schema.",
    )  # fmt: skip
    upload_threads: int = setting(
        "s3.upload.threads", default=UPLOADS_MAX, importance=LOW, group="S3", at_least=1, at_most=64,
        doc="How many of the files that are completed together, and how many parts of large ones, are "
            "uploaded at once. Millstream's own setting.",
    )  # fmt: skip
    null_values: str = setting(
        "behavior.on.null.values", default="fail", importance=LOW, group="S3",
        check=one_of("ignore", "fail", "write"), recommended=("ignore", "fail", "write"),
        after="s3.proxy.password",
        doc="What to do with records without a value: fail, ignore them, or write them as the line null "
            "(JSON only) under tombstone.encoded.partition.",
    )  # fmt: skip
    tombstone_partition: str = setting(
        "tombstone.encoded.partition", default="tombstone", importance=LOW, group="S3",
        doc="The folder for records without a value, in place of the encoded partition.",
    )  # fmt: skip
    conditional_writes: bool = setting(
        "enable.conditional.writes", default=True, importance=LOW, group="S3",
        doc="With rotate.schedule.interval.ms: never overwrite an object; records that a task wrote before "
            "it was killed are recognised instead.",
    )  # fmt: skip

    store_keys: bool = setting(
        "store.kafka.keys", default=False, importance=LOW, group="Keys and Headers",
        doc="Also write keys, as objects beside those of the values.",
    )  # fmt: skip
    store_headers: bool = setting(
        "store.kafka.headers", default=False, importance=LOW, group="Keys and Headers",
        doc="Also write headers, as objects beside those of the values.",
    )  # fmt: skip
    keys_format_class: str = setting(
        "keys.format.class", kind=Kind.CLASS, default=AVRO_FORMAT, importance=LOW,
        group="Keys and Headers", check=_check_format, recommended=FORMATS, doc="The format of keys.",
    )  # fmt: skip
    headers_format_class: str = setting(
        "headers.format.class", kind=Kind.CLASS, default=AVRO_FORMAT, importance=LOW,
        group="Keys and Headers", check=_check_format, recommended=FORMATS, doc="The format of headers.",
    )  # fmt: skip

    storage_class: str = setting(
        "storage.class", kind=Kind.CLASS, default="io.confluent.connect.s3.storage.S3Storage",
        importance=HIGH, group="Storage",
        after="s3.path.style.access.enabled",
        doc="Accepted and not needed: the connector's class says it.",
    )  # fmt: skip

    partitioner_class: str = setting(
        "partitioner.class", kind=Kind.CLASS, default=DEFAULT_PARTITIONER, importance=HIGH,
        group="Partitioner", check=_check_partitioner, recommended=_PARTITIONER_CLASSES,
        dependents=("partition.field.name", "partition.duration.ms", "path.format", "locale", "timezone"),
        after="file.delim",
        doc="Into which folder below the topic's a record goes: by Kafka partition, by fields, by time, or "
            "as a class of your own says, given as module:Class.",
    )  # fmt: skip
    partition_fields: list[str] = setting(
        "partition.field.name", default=[], group="Partitioner",
        doc="The fields of FieldPartitioner; a.b is the field b inside a.",
    )  # fmt: skip
    partition_duration_ms: int = setting(
        "partition.duration.ms", kind=Kind.LONG, default=-1, group="Partitioner",
        doc="The time that a folder of TimeBasedPartitioner spans.",
    )  # fmt: skip
    path_format: str = setting(
        "path.format", default="", group="Partitioner",
        doc="The folders of TimeBasedPartitioner as a Joda pattern, such as 'year'=YYYY/'month'=MM/'day'=dd.",
    )  # fmt: skip
    locale: str = setting(
        "locale", default="", group="Partitioner",
        doc="The language of names of months and days in path.format. Millstream has English.",
    )  # fmt: skip
    timezone: str = setting(
        "timezone", default="", group="Partitioner", check=zone_error,
        doc="The time zone of folders and of scheduled rotation: UTC, Europe/Berlin, +02:00.",
    )  # fmt: skip
    timestamp_extractor: str = setting(
        "timestamp.extractor", default="Wallclock", group="Partitioner",
        choices=("Wallclock", "Record", "RecordField"),
        doc="Where time-based partitioners take a record's time from: the clock, the record's timestamp, or "
            "its field timestamp.field. By the clock, records may be written twice after a crash.",
    )  # fmt: skip
    timestamp_field: str = setting(
        "timestamp.field", default="timestamp", group="Partitioner",
        doc="The field of the extractor RecordField: milliseconds since 1970 or an ISO 8601 text.",
    )  # fmt: skip

    @property
    def format(self) -> str:
        """The full class name."""
        return class_named(self.format_class, _VALUE_FORMATS) or self.format_class

    @property
    def keys_format(self) -> str:
        return class_named(self.keys_format_class, FORMATS) or self.keys_format_class

    @property
    def headers_format(self) -> str:
        return class_named(self.headers_format_class, FORMATS) or self.headers_format_class

    @property
    def partitioner(self) -> str:
        """The full class name."""
        return class_named(self.partitioner_class, _PARTITIONER_CLASSES) or self.partitioner_class

    @property
    def access(self) -> Access:
        """How to reach the bucket, and what new objects get."""
        return replace(super().access, acl=self.acl_canned or None)

    @property
    def iceberg_location(self) -> str:
        """Below which new tables are made, unless the catalog is told otherwise."""
        return f"s3://{self.bucket}/{self.topics_dir}".rstrip("/")

    @property
    def _encryption(self) -> Encryption | None:
        by_customer = super()._encryption
        if by_customer is not None or not self.sse_algorithm:
            return by_customer
        name = self.sse_algorithm.lower()
        return Encryption("AES256" if name == "aes256" else name, self.sse_kms_key_id or None)

    @property
    def tags(self) -> Mapping[str, str]:
        """Those that every object gets, if any does."""
        pairs = (pair.partition(":") for pair in self.object_tags)
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def is_time_based(self) -> bool:
        if is_custom(self.partitioner):
            return custom_partitioner(self.partitioner).is_time_based
        return self.partitioner in TIME_PARTITIONERS

    @property
    def rotates_on_record_time(self) -> bool:
        return self.rotate_interval_ms > 0 and self.is_time_based

    @property
    def rotates_on_schedule(self) -> bool:
        return self.rotate_schedule_interval_ms > 0

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        yield from self._check_encryption()
        levels = {"gzip": range(10), "zstd": range(1, _ZSTD_LEVEL_MAX + 1)}
        kind = self.compression_type.lower()
        if kind in levels and self.compression_level not in (-1, *levels[kind]):
            why = f"{kind} has the levels {levels[kind][0]} to {levels[kind][-1]}, and -1 for a fast one"
            yield invalid("s3.compression.level", self.compression_level, why)
        if self.null_values.lower() == "write" and self.format != JSON_FORMAT:
            yield invalid("behavior.on.null.values", self.null_values, "Only JsonFormat can write them")
        if self.format == ICEBERG_FORMAT:
            yield from self.check_iceberg()
            yield from self._check_tables()
        if self.partitioner == FIELD_PARTITIONER and not any(self.partition_fields):
            yield invalid("partition.field.name", "", "FieldPartitioner needs at least one field")
        if is_custom(self.partitioner):
            yield from self._check_custom_partitioner()
        if (self.partitioner in TIME_PARTITIONERS or self.rotates_on_schedule) and not self.timezone:
            why = "Timezone cannot be empty with a time-based partitioner or rotate.schedule.interval.ms"
            yield invalid("timezone", "", why)
        if self.partitioner == TIME_PARTITIONER:
            yield from self._check_path_format()

    @property
    def _only_s3(self) -> Mapping[str, object]:
        return {
            **super()._only_s3, "s3.ssea.name": self.sse_algorithm, "s3.acl.canned": self.acl_canned,
            "s3.object.tagging": self.object_tagging, "format.class": self.format == ICEBERG_FORMAT,
        }  # fmt: skip

    def _check_encryption(self) -> Iterable[FieldError]:
        kms = self.sse_algorithm.lower().startswith("aws:kms")
        if self.sse_kms_key_id and not kms:
            yield invalid("s3.sse.kms.key.id", self.sse_kms_key_id, "It needs s3.ssea.name=aws:kms")
        if kms and revealed(self.sse_customer_key):
            yield FieldError("s3.sse.customer.key", "A key of your own needs s3.ssea.name=AES256")

    def _check_tables(self) -> Iterable[FieldError]:
        """What objects can have and tables cannot."""
        parts = {"store.kafka.keys": self.store_keys, "store.kafka.headers": self.store_headers}
        for name, is_wanted in parts.items():
            if is_wanted:
                why = "A table has rows of values only; a transform can move keys and headers into them"
                yield invalid(name, "true", why)
        cannot = "IcebergFormat cannot ask for it: set it for the bucket"
        if self._encryption is not None:
            name = "s3.sse.customer.key" if self._encryption.customer_key else "s3.ssea.name"
            yield FieldError(name, cannot)
        if self.acl_canned:
            yield FieldError("s3.acl.canned", cannot)
        if self.role_external_id:
            yield FieldError("s3.credentials.provider.sts.role.external.id", "IcebergFormat cannot tell it")

    def _check_custom_partitioner(self) -> Iterable[FieldError]:
        try:
            configured(self.partitioner, self.originals)
        except ConfigError as exc:
            yield FieldError("partitioner.class", f"{self.partitioner}: {exc}")

    def _check_path_format(self) -> Iterable[FieldError]:
        if self.partition_duration_ms <= 0:
            why = "Partition duration needs to be a positive."
            yield invalid("partition.duration.ms", self.partition_duration_ms, why)
        if not self.path_format.strip() or self.path_format == self.directory_delim:
            yield invalid("path.format", self.path_format, "Path format cannot be empty.")
            return
        try:
            JavaPattern.joda(self.path_format)
        except ValueError as exc:
            yield invalid("path.format", self.path_format, str(exc))
            return
        english = not self.locale or self.locale.lower().startswith("en")
        if not english and _NAMES_IN_A_PATTERN.search(_QUOTED.sub("", self.path_format)):
            yield invalid("locale", self.locale, "Names of months and days are in English only")

    def warnings(self) -> Iterable[FieldError]:
        if self.rotate_interval_ms > 0 and not self.is_time_based:
            why = (
                f"rotate.interval.ms has no effect with {self.partitioner}; it needs a time-based partitioner"
            )
            yield FieldError("rotate.interval.ms", why)
        for name, (default, formats) in _OF_SOME_FORMATS.items():
            if self.originals.get(name, default) != default and self.format not in formats:
                yield FieldError(name, f"{name} has no effect with {self.format}")


_QUOTED: Final = re.compile(r"'[^']*'")
_NAMES_IN_A_PATTERN: Final = re.compile(r"MMM|[EaG]")
_OF_OBJECTS: Final[Mapping[str, str]] = {
    "partitioner.class": DEFAULT_PARTITIONER,
    "rotate.schedule.interval.ms": "-1",
    "rotate.bytes": "-1",
    "schema.compatibility": "NONE",
    "s3.object.tagging": "false",
}
_OF_SOME_FORMATS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "avro.codec": ("null", (AVRO_FORMAT,)),
    "parquet.codec": ("snappy", (PARQUET_FORMAT,)),
    "s3.compression.type": ("none", (JSON_FORMAT, BYTES_FORMAT)),
    **{name: (default, FORMATS) for name, default in _OF_OBJECTS.items()},
}
