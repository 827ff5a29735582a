"""The FileStream connectors of Apache Kafka under their own names, and a file sink with rotation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connect.api import ConnectError, FieldError, SinkConnector, SourceConnector
from connect.version import __version__
from connectors.files.config import FileStreamSinkConfig, FileStreamSourceConfig
from connectors.files.directory.checks import look_at_folders
from connectors.files.rotating_config import RotatingFileSinkConfig
from connectors.files.rotating_sink import RotatingFileSinkTask
from connectors.files.sink import FileStreamSinkTask
from connectors.files.source import FILENAME, POSITION, FileStreamSourceTask


class FileStreamSourceConnector(SourceConnector[FileStreamSourceConfig]):
    """Follows one text file and writes each of its lines into a topic."""

    version = __version__
    config_class = FileStreamSourceConfig
    task_class = FileStreamSourceTask

    def task_configs(self, config: FileStreamSourceConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        """One task whatever `max_tasks`: a file has one order."""
        return [config.originals]

    def exactly_once_support(self, config: FileStreamSourceConfig) -> bool:
        """As long as the file is only appended to; standard input has no offsets."""
        return bool(config.file)

    def alter_offsets(
        self,
        config: FileStreamSourceConfig,
        offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]],
    ) -> bool:
        if not config.file:
            raise ConnectError(
                "Offsets cannot be modified if the 'file' configuration is unspecified. "
                "This is because stdin is used for input and offsets are not tracked."
            )
        for source_partition, source_offset in offsets:
            if source_offset is not None:  # None forgets the offset, whatever it belongs to
                _check_offset(source_partition, source_offset)
        return True


class FileStreamSinkConnector(SinkConnector[FileStreamSinkConfig]):
    """Appends the values of records to one text file, a line each."""

    version = __version__
    config_class = FileStreamSinkConfig
    task_class = FileStreamSinkTask

    def task_configs(self, config: FileStreamSinkConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * max_tasks


class FileSinkConnector(SinkConnector[RotatingFileSinkConfig]):
    """Writes the values of records to files that are completed by size, count or age, a line each."""

    version = __version__
    config_class = RotatingFileSinkConfig
    task_class = RotatingFileSinkTask

    def task_configs(self, config: RotatingFileSinkConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * max_tasks

    def check_connection(self, config: RotatingFileSinkConfig) -> Iterable[FieldError]:
        """Whether the directory is there."""
        return look_at_folders({}, {"output.path": config.output_path})


def _check_offset(source_partition: Mapping[str, Any] | None, source_offset: Mapping[str, Any]) -> None:
    """Refuse what cannot be an offset of this connector, in Kafka's words."""
    if POSITION not in source_offset:
        raise ConnectError("Offset objects should either be null or contain the key 'position'")
    position = source_offset[POSITION]
    if not isinstance(position, int) or isinstance(position, bool):
        raise ConnectError("The value for the 'position' key in the offset is expected to be a Long value")
    if position < 0:
        raise ConnectError("The value for the 'position' key in the offset should be a non-negative value")
    if source_partition is None:
        raise ConnectError("Partition objects cannot be null")
    if FILENAME not in source_partition:
        raise ConnectError("Partition objects should contain the key 'filename'")
