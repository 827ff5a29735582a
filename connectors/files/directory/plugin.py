"""The directory sources under SpoolDir's names and FilePulse's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connect.api import ConnectError, FieldError, SourceConnector
from connect.version import __version__
from connectors.files.directory.checks import look_at_folders
from connectors.files.directory.filepulse import FilePulseConfig
from connectors.files.directory.settings import Cleanup, DirectoryConfig
from connectors.files.directory.source import FILE_NAME, OFFSET, DirectorySourceTask
from connectors.files.directory.spooldir_formats import (
    AvroConfig,
    BinaryConfig,
    CsvConfig,
    JsonConfig,
    LinesConfig,
    ParquetConfig,
    SchemalessJsonConfig,
)


class DirectorySourceConnector(SourceConnector[DirectoryConfig]):
    """Reads the files of a directory."""

    version = __version__
    task_class = DirectorySourceTask

    def task_configs(self, config: DirectoryConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [{**config.originals, **config.share(index, max_tasks)} for index in range(max_tasks)]

    def check_connection(self, config: DirectoryConfig) -> Iterable[FieldError]:
        """Whether the directories are there."""
        places, names = config.settings().places, config.path_settings()
        read = {names["input"]: str(places.input)}
        written: dict[str, str] = {}
        if places.cleanup is not Cleanup.NONE:
            written[names["input"]] = read[names["input"]]
        for role, path in (("finished", places.finished), ("failed", places.failed)):
            if path is not None and role in names:
                written[names[role]] = str(path)
        return look_at_folders({k: v for k, v in read.items() if k not in written}, written)

    def exactly_once_support(self, config: DirectoryConfig) -> bool:
        """As long as files do not change once they are there."""
        return True

    def alter_offsets(
        self,
        config: DirectoryConfig,
        offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]],
    ) -> bool:
        for partition, offset in offsets:
            if offset is None:  # None forgets the offset, whatever it belongs to
                continue
            if set(partition or ()) != {FILE_NAME} or not isinstance(partition[FILE_NAME], str):
                raise ConnectError(f'A partition must be {{"{FILE_NAME}": "…"}}, unlike {partition}')
            position = offset.get(OFFSET)
            if not isinstance(position, int) or isinstance(position, bool) or position < 0:
                raise ConnectError(
                    f'An offset must have "{OFFSET}", the lines or records read so far, unlike {offset}'
                )
        return True


class SpoolDirCsvSourceConnector(DirectorySourceConnector):
    """Reads the CSV files of a directory."""

    config_class = CsvConfig


class SpoolDirJsonSourceConnector(DirectorySourceConnector):
    """Reads the JSON files of a directory into records with a schema."""

    config_class = JsonConfig


class SpoolDirSchemaLessJsonSourceConnector(DirectorySourceConnector):
    """Reads the JSON files of a directory, each document as text."""

    config_class = SchemalessJsonConfig


class SpoolDirLineDelimitedSourceConnector(DirectorySourceConnector):
    """Reads the text files of a directory, a record for each line."""

    config_class = LinesConfig


class SpoolDirBinaryFileSourceConnector(DirectorySourceConnector):
    """Reads the files of a directory, a record for each file."""

    config_class = BinaryConfig


class SpoolDirAvroSourceConnector(DirectorySourceConnector):
    """Reads the Avro files of a directory."""

    config_class = AvroConfig


class SpoolDirParquetSourceConnector(DirectorySourceConnector):
    """Reads the Parquet files of a directory. Named alike; SpoolDir has none."""

    config_class = ParquetConfig


class FilePulseSourceConnector(DirectorySourceConnector):
    """Reads the files of a directory as FilePulse does without its filters."""

    config_class = FilePulseConfig
