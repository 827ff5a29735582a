"""Settings of the S3 sink under Aiven's class name: its names, defaults and checks, the older names too."""

from collections.abc import Iterable, Sequence
from typing import Final

from connect.api import FieldError, Importance, Kind, Width, setting
from connectors.s3.aiven.access import (
    COMPRESSIONS,
    FIELDS,
    AivenConfig,
    any_case,
    check_compression,
    check_fields,
    quoted,
)
from connectors.s3.aiven.template import Template, check_template
from connectors.s3.checks import invalid, zone_error
from connectors.s3.objects import PART_BYTES_MIN
from connectors.s3.staging import UPLOADS_MAX

LOW, LONG = Importance.LOW, Kind.LONG

FORMATS: Final = ("avro", "csv", "json", "jsonl", "parquet")
_SOURCES: Final = ("wallclock", "event")
_AVRO_CODECS: Final = ("null", "deflate", "snappy", "bzip2", "zstandard")
_DEFAULT_TEMPLATE: Final = "{{topic}}-{{partition}}-{{start_offset}}"
_OLD_NAME: Final = "{{topic}}-{{partition}}-{{start_offset:padding=true}}"


def _check_part_bytes(value: int) -> str | None:
    return None if value >= PART_BYTES_MIN else f"Parts must have at least {PART_BYTES_MIN} bytes"


_check_source = any_case(f"Supported values are: {quoted(_SOURCES)}", *_SOURCES)


class AivenS3SinkConfig(AivenConfig):
    """Files and their names."""

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
        "file.compression.type", default=None, group="File", check=check_compression,
        recommended=tuple(COMPRESSIONS), doc="How files are compressed; gzip if not set.",
    )  # fmt: skip
    records_max: int = setting(
        "file.max.records", default=0, group="File", width=Width.SHORT, at_least=0,
        doc="How many records a file holds at most. 0: all since the last commit of offsets.",
    )  # fmt: skip
    name_timezone: str = setting(
        "file.name.timestamp.timezone", default="Z", importance=LOW, group="File", width=Width.SHORT,
        check=zone_error, doc="The time zone of {{timestamp}} in names.",
    )  # fmt: skip
    name_time_source: str = setting(
        "file.name.timestamp.source", default="WALLCLOCK", importance=LOW, group="File",
        width=Width.SHORT, check=_check_source,
        doc="Whether {{timestamp}} in names is the time of the wall clock or the record's: wallclock, event.",
    )  # fmt: skip
    output_type: str = setting(
        "format.output.type", default="csv", group="Format",
        check=any_case(f"Supported values are: {quoted(FORMATS)}", *FORMATS), recommended=FORMATS,
        doc="The format of the files.",
    )  # fmt: skip
    output_fields: list[str] | None = setting(
        "format.output.fields", default=None, group="Format", check=check_fields, recommended=FIELDS,
        doc="What is written of each record; its value if not set.",
    )  # fmt: skip
    value_encoding: str = setting(
        "format.output.fields.value.encoding", default="base64", group="Format",
        check=any_case("supported values are: 'none', 'base64'", "none", "base64"),
        recommended=("none", "base64"), doc="How values are written in CSV.",
    )  # fmt: skip
    envelope: bool = setting(
        "format.output.envelope", default=True, group="Format", width=Width.SHORT,
        doc="Whether a row names its fields. Without that there must be one field, which is the row.",
    )  # fmt: skip
    prefix_timezone: str = setting(
        "timestamp.timezone", default="Z", importance=LOW, group="File", width=Width.SHORT,
        check=zone_error, doc="The time zone of {{timestamp}} in aws.s3.prefix.",
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
        check=any_case(f"Supported values are: {quoted(_AVRO_CODECS)}", *_AVRO_CODECS),
        doc="The codec of Avro files.",
    )  # fmt: skip
    connect_meta_data: bool = setting(
        "connect.meta.data", default=True, internal=True,
        doc="Whether Avro schemas tell what they were in Connect.",
    )  # fmt: skip

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

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        fields = self.output_fields or self.old_fields or ()
        if not self.envelope and len(fields) != 1:
            why = "When format.output.envelope is false, format.output.fields must name one field"
            yield invalid("format.output.fields", ",".join(fields), why)
        if self.format in ("avro", "parquet") and len(set(fields)) < len(fields):
            why = f"a field may be there once in {self.format}"
            yield invalid("format.output.fields", ",".join(fields), why)

    def warnings(self) -> Iterable[FieldError]:
        if self.file_prefix_template is not None:
            yield FieldError("file.prefix.template", "file.prefix.template has no effect on the sink")
        if self.prefix is not None and self.file_name_template is not None:
            why = "file.name.template has no effect beside aws.s3.prefix"
            yield FieldError("file.name.template", why)
