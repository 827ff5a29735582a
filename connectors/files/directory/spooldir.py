"""Settings of the SpoolDir connectors; names, defaults and meanings are SpoolDir's."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from connect.api import FieldError, Importance, Kind, setting
from connect.api.java_patterns import JavaPattern, time_zone
from connect.api.java_regex import compile_java, regex_error
from connectors.files.directory.checks import absolute_path_error, check_folders
from connectors.files.directory.schemas import schema_of
from connectors.files.directory.settings import (
    Cleanup,
    DirectoryConfig,
    KeyOf,
    Places,
    Settings,
    TimestampMode,
)
from connectors.readers import Reader

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW
FILE_SYSTEM, GENERAL, SCHEMA, GENERATION, TIMESTAMPS, CSV = (
    "File System", "General", "Schema", "Schema Generation", "Timestamps", "CSV Settings",
)  # fmt: skip
_ORDERS: Final = {"Name": "name", "Length": "length", "LastModified": "modified"}
_NO_EFFECT: Final = {
    "processing.file.extension": "no mark is made while a file is read: tasks share the files by their names",
    "file.buffer.size.bytes": "files are read in blocks of a fixed size",
    "csv.verify.reader": "a file that cannot be read is always noticed",
}
MODEL: Final = "com.github.jcustenborder.kafka.connect.model."


def _order_error(values: list[str]) -> str | None:
    for value in values:
        if _order(value) is None:
            known = ", ".join(f"{name}{way}" for name in _ORDERS for way in ("Asc", "Desc"))
            return f"Each must be one of: {known}, not {value}"
    return None


def _order(value: str) -> tuple[str, bool] | None:
    found = re.fullmatch(r"(?i)(Name|Length|LastModified)(Asc|Desc)?", value)
    if found is None:
        return None
    attribute = {name.lower(): meant for name, meant in _ORDERS.items()}[found[1].lower()]
    return attribute, (found[2] or "").lower() == "desc"


def schema_error(text: str) -> str | None:
    """For the `check` of a setting with a schema."""
    try:
        if text and not schema_of(text).fields:
            return "The schema must be a STRUCT"
    except ValueError as exc:
        return str(exc)
    return None


def formats_error(patterns: list[str]) -> str | None:
    """For the `check` of a setting with patterns of SimpleDateFormat."""
    try:
        for pattern in patterns:
            JavaPattern.simple_date_format(pattern)
    except ValueError as exc:
        return str(exc)
    return None


def zone_error(name: str) -> str | None:
    """For the `check` of a setting with a time zone."""
    try:
        time_zone(name)
    except ValueError as exc:
        return str(exc)
    return None


class SpoolDirConfig(DirectoryConfig):
    """What all of them have in common."""

    topic: str = setting(
        "topic", importance=HIGH, group=GENERAL, doc="The Kafka topic to write the data to.",
    )  # fmt: skip
    batch_size: int = setting(
        "batch.size", default=1000, importance=LOW, group=GENERAL, at_least=1,
        doc="The number of records that should be returned with each batch.",
    )  # fmt: skip
    empty_poll_wait_ms: int = setting(
        "empty.poll.wait.ms", kind=Kind.LONG, default=500, importance=LOW, group=GENERAL, at_least=1,
        doc="The amount of time to wait between two looks into the directory.",
    )  # fmt: skip
    input_path: str = setting(
        "input.path", importance=HIGH, group=FILE_SYSTEM, check=absolute_path_error,
        doc="The directory to read files that will be processed.",
    )  # fmt: skip
    input_file_pattern: str = setting(
        "input.file.pattern", importance=HIGH, group=FILE_SYSTEM, check=regex_error,
        doc="Regular expression to check input file names against. It must match the entire file name.",
    )  # fmt: skip
    finished_path: str = setting(
        "finished.path", default="", importance=HIGH, group=FILE_SYSTEM, check=absolute_path_error,
        doc="The directory to place files that have been successfully processed.",
    )  # fmt: skip
    error_path: str = setting(
        "error.path", importance=HIGH, group=FILE_SYSTEM, check=absolute_path_error,
        doc="The directory to place files in which cannot be read, unless halt.on.error.",
    )  # fmt: skip
    cleanup_policy: str = setting(
        "cleanup.policy", default="MOVE", importance=MEDIUM, group=FILE_SYSTEM, choices=list(Cleanup),
        doc="What becomes of a file once all its records are committed: NONE leaves it, DELETE removes it, "
            "MOVE moves it to finished.path, MOVEBYDATE to a sub-directory there, by the file's date.",
    )  # fmt: skip
    keep_folders: bool = setting(
        "cleanup.policy.maintain.relative.path", default=False, importance=LOW, group=FILE_SYSTEM,
        doc="Whether sub-directories of input.path stay there when they have become empty.",
    )  # fmt: skip
    recursively: bool = setting(
        "input.path.walk.recursively", default=False, importance=LOW, group=FILE_SYSTEM,
        doc="Whether files in sub-directories of input.path are read too.",
    )  # fmt: skip
    halt_on_error: bool = setting(
        "halt.on.error", default=True, importance=HIGH, group=FILE_SYSTEM,
        doc="Whether the task fails at a file that cannot be read, which then stays where it is, or moves it "
            "to error.path and goes on with the next one.",
    )  # fmt: skip
    minimum_age_ms: int = setting(
        "file.minimum.age.ms", kind=Kind.LONG, default=0, importance=LOW, group=FILE_SYSTEM, at_least=0,
        doc="How long ago a file must have been written to last before it is read.",
    )  # fmt: skip
    sort_attributes: list[str] = setting(
        "files.sort.attributes", default=["NameAsc"], importance=LOW, group=FILE_SYSTEM, check=_order_error,
        doc="The order in which files are read: NameAsc, NameDesc, LengthAsc, LengthDesc, LastModifiedAsc, "
            "LastModifiedDesc, the first one first.",
    )  # fmt: skip
    processing_file_extension: str = setting(
        "processing.file.extension", default=".PROCESSING", importance=LOW, group=FILE_SYSTEM,
        doc="Files with this suffix are marks of SpoolDir and are not read.",
    )  # fmt: skip
    file_buffer_size_bytes: int = setting(
        "file.buffer.size.bytes", default=131072, importance=LOW, group=FILE_SYSTEM, doc="Has no effect.",
    )  # fmt: skip
    timestamp_mode: str = setting(
        "timestamp.mode", default="PROCESS_TIME", importance=MEDIUM, group=TIMESTAMPS,
        choices=list(TimestampMode),
        doc="The timestamp of a record: PROCESS_TIME is when it is read, FILE_TIME when its file was "
            "modified, FIELD that in the field timestamp.field.",
    )  # fmt: skip
    metadata_location: str = setting(
        "metadata.location", default="HEADERS", importance=LOW, group=GENERAL, choices=["HEADERS", "NONE"],
        doc="Whether records have headers that say which file they come from.",
    )  # fmt: skip
    files_notifications_enabled: bool = setting(
        "files.notifications.enabled", default=False, importance=LOW, group=FILE_SYSTEM, doc="Not supported.",
        check=lambda on: "Millstream writes no records about files: they are in its log" if on else None,
    )  # fmt: skip
    task_partitioner: str = setting(
        "task.partitioner", default="ByName", importance=LOW, group=GENERAL, choices=["ByName"],
        doc="How files are shared among tasks: by a hash of their names.",
    )  # fmt: skip
    task_index: int = setting(
        "task.index", default=0, importance=LOW, internal=True, doc="Set by the connector."
    )
    task_count: int = setting(
        "task.count", default=1, importance=LOW, internal=True, doc="Set by the connector."
    )

    def check(self) -> Iterable[FieldError]:
        if self.cleanup_policy in (Cleanup.MOVE, Cleanup.MOVEBYDATE) and not self.finished_path:
            yield FieldError(
                "finished.path", f"finished.path must be set where cleanup.policy is {self.cleanup_policy}"
            )
        yield from check_folders(self.input_path, {
            "finished.path": self.finished_path, "error.path": self.error_path,
        })  # fmt: skip

    def warnings(self) -> Iterable[FieldError]:
        for name, why in _NO_EFFECT.items():
            if name in self.originals:
                yield FieldError(name, f"{name} has no effect: {why}")

    def settings(self) -> Settings:
        orders = [order for order in map(_order, self.sort_attributes) if order is not None]
        return Settings(
            topic=self.topic,
            places=Places(
                input=Path(self.input_path),
                pattern=compile_java(self.input_file_pattern),
                recursive=self.recursively,
                minimum_age_ms=self.minimum_age_ms,
                # By name in the end, so that the order of equals is always the same.
                order=[*orders, ("name", False)],
                skipped_suffix=self.processing_file_extension or None,
                cleanup=Cleanup(self.cleanup_policy),
                finished=Path(self.finished_path) if self.finished_path else None,
                failed=Path(self.error_path) if self.error_path else None,
                keep_folders=self.keep_folders,
                task=self.task_index,
                tasks=self.task_count,
            ),
            reader=self.reader(),
            key_of=self.key_of(),
            batch_size=self.batch_size,
            wait_ms=self.empty_poll_wait_ms,
            halt_on_error=self.halt_on_error,
            headers=self.metadata_location == "HEADERS",
            timestamp_mode=TimestampMode(self.timestamp_mode),
            timestamp_field=self.timestamp_field_name(),
        )

    def path_settings(self) -> Mapping[str, str]:
        return {"input": "input.path", "finished": "finished.path", "failed": "error.path"}

    def reader(self) -> Reader:
        """What reads the files."""
        raise NotImplementedError

    def key_of(self) -> KeyOf | None:
        """What makes keys, if records have any."""
        return None

    def timestamp_field_name(self) -> str:
        """The field that has the timestamp, if one does."""
        return ""
