"""What a directory source is told, whatever names its settings have."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from connect.api import Config, Schema
from connectors.readers import Reader


class Cleanup(StrEnum):
    """What becomes of a file whose records are all committed."""

    NONE = "NONE"
    DELETE = "DELETE"
    MOVE = "MOVE"
    MOVEBYDATE = "MOVEBYDATE"


class TimestampMode(StrEnum):
    """Where a record's timestamp comes from."""

    PROCESS_TIME = "PROCESS_TIME"
    FILE_TIME = "FILE_TIME"
    FIELD = "FIELD"


@dataclass(frozen=True, slots=True)
class Places:
    """Which files are read, by which task, in which order, and where they go.

    `order` is of (attribute, descending), attributes being name, length and modified. `failed` is where files
    go that cannot be read; None: they stay.
    """

    input: Path
    pattern: re.Pattern[str]
    recursive: bool
    minimum_age_ms: int
    order: Sequence[tuple[str, bool]]
    skipped_suffix: str | None
    cleanup: Cleanup
    finished: Path | None
    failed: Path | None
    keep_folders: bool
    task: int
    tasks: int


# The schema and the value of a record → those of its key.
KeyOf = Callable[[Schema | None, Any], tuple[Schema | None, Any]]


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a task's settings. `headers` says whether records have those of their file."""

    topic: str
    places: Places
    reader: Reader
    key_of: KeyOf | None
    batch_size: int
    wait_ms: int
    halt_on_error: bool
    headers: bool
    timestamp_mode: TimestampMode
    timestamp_field: str


class DirectoryConfig(Config):
    """The config of a directory source, under names that users of a particular connector know."""

    def settings(self) -> Settings:
        """What it means."""
        raise NotImplementedError

    def path_settings(self) -> Mapping[str, str]:
        """The names of the settings of the directories: input, and finished and failed where there are."""
        raise NotImplementedError

    def share(self, index: int, count: int) -> Mapping[str, str]:
        """What tells a task which files are its own."""
        return {"task.index": str(index), "task.count": str(count)}
