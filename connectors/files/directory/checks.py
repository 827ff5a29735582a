"""What can be wrong with the directories that a config names."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from connect.api import FieldError


def absolute_path_error(path: str) -> str | None:
    """For the `check` of a setting: where a task's process starts is nothing to rely on."""
    return None if not path or os.path.isabs(path) else "The path must be absolute"


def check_folders(input_path: str, others: Mapping[str, str]) -> Iterable[FieldError]:
    """Files that were moved must not be found again. `others` are paths by setting."""
    for name, path in others.items():
        if path and Path(path) == Path(input_path):
            yield FieldError(
                name, f"{name} must be another directory than the one that is read, {input_path}"
            )


def look_at_folders(read: Mapping[str, str], written: Mapping[str, str]) -> Iterable[FieldError]:
    """Whether the directories are there and the worker may use them. Paths by setting."""
    for name, path in [*read.items(), *written.items()]:
        needed = os.R_OK | os.X_OK | (os.W_OK if name in written else 0)
        if path and not os.path.isdir(path):
            yield FieldError(name, f"{name}: {path} is not a directory on this worker")
        elif path and not os.access(path, needed):
            may = "write to" if name in written else "read"
            yield FieldError(name, f"{name}: the worker may not {may} {path}")
