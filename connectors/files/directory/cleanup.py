"""What becomes of files that have been read, and of those that cannot be."""

import os
from datetime import datetime
from errno import EXDEV
from pathlib import Path
from shutil import copyfile, copystat

from connectors.files.directory.listing import FoundFile
from connectors.files.directory.settings import Cleanup, Places


def finish(places: Places, file: FoundFile) -> None:
    """All records of this file are committed. Raises `OSError`."""
    if places.cleanup is Cleanup.DELETE:
        file.path.unlink(missing_ok=True)
    elif places.cleanup is not Cleanup.NONE:
        assert places.finished is not None, "checked with the config"
        target = places.finished
        if places.cleanup is Cleanup.MOVEBYDATE:
            target /= f"{datetime.fromtimestamp(file.modified_ns / 1e9):%Y-%m-%d}"
        move(file.path, target / file.name)
    else:
        return
    _remove_empty_folders(places, file.path.parent)


def set_aside(places: Places, file: FoundFile) -> None:
    """This file cannot be read to its end. Raises `OSError`."""
    if places.failed is not None:
        move(file.path, places.failed / file.name)
        _remove_empty_folders(places, file.path.parent)


def move(source: Path, target: Path) -> None:
    """Move a file, also to another file system; nothing that is there is ever overwritten. Does nothing if it
    is gone. Raises `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target = _free_name(target)
    try:
        source.rename(target)
    except FileNotFoundError:
        if source.exists():
            raise
    except OSError as exc:
        if exc.errno != EXDEV:
            raise
        _move_across(source, target)


def _move_across(source: Path, target: Path) -> None:
    """The target appears under its name when it is whole and durable; only then the source goes."""
    partial = target.with_name(f".{target.name}.part")
    copyfile(source, partial)
    copystat(source, partial)
    with partial.open("rb") as copy:
        os.fsync(copy.fileno())
    partial.rename(target)
    source.unlink()


def _free_name(target: Path) -> Path:
    number, free = 1, target
    while free.exists():
        free = target.with_name(f"{target.stem}-{number}{target.suffix}")
        number += 1
    return free


def _remove_empty_folders(places: Places, folder: Path) -> None:
    if not places.recursive or places.keep_folders:
        return
    while folder != places.input:
        try:
            folder.rmdir()
        except OSError:  # it is not empty, or somebody else's
            return
        folder = folder.parent
