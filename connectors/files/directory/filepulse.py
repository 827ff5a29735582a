"""Settings of the FilePulse connector, for directories of this machine and without its filters."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from connect.api import FieldError, Importance, Kind, Schema, setting
from connect.api.java_regex import compile_java, regex_error
from connect.api.schemas import OPTIONAL_BYTES, OPTIONAL_STRING, struct
from connectors.files.directory.checks import absolute_path_error, check_folders
from connectors.files.directory.settings import Cleanup, DirectoryConfig, Places, Settings, TimestampMode
from connectors.readers import (
    AvroReader,
    LineReader,
    ParquetReader,
    Reader,
    Row,
    TextSettings,
    WholeReader,
)
from connectors.readers.text import charset_error

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW
_LISTING: Final = "io.streamthoughts.kafka.connect.filepulse.fs.LocalFSDirectoryListing"
_READERS: Final = "io.streamthoughts.kafka.connect.filepulse.fs.reader."
_ROWS: Final = "LocalRowFileInputReader"
_READER_NAMES: Final = (
    _ROWS, "LocalBytesArrayInputReader", "LocalAvroFileInputReader", "LocalParquetFileInputReader",
)  # fmt: skip
_CLEANUPS: Final = {
    "LogCleanupPolicy": Cleanup.NONE,
    "DeleteCleanupPolicy": Cleanup.DELETE,
    "LocalMoveCleanupPolicy": Cleanup.MOVE,
}
_REGEX, _HIDDEN, _AGE = "RegexFileListFilter", "IgnoreHiddenFileListFilter", "LastModifiedFileListFilter"
_NO_EFFECT: Final = {
    "fs.cleanup.policy.triggered.on": "files are cleaned up when all their records are committed",
    "max.scheduled.files": "every task lists its own files",
    "offset.policy.class": "a file is known by its path below fs.listing.directory.path, and its time",
    "offset.attributes.string": "a file is known by its path below fs.listing.directory.path, and its time",
    "task.partitioner.class": "tasks share the files by a hash of their names",
    "read.max.wait.ms": "a file is read to its end; set file.filter.minimum.age.ms",
    "min.read.records": "a poll hands out what there is",
    "buffer.initial.bytes.size": "files are read in blocks of a fixed size",
}
_BATCH_SIZE: Final = 1000


def _simple(name: str) -> str:
    return name.rpartition(".")[2]


def _one_of(names: Iterable[str], otherwise: str) -> Callable[[str], str | None]:
    known = set(names)
    return lambda value: None if _simple(value) in known else otherwise


def _reader_error(value: str) -> str | None:
    if "XML" in value:
        return "Millstream reads no XML: convert the files to JSON lines first"
    if _simple(value).removeprefix("Local") in {name.removeprefix("Local") for name in _READER_NAMES}:
        return None
    return f"The reader must be one of: {', '.join(_READER_NAMES)}"


def _filters_error(values: list[str]) -> str | None:
    known = (_REGEX, _HIDDEN, _AGE)
    wrong = [value for value in values if _simple(value).replace("FileFilter", "FileListFilter") not in known]
    return f"Millstream knows the filters {', '.join(known)}, not {wrong[0]}" if wrong else None


def _refused(name: str, why: str, kind: Kind = Kind.STRING) -> Any:
    return setting(
        name, default=None, kind=kind, importance=LOW, doc="Not supported.", check=lambda given: why
    )


class FilePulseConfig(DirectoryConfig):
    """FilePulseSourceConnector."""

    patterns = (re.compile(r"tasks\.file\.status\.storage\..+"),)
    renamed = {"fs.recursive.scan.enable": "fs.listing.recursive.enabled"}  # noqa: RUF012 - the base's ClassVar

    topic: str = setting("topic", importance=HIGH, doc="The topic to write to.")
    listing: str = setting(
        "fs.listing.class", kind=Kind.CLASS, default=_LISTING, importance=MEDIUM,
        check=_one_of([_simple(_LISTING)], "Millstream lists directories of this machine only"),
        doc="What lists the files: LocalFSDirectoryListing.",
    )  # fmt: skip
    directory: str = setting(
        "fs.listing.directory.path", importance=HIGH, check=absolute_path_error,
        doc="The input directory to scan.",
    )  # fmt: skip
    recursive: bool = setting(
        "fs.listing.recursive.enabled", default=True, importance=MEDIUM,
        doc="Whether files in sub-directories are read too.",
    )  # fmt: skip
    interval_ms: int = setting(
        "fs.listing.interval.ms", kind=Kind.LONG, default=10_000, importance=HIGH, at_least=1,
        doc="Time between two looks into the directory.",
    )  # fmt: skip
    listing_filters: list[str] = setting(
        "fs.listing.filters", default=[], importance=MEDIUM, check=_filters_error,
        doc=f"Which files are read: {_REGEX}, {_HIDDEN}, {_AGE}.",
    )  # fmt: skip
    regex: str = setting(
        "file.filter.regex.pattern", default=".*", importance=MEDIUM, check=regex_error,
        doc=f"With {_REGEX}: what the name of a file must be like.",
    )  # fmt: skip
    minimum_age_ms: int = setting(
        "file.filter.minimum.age.ms", kind=Kind.LONG, default=5000, importance=MEDIUM, at_least=0,
        doc=f"With {_AGE}: how long ago a file must have been written to last.",
    )  # fmt: skip
    cleanup: str = setting(
        "fs.cleanup.policy.class", kind=Kind.CLASS, importance=HIGH,
        check=_one_of(_CLEANUPS, f"The policy must be one of: {', '.join(_CLEANUPS)}"),
        doc="What becomes of a file whose records are all committed.",
    )  # fmt: skip
    succeed_path: str = setting(
        "cleaner.output.succeed.path", default=".success", importance=HIGH,
        doc="With LocalMoveCleanupPolicy: where files go that were read; may be below the input directory.",
    )  # fmt: skip
    failed_path: str = setting(
        "cleaner.output.failed.path", default=".failure", importance=HIGH,
        doc="With LocalMoveCleanupPolicy: where files go that cannot be read.",
    )  # fmt: skip
    reader_class: str = setting(
        "tasks.reader.class", kind=Kind.CLASS, default=_READERS + _ROWS, importance=HIGH, check=_reader_error,
        doc=f"What reads the files: {', '.join(_READER_NAMES)}.",
    )  # fmt: skip
    charset: str = setting(
        "file.encoding", default="UTF-8", importance=HIGH, check=charset_error, doc="Charset of text files.",
    )  # fmt: skip
    skip_headers: int = setting(
        "skip.headers", default=0, importance=MEDIUM, at_least=0, doc="Lines to skip at the start of a file.",
    )  # fmt: skip
    skip_footers: int = setting(
        "skip.footers", default=0, importance=MEDIUM, at_least=0, doc="Lines to skip at the end of a file.",
    )  # fmt: skip
    halt_on_error: bool = setting(
        "tasks.halt.on.error", default=False, importance=HIGH,
        doc="Whether the task fails at a file that cannot be read, or goes on with the next one.",
    )  # fmt: skip
    empty_poll_wait_ms: int = setting(
        "tasks.empty.poll.wait.ms", kind=Kind.LONG, default=500, importance=HIGH, at_least=1,
        doc="Has no effect: fs.listing.interval.ms says how long a task waits.",
    )  # fmt: skip
    filters: str | None = _refused(
        "filters",
        "Millstream has no filters of FilePulse: use transforms, or for CSV a SpoolDirCsv connector",
    )
    value_schema: str | None = _refused(
        "value.connect.schema", "Records have the schema that their reader gives them"
    )
    ignore_offsets: str | None = _refused("ignore.committed.offsets", "Reset the connector's offsets instead")
    task_index: int = setting(
        "task.index", default=0, importance=LOW, internal=True, doc="Set by the connector."
    )
    task_count: int = setting(
        "task.count", default=1, importance=LOW, internal=True, doc="Set by the connector."
    )

    def check(self) -> Iterable[FieldError]:
        places = self.settings().places
        moved = {"cleaner.output.succeed.path": places.finished, "cleaner.output.failed.path": places.failed}
        yield from check_folders(self.directory, {name: str(path or "") for name, path in moved.items()})

    def warnings(self) -> Iterable[FieldError]:
        for name in self.originals:
            if name in _NO_EFFECT:
                yield FieldError(name, f"{name} has no effect: {_NO_EFFECT[name]}")
            elif name.startswith("tasks.file.status.storage."):
                yield FieldError(
                    name, f"{name} has no effect: the state of files is in Kafka Connect's offsets"
                )

    def path_settings(self) -> Mapping[str, str]:
        return {"input": "fs.listing.directory.path"}  # the others are made where they are not there

    def settings(self) -> Settings:
        active = {_simple(name).replace("FileFilter", "FileListFilter") for name in self.listing_filters}
        hidden = r"(?!\.)" if _HIDDEN in active else ""
        cleanup = _CLEANUPS[_simple(self.cleanup)]
        moves, folder = cleanup is Cleanup.MOVE, Path(self.directory)
        return Settings(
            topic=self.topic,
            places=Places(
                input=folder,
                pattern=compile_java(f"{hidden}(?:{self.regex if _REGEX in active else '.*'})"),
                recursive=self.recursive,
                minimum_age_ms=self.minimum_age_ms if _AGE in active else 0,
                order=[("modified", False), ("name", False)],
                skipped_suffix=None,
                cleanup=cleanup,
                finished=folder / self.succeed_path if moves else None,
                failed=folder / self.failed_path if moves else None,
                keep_folders=True,
                task=self.task_index,
                tasks=self.task_count,
            ),
            reader=self.reader(),
            key_of=None,
            batch_size=_BATCH_SIZE,
            wait_ms=self.interval_ms,
            halt_on_error=self.halt_on_error,
            headers=False,
            timestamp_mode=TimestampMode.PROCESS_TIME,
            timestamp_field="",
        )

    def reader(self) -> Reader:
        """What reads the files."""
        name = _simple(self.reader_class)
        if name.endswith("AvroFileInputReader"):
            return AvroReader()
        if name.endswith("ParquetFileInputReader"):
            return ParquetReader()
        if name.endswith("BytesArrayInputReader"):
            return _Message(WholeReader(), struct({"message": OPTIONAL_BYTES}))
        text = TextSettings(self.charset, self.skip_headers, self.skip_footers)
        return _Message(LineReader(text), struct({"message": OPTIONAL_STRING}))


class _Message:
    """FilePulse's records of rows and whole files: the value is in a field `message`."""

    def __init__(self, reader: Reader, schema: Schema) -> None:
        self._reader = reader
        self._schema = schema

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        for row in self._reader.rows(stream, after):
            yield row._replace(value={"message": row.value}, schema=self._schema)
