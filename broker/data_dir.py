"""The data directory belongs to one process at a time: a broker, or a repair of its logs."""

import fcntl
import os
from pathlib import Path

LOCK_NAME = ".lock"


class DataDirInUse(Exception):
    """Another process has the data directory; the message names it and its process."""


def lock_data_dir(data_dir: Path) -> int:
    """Take the data directory, made if need be, for as long as the returned descriptor is open.

    Raises DataDirInUse.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise DataDirInUse(f"cannot use the data directory {data_dir}: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        holder = os.read(lock, 20).decode("ascii", "replace").strip() or "another process"
        os.close(lock)
        raise DataDirInUse(
            f"the data directory {data_dir} is in use by process {holder}: stop that one or choose another"
        ) from exc
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
