"""Segments give way to the one that compaction has made of them: at any kill, either they are there or it is.

1. The new segment is written and synced, with its indexes, under names that end in `.cleaned`.
2. `commit` renames its log to `<base>-<end>.swap`, and syncs the directory. From here on it counts: the
   name says that it stands for all segments with base offsets from `base` to before `end`.
3. `put_in_place` renames the files of those to `.deleted`, and gives the new segment its final name.

A start throws away what is `.cleaned` and does step 3 for each `.swap` that it finds.

All of it works on an open directory rather than on a path: it runs in threads, and another directory may
have the path meanwhile, of a topic that was deleted and made anew.
"""

import os
import shutil
from pathlib import Path

from broker.log.segment import CLEANED_SUFFIX, DELETED_SUFFIX, SUFFIXES

SWAP_SUFFIX = ".swap"
PARTIAL_SUFFIX = ".tmp"
"""Of files that a start throws away."""


def commit(directory_fd: int, base_offset: int, end_offset: int) -> None:
    """Step 2. Blocks for two syncs."""
    os.fsync(directory_fd)
    cleaned = f"{base_offset:020d}.log{CLEANED_SUFFIX}"
    _rename(directory_fd, cleaned, _swap_name(base_offset, end_offset))
    os.fsync(directory_fd)


def put_in_place(directory_fd: int, base_offset: int, end_offset: int) -> list[str]:
    """Step 3. The new names of the files that are no longer wanted; whoever reads them may go on.

    The indexes can be found under their `.cleaned` names as well until `drop_cleaned`: somebody may be
    using them.
    """
    names = os.listdir(directory_fd)
    # Snapshots have checksums of indexes that are replaced now, and could confirm parts of the new ones.
    for name in names:
        if name.endswith(".snapshot"):
            os.unlink(name, dir_fd=directory_fd)
    deleted = []
    for old_base in sorted(int(name.removesuffix(".log")) for name in names if name.endswith(".log")):
        if base_offset <= old_base < end_offset:
            deleted += _mark_deleted(directory_fd, old_base)
    stem = f"{base_offset:020d}"
    _rename(directory_fd, _swap_name(base_offset, end_offset), stem + SUFFIXES[0])
    for kind in SUFFIXES[1:]:
        if stem + kind + CLEANED_SUFFIX in names:
            _copy(directory_fd, stem + kind + CLEANED_SUFFIX, stem + kind)
    return deleted


def drop_cleaned(directory_fd: int, base_offset: int) -> None:
    """The indexes of a segment that is in place are no longer used by their old names."""
    for kind in SUFFIXES[1:]:
        try:
            os.unlink(f"{base_offset:020d}{kind}{CLEANED_SUFFIX}", dir_fd=directory_fd)
        except FileNotFoundError:
            continue  # an index without an entry has no file


def finish_swaps(directory: Path) -> None:
    """What a start does before it looks at the segments."""
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in sorted(os.listdir(directory_fd)):
            if name.endswith(SWAP_SUFFIX):
                base_offset, _, end_offset = name.removesuffix(SWAP_SUFFIX).partition("-")
                put_in_place(directory_fd, int(base_offset), int(end_offset))
    finally:
        os.close(directory_fd)
    discard_cleaned(directory)
    for path in directory.glob(f"*{DELETED_SUFFIX}"):
        path.unlink()


def discard_cleaned(directory: Path) -> None:
    """Remove what was not committed. Only when nobody is writing it."""
    for path in directory.glob(f"*{CLEANED_SUFFIX}"):
        path.unlink(missing_ok=True)


def mark_deleted(directory: Path, base_offset: int) -> list[Path]:
    """Rename the files of a segment so that no start takes them for one; the new names."""
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [directory / name for name in _mark_deleted(directory_fd, base_offset)]
    finally:
        os.close(directory_fd)


def _mark_deleted(directory_fd: int, base_offset: int) -> list[str]:
    renamed = []
    for kind in SUFFIXES:
        name = f"{base_offset:020d}{kind}"
        try:
            _rename(directory_fd, name, name + DELETED_SUFFIX)
        except FileNotFoundError:
            continue  # an index without an entry has no file
        renamed.append(name + DELETED_SUFFIX)
    return renamed


def _rename(directory_fd: int, old: str, new: str) -> None:
    os.rename(old, new, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)


def _copy(directory_fd: int, old: str, new: str) -> None:
    """The copy appears whole or not at all."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o644, dir_fd=directory_fd)

    with open(old, "rb", opener=opener) as source, open(new + PARTIAL_SUFFIX, "wb", opener=opener) as target:
        shutil.copyfileobj(source, target)
    _rename(directory_fd, new + PARTIAL_SUFFIX, new)


def _swap_name(base_offset: int, end_offset: int) -> str:
    return f"{base_offset:020d}-{end_offset:020d}{SWAP_SUFFIX}"
