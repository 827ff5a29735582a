"""How much memory a process holds, looked at from outside."""

import os
from typing import Final, Self

_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
_STATM_BYTES: Final = 256


class MemoryWatch:
    """Of one process: what it holds in memory for itself (`RssAnon` in /proc/PID/status).

    Resident memory and not what was allocated: libraries reserve much more address space than they use (8 MB
    of stack for each thread, arenas of an allocator by the GiB), so that a limit of that (RLIMIT_DATA) would
    mean little, and would have C libraries abort where Python raises MemoryError.
    """

    def __init__(self, pid: int) -> None:
        """Raises FileNotFoundError if it has ended."""
        self._fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def resident_bytes(self) -> int:
        """0 once the process has ended."""
        try:
            fields = os.pread(self._fd, _STATM_BYTES, 0).split()
        except ProcessLookupError:
            return 0
        return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
