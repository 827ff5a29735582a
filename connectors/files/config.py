"""Settings of the FileStream connectors; names, defaults and texts are Kafka's."""

from collections.abc import Iterable

from connect.api import Config, FieldError, Importance, setting
from connectors.files.standard_input import has_standard_input


def _not_empty(value: str) -> str | None:
    return None if value else "String must be non-empty"


class FileStreamSourceConfig(Config):
    file: str | None = setting(
        "file",
        default=None,
        importance=Importance.HIGH,
        doc="Source filename. If not specified, the standard input will be used",
    )
    topic: str = setting(
        "topic", importance=Importance.HIGH, doc="The topic to publish data to", check=_not_empty
    )
    batch_size: int = setting(
        "batch.size",
        default=2000,
        importance=Importance.LOW,
        doc="The maximum number of records the source task can read from the file each time it is polled",
    )

    def warnings(self) -> Iterable[FieldError]:
        if not self.file and not has_standard_input():
            yield FieldError("file", NO_STANDARD_INPUT)


class FileStreamSinkConfig(Config):
    file: str | None = setting(
        "file",
        default=None,
        importance=Importance.HIGH,
        doc="Destination filename. If not specified, the standard output will be used",
    )


NO_STANDARD_INPUT = (
    "file is not set, which means the standard input, and only the tasks of a standalone worker have that of "
    "the worker: set file to the path of the file to read"
)
