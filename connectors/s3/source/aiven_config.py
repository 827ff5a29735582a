"""Settings of the S3 source under Aiven's name.

With the `format.output.fields` that the sink was given, rows are taken apart into the keys, values, headers
and timestamps that they hold; without, a row is a value, as with Aiven's own source.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from connect.api import FieldError, Importance, Kind, setting
from connect.api.java_regex import regex_error
from connectors.s3.aiven.access import FIELDS, AivenConfig
from connectors.s3.checks import invalid, one_of
from connectors.s3.source.config import SourceConfig
from connectors.s3.source.decompress import COMPRESSIONS
from connectors.s3.source.envelopes import Bare, CsvFields, Envelope, Fields, KeyedByObject
from connectors.s3.source.formats import (
    Blocks,
    Format,
    JsonLines,
    SeparatedBytes,
    Text,
    avro,
    csv,
    parquet,
)
from connectors.s3.source.places import TemplateLayout, template_pattern, template_variables
from connectors.s3.source.reading import SourcePlan

LOW, LONG = Importance.LOW, Kind.LONG
_INPUTS: Final = ("bytes", "jsonl", "json", "avro", "parquet", "csv", "text")
_BY_PARTITION: Final = "partition"


def _check_template(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return regex_error(template_pattern(value))
    except ValueError as exc:
        return str(exc)


def _check_fields(value: list[str]) -> str | None:
    wrong = [field for field in value if field not in FIELDS]
    return f"{wrong[0]} is none of {', '.join(FIELDS)}" if wrong else None


class AivenS3SourceConfig(AivenConfig, SourceConfig):
    """Aiven's."""

    s3_prefix: str | None = setting(
        "aws.s3.prefix", default=None, group="AWS",
        doc="Only objects whose keys begin with this are read.",
    )  # fmt: skip
    template: str | None = setting(
        "file.name.template", default=None, importance=Importance.HIGH, group="File",
        check=_check_template,
        doc="What the keys of objects look like: {{topic}}, {{partition}}, {{start_offset}}, {{timestamp}} "
            "and {{key}}, the rest a regular expression. Other objects are not read.",
    )  # fmt: skip
    compression: str | None = setting(
        "file.compression.type", default=None, group="File", check=lambda value: None if value is None
        else one_of(*COMPRESSIONS)(value), recommended=COMPRESSIONS,
        doc="How objects are compressed. If not set, how each begins shows it; bytes are read as they are.",
    )  # fmt: skip
    input_format: str = setting(
        "input.format", default="bytes", importance=Importance.HIGH, group="Format", check=one_of(*_INPUTS),
        recommended=_INPUTS, doc="The format of objects. json, csv and text are Millstream's.",
    )  # fmt: skip
    block_bytes: int = setting(
        "transformer.max.buffer.size", default=4096, group="Format", at_least=1,
        doc="With input.format=bytes, how many bytes of an object a record has at most.",
    )  # fmt: skip
    topic: str | None = setting(
        "topic", default=None, importance=Importance.HIGH, group="Source",
        doc="The topic of all records; if not set, {{topic}} of file.name.template names it.",
    )  # fmt: skip
    topics: str | None = setting("topics", default=None, importance=LOW, group="Source",
        doc="The older name of topic.",
    )  # fmt: skip
    distribution: str = setting(
        "distribution.type", default="object_hash", group="Source",
        check=one_of("object_hash", _BY_PARTITION), recommended=("object_hash", _BY_PARTITION),
        doc="How objects are shared by tasks: by their keys, or by {{partition}}, which keeps the order of "
            "each partition whatever tasks.max is.",
    )  # fmt: skip
    records_max: int = setting(
        "max.poll.records", default=500, group="Source", at_least=1,
        doc="How many records are handed on at once.",
    )  # fmt: skip
    interval_ms: int = setting(
        "poll.interval.ms", kind=LONG, default=5000, group="Source", at_least=1,
        doc="How often the bucket is listed for new objects; less often where listing takes more than a "
            "tenth of the time.",
    )  # fmt: skip
    fields: list[str] = setting(
        "format.output.fields", default=[], group="Format", check=_check_fields, recommended=FIELDS,
        doc="What the sink wrote of each record. Where it is set, records are restored from these fields.",
    )  # fmt: skip
    value_encoding: str = setting(
        "format.output.fields.value.encoding", default="base64", group="Format",
        check=one_of("none", "base64"), recommended=("none", "base64"), doc="How values stand in CSV.",
    )  # fmt: skip
    envelope: bool = setting(
        "format.output.envelope", default=True, group="Format",
        doc="Whether a row of the sink names its fields.",
    )  # fmt: skip

    @property
    def target(self) -> str | None:
        """The topic of all records."""
        return self.topic or self.topics or None

    @property
    def _fields(self) -> Sequence[str]:
        return [field for field in self.fields or self.old_fields or () if field]

    @property
    def _input(self) -> str:
        return self.input_format.lower()

    def plan(self) -> SourcePlan:
        asked = self.compression or self.old_compression
        compression = asked.lower() if asked else None
        if self._input == "bytes" and compression is None:
            compression = "none"
        layout = TemplateLayout(
            self.prefix or "", self.template or "", self.target,
            by_partition=self.distribution.lower() == _BY_PARTITION,
        )  # fmt: skip
        return SourcePlan(
            access=self.access, layout=layout, format=self._format(), envelope=self._envelope(),
            compression=compression, separator=b"\n", records_max=self.records_max,
            interval_ms=self.interval_ms, changes=self.changed_objects.lower(),
            queue=self.queue,
        )  # fmt: skip

    def _format(self) -> Format:
        match self._input:
            case "jsonl" | "json":
                return JsonLines()
            case "avro":
                return avro()
            case "parquet":
                return parquet()
            case "csv":
                return SeparatedBytes(b"\n") if self._fields else csv(",")
            case "text":
                return Text()
            case _:
                return Blocks(self.block_bytes)

    def _envelope(self) -> Envelope:
        fields = self._fields
        if fields and self._input == "csv":
            return CsvFields(fields, plain_values=self.value_encoding.lower() == "none")
        if fields and self.envelope and self._input in ("jsonl", "json", "avro", "parquet"):
            return Fields()
        return Bare() if fields else KeyedByObject()

    @property
    def _only_s3(self) -> Mapping[str, object]:
        return {**super()._only_s3, "sqs.queue.url": self.sqs_queue}

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        if self.template is None:
            why = "file.name.template is not set, so no object would be read; .* reads all"
            yield FieldError("file.name.template", why)
            return
        variables = template_variables(self.template)
        if self.target is None and "topic" not in variables:
            yield FieldError("topic", "Set topic, or have {{topic}} in file.name.template")
        if self.distribution.lower() == _BY_PARTITION and "partition" not in variables:
            why = "partition needs {{partition}} in file.name.template"
            yield invalid("distribution.type", self.distribution, why)
