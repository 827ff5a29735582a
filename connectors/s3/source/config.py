"""Settings of the S3 source under Confluent's name: those of its source, which mirror the sink's."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Final

from connect.api import Config, FieldError, Importance, Kind, setting
from connect.api.java_regex import regex_error
from connectors.s3.checks import class_named, one_of
from connectors.s3.confluent import (
    AVRO_FORMAT,
    BYTES_FORMAT,
    JSON_FORMAT,
    PARQUET_FORMAT,
    ConfluentConfig,
)
from connectors.s3.source.decompress import SUFFIXES
from connectors.s3.source.envelopes import Bare
from connectors.s3.source.formats import Format, JsonLines, SeparatedBytes, Text, avro, csv, parquet
from connectors.s3.source.places import Layout, PatternLayout, SinkLayout
from connectors.s3.source.progress import CHANGES
from connectors.s3.source.queue import QUEUE_URL, QueueSettings, url_problem
from connectors.s3.source.reading import SourcePlan

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW

RESTORE, GENERIC = "RESTORE_BACKUP", "GENERIC"
CSV_FORMAT, TEXT_FORMAT = "csv", "text"
FORMATS: Final = (JSON_FORMAT, AVRO_FORMAT, PARQUET_FORMAT, BYTES_FORMAT, CSV_FORMAT, TEXT_FORMAT)
_EXTENSIONS: Final[Mapping[str, str]] = {
    JSON_FORMAT: ".json", AVRO_FORMAT: ".avro", PARQUET_FORMAT: ".parquet", CSV_FORMAT: ".csv",
    TEXT_FORMAT: ".txt",
}  # fmt: skip


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
        QUEUE_URL, default="", importance=MEDIUM, group="Source", check=url_problem,
        doc="An SQS queue that gets the bucket's events of new objects, directly, by SNS or by EventBridge. "
            "Messages are deleted when the offsets of their objects are stored. Millstream's own setting.",
    )  # fmt: skip
    sqs_visibility_s: int = setting(
        "sqs.visibility.timeout.seconds", default=300, importance=LOW, group="Source", at_least=10,
        at_most=43_200,
        doc="How long a message that was received, and not deleted, is hidden before it comes again.",
    )  # fmt: skip
    sqs_listing_interval_ms: int = setting(
        "sqs.listing.interval.ms", kind=Kind.LONG, default=300_000, importance=LOW, group="Source",
        at_least=1,
        doc="With sqs.queue.url, how often the bucket is listed all the same, for what no event told of.",
    )  # fmt: skip

    @property
    def queue(self) -> QueueSettings | None:
        """The queue that tells of new objects."""
        if not self.sqs_queue:
            return None
        return QueueSettings(self.sqs_queue, self.sqs_visibility_s, self.sqs_listing_interval_ms / 1000)

    @abstractmethod
    def plan(self) -> SourcePlan:
        """What the settings come down to."""


class S3SourceConfig(ConfluentConfig, SourceConfig):
    """Confluent's."""

    mode: str = setting(
        "mode", default=RESTORE, importance=HIGH, group="Connector", check=one_of(RESTORE, GENERIC),
        recommended=(RESTORE, GENERIC), after="sqs.listing.interval.ms",
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

    needs_keys: bool = setting(
        "store.kafka.keys", default=False, importance=LOW, group="Storage", after="file.delim",
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
    def is_restore(self) -> bool:
        return self.mode.upper() == RESTORE

    def plan(self) -> SourcePlan:
        return SourcePlan(
            access=self.access, layout=self._layout(), format=self._format(), envelope=Bare(),
            compression=None, separator=self._separator, records_max=self.records_max,
            interval_ms=self.poll_interval_ms, changes=self.changed_objects.lower(), since_ms=self.since_ms,
            tolerates=self.on_error.lower() == "ignore", needs_keys=self.needs_keys,
            needs_headers=self.needs_headers, queue=self.queue,
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

    @property
    def _only_s3(self) -> Mapping[str, object]:
        return {**super()._only_s3, "sqs.queue.url": self.sqs_queue}

    def check(self) -> Iterable[FieldError]:
        yield from super().check()
        if not self.is_restore and not any(self.topic_patterns):
            why = "topic.regex.list cannot be empty when the connector runs in GENERIC mode."
            yield FieldError("topic.regex.list", why)
        if not self.file_delim or not self.directory_delim:
            name = "directory.delim" if self.file_delim else "file.delim"
            yield FieldError(name, f"{name} cannot be empty: names of objects could not be taken apart")

    def warnings(self) -> Iterable[FieldError]:
        if self.is_restore and any(self.topic_patterns):
            yield FieldError("topic.regex.list", f"topic.regex.list has no effect with mode={RESTORE}")
